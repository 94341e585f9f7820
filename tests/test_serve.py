"""`mc serve` as a person starts it: real supervisord, gunicorn, scheduler and tmux."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from cli import serve_parent
from settings import SERVE_VARIABLE, load
from workers.host import isolated_python

from .ports import free_port
from .waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MC_", "XDG_"))}
    return variables | {
        "MC_HOME": str(tmp_path / "home"),
        "MC_PORT": str(free_port()),
        "XDG_RUNTIME_DIR": str(tmp_path),
    }


@pytest.fixture
def serve(environment: dict[str, str]) -> Iterator[Serve]:
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **changes: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [ROOT / "bin/mc", "serve", "--no-browser", *arguments],
            env=environment | changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=40)


def first_line(process: subprocess.Popen[str]) -> str:
    """Read the next line that is not about a start which takes long on a busy machine."""
    assert process.stdout is not None
    while (line := process.stdout.readline()).startswith("Still starting"):
        pass
    return line


def answers(environment: dict[str, str]) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{environment['MC_PORT']}/healthz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def processes_of(home: str, program: str) -> list[int]:
    """Pids of processes whose command names `program` and whose environment names this home."""
    pids = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes()
            if program.encode() in command and f"MC_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                pids.append(int(folder.name))
        except (OSError, ValueError):
            continue
    return pids


def test_a_killed_command_takes_everything_with_it_and_the_next_ends_cleanly(
    serve: Serve, environment: dict[str, str]
) -> None:
    """Regression: board and scheduler went on without it, and the next one, told to use another port, ran beside them."""
    process = serve()
    first_line(process)
    process.kill()
    process.wait()
    wait_until(
        lambda: not processes_of(environment["MC_HOME"], "python"), timeout=30, description="the end of its children"
    )

    process = serve()
    line = first_line(process)
    api_url = load({"MC_HOME": environment["MC_HOME"]}).api_url
    memory = re.search(r"^Pss: +(\d+) kB", Path(f"/proc/{process.pid}/smaps_rollup").read_text(), re.MULTILINE)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=40)

    assert line.startswith("Mission Control is ready.")
    assert api_url == f"http://127.0.0.1:{environment['MC_PORT']}"
    assert load({"MC_HOME": environment["MC_HOME"]}).api_url == "http://127.0.0.1:3001"
    assert f".localhost:{environment['MC_PORT']}/login/" in line
    assert (rest, process.returncode) == ("", 0)
    assert not answers(environment)
    assert processes_of(environment["MC_HOME"], "python") == []
    assert memory and int(memory[1]) < 10_000, "the parent stays small"


def test_a_killed_supervisor_takes_the_board_with_it_and_the_next_start_ends_what_is_left(
    serve: Serve, environment: dict[str, str]
) -> None:
    home = environment["MC_HOME"]
    process = serve()
    first_line(process)
    for pid in processes_of(home, "supervisor.supervisord"):
        os.kill(pid, signal.SIGKILL)
    output, _ = process.communicate(timeout=40)
    wait_until(lambda: not processes_of(home, "python"), timeout=30, description="the end of web and scheduler")
    leftover = subprocess.Popen(["sleep", "300"], env={SERVE_VARIABLE: load(environment).instance})

    process = serve()

    assert "Mission Control stopped by itself." in output
    assert first_line(process) == "Ending 1 processes of an earlier start of this board that was killed.\n"
    assert first_line(process).startswith("Mission Control is ready.")
    assert leftover.wait(1) == -signal.SIGTERM


def test_a_supervisor_that_ends_is_reported_with_the_end_of_the_log(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("ValueError: the cause\n")
    plan = {
        "supervisor": ["false"],
        "address": ["127.0.0.1", free_port()],
        "logs": str(tmp_path),
        "link": "",
        "link_file": str(tmp_path / "login.html"),
        "address_file": str(tmp_path / "address"),
    }
    argv = isolated_python.build_argv("cli.serve_parent", site_packages=False)

    ended = subprocess.run(argv, input=json.dumps(plan), capture_output=True, text=True, timeout=60)

    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith("Mission Control stopped by itself.") and "the cause" in ended.stderr


def test_the_login_link_is_in_no_argument_of_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser, arguments_file, page = tmp_path / "browser", tmp_path / "noted", tmp_path / "login.html"
    browser.write_text(f'#!/bin/sh\necho "$@" > {arguments_file}.new && mv {arguments_file}.new {arguments_file}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", str(browser))
    link = "http://mc-00000000-abcdefghijklmnop.localhost:3001/login/secret"

    serve_parent._open_browser(link, page)

    wait_until(arguments_file.exists, 30, "the browser")
    assert arguments_file.read_text() == f"file://{page}\n"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600 and f"url={link}" in page.read_text()


def test_a_slow_start_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: on a busy machine a board that was only slow was stopped after a minute."""
    supervisor = SimpleNamespace(stopping=False, running=True)
    clock = iter(range(0, 200, 10))
    monkeypatch.setattr(serve_parent, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda _: None))
    answers = iter([False] * 8 + [True])
    monkeypatch.setattr(serve_parent, "_is_answering", lambda *_: next(answers))
    (tmp_path / "web.log").write_text("Starting gunicorn\n")

    assert serve_parent._wait_until_ready(cast(Any, supervisor), ["127.0.0.1", 1], tmp_path)

    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("Still starting after 20 s; waiting for the board to answer.")
    assert lines[0].endswith("Starting gunicorn")


