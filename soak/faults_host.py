"""Faults of the host around a live board.

Each step makes an installation of its own, breaks something below it, and returns what it measured and what was wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from bench.installation import BENCH_ACTOR, Installation, create_installation
from bench.rows import wait_until
from database import reading, writing
from models import TaskRun, Ticket
from tickets.shared import lookup
from tickets.team import projects
from tickets.team.projects import NewProject
from workers.host import processes
from workers.host.processes import Identity

WRITERS = 32
STREAMS = 16
LOCK_SECONDS = 12.0
ANSWER_SECONDS = 5.0
"""How long a page may take on a busy machine. Before the repairs it was ten seconds and more."""
STOP_SECONDS = 15.0
"""The time after which supervisord kills the scheduler."""
CLOCK_STEPS = {"ten years ahead": 315_360_000, "a year back": -31_536_000, "asleep for eight hours": 28_800}
SLEEP_SECONDS = 8.0
PAGES = ("/healthz", "/api/v1/health", "/", "/board")
SHORT_SCRIPT = "```sh\necho hello\n```\n"
LONG_SCRIPT = "```sh\nfor second in $(seq 15); do echo $second; sleep 1; done\n```\n"
GIT_SCRIPT = """#!/bin/sh
case "$PWD $* $GIT_DIR $GIT_COMMON_DIR" in *wedged*) exec sleep 3600;; esac
exec {git} "$@"
"""
"""A git that hangs in one repository, as on a file system whose server is gone."""


@dataclass(slots=True)
class HostFaultResult:
    """The result of one step: figures for the report, and what was not as expected."""

    name: str
    figures: dict[str, float | str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def expect(self, condition: bool, problem: str) -> None:
        if not condition:
            self.problems.append(problem)


def check_locked_store() -> HostFaultResult:
    """Let 32 clients write while another program has locked the store: pages and health answer, and nobody waits for ever."""
    result = HostFaultResult("locked store")
    statuses: list[int] = []
    with create_installation(MC_SCHEDULER=False, MC_WEB_WORKERS=1) as board:
        board.serve()
        with _lock_store(board):
            writers = [threading.Thread(target=lambda: statuses.append(_post_ticket(board))) for _ in range(WRITERS)]
            for writer in writers:
                writer.start()
            end, seconds = time.monotonic() + LOCK_SECONDS, []
            while time.monotonic() < end:
                seconds += [_time_request(board, page) for page in PAGES]
                time.sleep(0.5)
        for writer in writers:
            writer.join()
        result.figures = {"slowest page (s)": max(seconds), "writers refused": statuses.count(503)}
        result.expect(max(seconds) < ANSWER_SECONDS, f"a page took {max(seconds):.1f} s while the store was locked")
        result.expect(set(statuses) <= {201, 503}, f"writers were answered {sorted(set(statuses))}")
        result.expect(_post_ticket(board) == 201, "a ticket cannot be created after the lock")
    return result


def check_reload() -> HostFaultResult:
    """Reload the server while streams are open whose clients do not close: all end at once, and the workers with them."""
    result = HostFaultResult("reload with streams")
    with create_installation(MC_SCHEDULER=False) as board, ExitStack() as stack:
        master = board.serve()
        workers = [worker for worker in processes.list_tree(master.pid) if worker.pid != master.pid]
        streams = [stack.enter_context(_open_stream(board)) for _ in range(STREAMS)]
        start = time.monotonic()
        master.send_signal(signal.SIGHUP)
        for stream in streams:
            while stream.recv(65536):
                pass
        result.figures["streams ended after (s)"] = round(time.monotonic() - start, 2)
        wait_until(lambda: not any(map(processes.is_alive, workers)), "the end of the old workers")
        result.figures["workers ended after (s)"] = seconds = round(time.monotonic() - start, 2)
        result.expect(seconds < ANSWER_SECONDS, f"the old workers took {seconds} s to end")
    return result


def check_wedged_git() -> HostFaultResult:
    """Let git hang in one repository: tickets of others start, and the scheduler stops by itself though it waits for git."""
    result = HostFaultResult("wedged git")
    with _hanging_git() as programs, create_installation(PATH=f"{programs}:{os.environ['PATH']}") as board:
        for slug in ("wedged", "sound"):
            _add_project(board, slug)
        board.serve_all()
        board.create_tickets(1, project="wedged", description=SHORT_SCRIPT)
        _wait_for_gate(board, "MC-1")
        start = time.monotonic()
        board.create_tickets(1, project="sound", description=SHORT_SCRIPT)
        _wait_for_status(board, "MC-2", "in_review")
        result.figures["another project's ticket took (s)"] = round(time.monotonic() - start, 1)
        [scheduler] = _find_processes(board, "mc_scheduler.py")
        wait_until(lambda: _is_waiting_for_git(scheduler), "a pass that waits for git")
        start = time.monotonic()
        processes.send_signal(scheduler, signal.SIGTERM)
        wait_until(lambda: not processes.is_alive(scheduler), "the end of the scheduler")
        result.figures["scheduler stopped after (s)"] = seconds = round(time.monotonic() - start, 1)
        result.expect(seconds < STOP_SECONDS, f"the scheduler took {seconds} s to stop")
    return result


def check_clock_steps() -> HostFaultResult:
    """Step the clock ahead, back, and as after a laptop's sleep: the live run ends well, the next starts, nothing is deleted."""
    result = HostFaultResult("clock steps")
    with tempfile.TemporaryDirectory(prefix="mc-clock-") as folder:
        library = Path(folder) / "clock_step.so"
        source = Path(__file__).with_name("clock_step.c")
        if shutil.which("cc") is None:
            result.figures["not measured"] = "there is no C compiler"
            return result
        subprocess.run(["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True, timeout=60)
        for name, seconds in CLOCK_STEPS.items():
            _check_clock_step(result, name, seconds, library, asleep=name.startswith("asleep"))
    return result


def _check_clock_step(result: HostFaultResult, name: str, seconds: int, library: Path, *, asleep: bool) -> None:
    offset = library.with_name("offset")
    offset.write_text("0")
    with create_installation(LD_PRELOAD=library, SOAK_CLOCK_FILE=offset) as board:
        board.serve_all()
        board.create_tickets(1, description=LONG_SCRIPT)
        _wait_for_status(board, "MC-1", "in_progress")
        with _halt(_list_board_processes(board)) if asleep else nullcontext():
            offset.write_text(str(seconds))
        start = time.monotonic()
        board.create_tickets(1, description=SHORT_SCRIPT)
        for identifier in ("MC-1", "MC-2"):
            _wait_for_status(board, identifier, "in_review")
        result.figures[f"{name}: both tickets in review after (s)"] = round(time.monotonic() - start, 1)
        for outcome, summary in _list_retention_runs(board):
            result.expect(outcome == "skipped", f"{name}: retention ran: {summary}")


def check_read_only_home() -> HostFaultResult:
    """Make the home read-only: pages answer, writers are refused with 503, and all goes on by itself afterwards."""
    result = HostFaultResult("read-only home")
    with create_installation() as board, ExitStack() as stack:
        board.serve_all()
        home = str(board.settings.home)
        try:
            subprocess.run(["mount", "--bind", home, home], check=True, capture_output=True, timeout=20)
        except (OSError, subprocess.CalledProcessError):
            result.figures["not measured"] = "file systems cannot be mounted here"
            return result
        with stack:
            stack.callback(subprocess.run, ["umount", "--lazy", home], check=True, timeout=20)
            subprocess.run(["mount", "-o", "remount,bind,ro", home], check=True, timeout=20)
            for page in PAGES:
                with suppress(RuntimeError):
                    _time_request(board, page)
                    continue
                result.problems.append(f"{page} does not answer in a read-only home")
            status = _post_ticket(board)
            result.expect(status == 503, f"a ticket was answered {status} in a read-only home")
        wait_until(lambda: _post_ticket(board) == 201, "a ticket to be created in the home that is writable again")
        _wait_for_status(board, "MC-1", "in_review")
    return result


STEPS: tuple[Callable[[], HostFaultResult], ...] = (
    check_locked_store,
    check_reload,
    check_wedged_git,
    check_clock_steps,
    check_read_only_home,
)
"""The steps in the order in which they are made; each takes between ten seconds and two minutes."""


# ------------------------------------------------------------------------------------------------------------- parts


@contextmanager
def _lock_store(board: Installation) -> Iterator[None]:
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('BEGIN IMMEDIATE')"
    script += "; print(flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(board.settings.home / "mc.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        yield


def _post_ticket(board: Installation) -> int:
    connection = board.connect()
    headers = {"Authorization": f"Bearer {board.token}", "Content-Type": "application/json"}
    body = json.dumps({"title": "Say hello", "assigned_to": "script", "description": SHORT_SCRIPT})
    connection.request("POST", "/api/v1/tickets", body, headers)
    return connection.getresponse().status


def _time_request(board: Installation, page: str) -> float:
    start = time.monotonic()
    board.get(page)
    return round(time.monotonic() - start, 2)


@contextmanager
def _open_stream(board: Installation) -> Iterator[socket.socket]:
    head = f"GET /api/v1/stream HTTP/1.0\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {board.token}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", board.settings.port), timeout=60) as connection:
        connection.sendall(head.encode())
        connection.recv(65536)
        yield connection


