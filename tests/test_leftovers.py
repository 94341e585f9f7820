"""A run of the tests that is killed leaves servers behind; the next run ends them, and nobody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from workers.host.tmux import Tmux

from . import leftovers
from .waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
RUN = """
import subprocess, sys, time
from pathlib import Path
from tests import leftovers
from workers.host.tmux import Tmux
folder = Path(sys.argv[1])
leftovers.own(folder)
command = ["sleep", "300"]
server = subprocess.Popen(command, env={"MC_HOME": f"{folder}/home"}, stdout=subprocess.DEVNULL, start_new_session=True)
Tmux("mc-left", folder).new_session("mc-agent", command, folder, {})
print(server.pid, flush=True)
time.sleep(300)
"""


@contextmanager
def run_of(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run of the tests that has started a server and a tmux server; and the server's folder in /proc."""
    folder.mkdir(mode=0o700)
    argv = [sys.executable, "-c", RUN, str(folder)]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        try:
            yield run, Path("/proc") / run.stdout.readline().strip()
        finally:
            run.kill()


def is_alive(process: Path) -> bool:
    return (process / "exe").exists()


def agents_of(folder: Path) -> list[str]:
    tmux = Tmux("mc-left", folder)
    listed = subprocess.run(
        tmux.argv("list-sessions", "-F", "#{session_name}"), env=tmux.environment, capture_output=True, text=True
    )
    return listed.stdout.split()


def test_the_servers_of_a_killed_run_are_ended_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    killed, alive = tmp_path / "run-1", tmp_path / "run-11"
    with run_of(killed) as (owner, server), run_of(alive) as (_, other):
        assert agents_of(killed) == agents_of(alive) == ["mc-agent"]
        owner.kill()
        owner.wait()

        abandoned = leftovers.sweep(tmp_path, "run-*")

        wait_until(lambda: not is_alive(server), 5, "the end of the server")
        wait_until(lambda: not agents_of(killed), 5, "the end of tmux")
        assert abandoned == [killed]
        assert is_alive(other) and agents_of(alive) == ["mc-agent"]
    assert leftovers.sweep(tmp_path, "run-*") == [alive]


def test_a_shell_that_somebody_opened_in_the_folder_stays(tmp_path: Path) -> None:
    with run_of(tmp_path / "run-1") as (owner, _):
        shell = subprocess.Popen(["sleep", "300"], env={"PWD": str(tmp_path / "run-1")})
        owner.kill()
        owner.wait()
        leftovers.sweep(tmp_path, "run-*")

        assert shell.poll() is None
        shell.kill()
        shell.wait()


def test_every_run_owns_the_folder_that_its_servers_live_in(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.getbasetemp()

    assert os.environ[leftovers.VARIABLE] == str(folder)
    assert str(os.getpid()) in (folder / leftovers.OWNER).read_text()