def test_a_board_is_private_survives_its_children_and_leaves_agents_alone(
    serve: Serve, environment: dict[str, str]
) -> None:
    line = first_line(serve())
    configuration = load(environment).run_dir / "supervisord.conf"
    assert stat.S_IMODE(configuration.stat().st_mode) == 0o600
    assert "inet_http_server" not in configuration.read_text()

    assert list_places(environment["MC_HOME"], line.split("//")[1].split(":")[0]) == {"secrets/browser-host"}
    kill_children(environment["MC_HOME"])
    wait_until(lambda: answers(environment), timeout=60, description="the board to answer again")

    tmux = ["tmux", "-S", str(load(environment).sockets_dir / "tmux"), "-f", "/dev/null"]
    subprocess.run([*tmux, "new-session", "-d", "-s", "agent", "sleep 300"], env=environment, check=True, timeout=20)
    second = serve()  # refused, and must not disturb the first either
    assert "already running" in first_line(second)
    for pid in processes_of(environment["MC_HOME"], "serve_parent"):
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not answers(environment), timeout=60, description="the board to end")

    alive = subprocess.run([*tmux, "has-session", "-t", "agent"], timeout=20)
    subprocess.run([*tmux, "kill-server"], check=True, timeout=20)
    assert alive.returncode == 0


def list_places(home: str, name: str) -> set[str]:
    """List the files of the home, and those of its processes that other users can read, in which the name stands."""
    files = [file for file in Path(home).rglob("*") if file.is_file()]
    processes = [Path(f"/proc/{pid}/{kind}") for pid in processes_of(home, "") for kind in ("cmdline", "environ")]
    return {str(file.relative_to(home)) for file in files if name.encode() in file.read_bytes()} | {
        str(file) for file in processes if file.exists() and name.encode() in file.read_bytes()
    }


def kill_children(home: str) -> None:
    """Kill board and scheduler, each of which is started again."""
    for program in ("gunicorn", "mc_scheduler.py"):
        before = wait_until(partial(processes_of, home, program), description=program)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(partial(list_new, home, program, before), timeout=60, description=f"{program} again")


def list_new(home: str, program: str, before: list[int]) -> set[int]:
    return set(processes_of(home, program)) - set(before)


def test_a_port_in_use_is_a_clear_error(serve: Serve, environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", int(environment["MC_PORT"]))):
        process = serve()
        output, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert f"Cannot listen on 127.0.0.1 port {environment['MC_PORT']}: Address already in use" in output
    assert "Traceback" not in output


def test_a_home_that_cannot_be_made_is_a_clear_error(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = serve(MC_HOME=str(tmp_path / "file/home"))
    output, _ = process.communicate(timeout=30)

    assert process.returncode == 1
    assert "cannot be created" in output
    assert "Traceback" not in output