@contextmanager
def _hanging_git() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mc-git-") as folder:
        program = Path(folder) / "git"
        program.write_text(GIT_SCRIPT.format(git=shutil.which("git")))
        program.chmod(0o700)
        yield Path(folder)


def _add_project(board: Installation, slug: str) -> None:
    folder = board.settings.home / f"{slug}-repository"
    folder.mkdir()
    git = [str(shutil.which("git")), "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "-q", "-b", "main"], check=True, timeout=20)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "Start"], check=True, timeout=20)
    body = NewProject.model_validate({"slug": slug, "name": slug, "folder": str(folder)})
    with writing(board.engine) as session:
        projects.add_project(session, body, BENCH_ACTOR)


def _read_ticket(board: Installation, identifier: str) -> Ticket:
    """Read a ticket from the store, as tokens expire when the clock is stepped ahead."""
    with reading(board.engine) as session:
        return lookup.get_ticket(session, identifier)


def _wait_for_status(board: Installation, identifier: str, status: str) -> None:
    wait_until(lambda: _read_ticket(board, identifier).status == status, f"{identifier} to be {status}")


def _wait_for_gate(board: Installation, identifier: str) -> None:
    wait_until(lambda: _read_ticket(board, identifier).last_gate == "repository", f"{identifier} to wait at its gate")


def _list_retention_runs(board: Installation) -> list[tuple[str, object]]:
    with reading(board.engine) as session:
        rows = session.scalars(select(TaskRun).where(TaskRun.task == "retention")).all()
        return [(str(row.outcome), row.summary) for row in rows]


def _list_board_processes(board: Installation) -> list[Identity]:
    """List the processes of the board and the wrapper of its first run."""
    markers = (f"MC_HOME={board.settings.home}", f"MC_RUN_ID={board.settings.instance}-1")
    return [process for marker in markers for process in processes.find_by_marker(marker)]


def _find_processes(board: Installation, program: str) -> list[Identity]:
    return [process for process in _list_board_processes(board) if program in processes.read_command(process.pid)]


def _is_waiting_for_git(scheduler: Identity) -> bool:
    return any("sleep" in processes.read_command(child.pid) for child in processes.list_tree(scheduler.pid))


@contextmanager
def _halt(members: list[Identity]) -> Iterator[None]:
    """Halt processes for as long as a machine that sleeps."""
    for member in members:
        processes.send_signal(member, signal.SIGSTOP)
    time.sleep(SLEEP_SECONDS)
    yield
    for member in members:
        processes.send_signal(member, signal.SIGCONT)
