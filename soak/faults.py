"""The table of faults: how each part of a live board is broken and mended, and the cause that its health must name."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import delete, func, select, update

from bench.installation import BENCH_ACTOR
from bench.rows import wait_until
from database import StoreUnavailable, writing
from models import DeliveryState, Heartbeat, QueuedMessage, Ticket, TicketEvent, now
from tickets.conversation import messages
from tickets.conversation.messages import NewMessage
from tickets.lifecycle import transitions
from tickets.operations import incidents
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.shared.inputs import NewTicket
from workers.host import processes

from .board import SPEAKER, Board, ProcessKind, kill_process

LOCK_SECONDS = 168.0
FAILED_RUNS, GOOD_RUNS = 12, 21
WAL_MEGABYTES = 300
CLOCK_STEP = timedelta(hours=2)
DISPATCH_TASK = "ticket-pickup"
INCIDENT = "nightly-build"
INCIDENT_TITLE = "The nightly build has failed"
DISK_FREE_SIZE = "1g"
HOME_SIZE = "6g"
"""The size of the file system of a home, of which nothing is used until it is written."""
BACKUP_SIZE = "64k"
Injection = Callable[[Board], AbstractContextManager[None]]

_HOLD_LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""
_SPOIL_PAGE = """
import os, sqlite3, sys
path, table, saved = sys.argv[1:]
connection = sqlite3.connect(path)
connection.execute("PRAGMA wal_checkpoint(FULL)")
(root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", [table]).fetchone()
(size,) = connection.execute("PRAGMA page_size").fetchone()
connection.close()
file = os.open(path, os.O_RDWR)
if os.path.exists(saved):
    os.pwrite(file, open(saved, "rb").read(), (root - 1) * size)
else:
    open(saved, "wb").write(os.pread(file, size, (root - 1) * size))
    os.pwrite(file, bytes([255]) * size, (root - 1) * size)
"""
_FILL_LOG = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
writer = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM tickets").fetchone()
writer.execute("CREATE TABLE soak_filler (content BLOB)")
for _ in range(int(sys.argv[2])):
    writer.execute("INSERT INTO soak_filler VALUES (zeroblob(1 << 20))")
print("filled", flush=True)
sys.stdin.read()
reader.execute("ROLLBACK")
writer.execute("DROP TABLE soak_filler")
writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""


@dataclass(frozen=True, slots=True)
class BoardFault:
    """One row of the table.

    `check` is the name of the check that must be named as cause, with `fragment` in its detail; without a `check` the
    board must stop to answer. `inject` breaks the part and mends it on exit. The part stays broken for `seconds` at
    least. A fault that `needs_mount` is measured only where file systems may be mounted, and one without `combines` never
    together with another.
    """

    name: str
    check: str | None
    fragment: str
    inject: Injection
    seconds: float = 0.0
    needs_mount: bool = False
    combines: bool = True


@contextmanager
def _run_script(board: Board, script: str, *arguments: str) -> Iterator[None]:
    """Run a program beside the board, from its first line of output to the end of the block."""
    command = [sys.executable, "-c", script, str(board.store_file), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        yield


def hold_write_lock(board: Board) -> AbstractContextManager[None]:
    return _run_script(board, _HOLD_LOCK)


@contextmanager
def break_settings(board: Board) -> Iterator[None]:
    board.settings.config_file.write_text("this is not = [ TOML\n")
    yield
    board.settings.config_file.unlink()


@contextmanager
def fail_backup(board: Board) -> Iterator[None]:
    """Let the nightly backup find a full disk."""
    with _mount(board.settings.backups_dir, "-t", "tmpfs", "-o", f"size={BACKUP_SIZE},mode=700", "tmpfs"):
        board.start("queue_reaper.py", "--backup").wait(60)
        yield
    board.start("queue_reaper.py", "--backup").wait(60)


@contextmanager
def spoil_page(board: Board) -> Iterator[None]:
    """Overwrite the root page of a table in the store's file."""
    command = [sys.executable, "-c", _SPOIL_PAGE, str(board.store_file), "saved_views", str(board.folder / "page")]
    subprocess.run(command, check=True, timeout=60)
    yield
    subprocess.run(command, check=True, timeout=60)
    (board.folder / "page").unlink()


@contextmanager
def kill_supervisor(board: Board) -> Iterator[None]:
    for process in board.list_processes(ProcessKind.SUPERVISOR):
        kill_process(process)
    yield
    wait_until(lambda: board.parent is None or board.parent.poll() is not None, "the end of the board")
    board.start_board()


@contextmanager
def disable_reaper(board: Board) -> Iterator[None]:
    board.post("/tasks/queue-reaper/disable")
    yield
    board.post("/tasks/queue-reaper/enable")


@contextmanager
def expire_message(board: Board) -> Iterator[None]:
    (ticket_id,) = board.create_tickets(1, status="inbox")
    with writing(board.engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        message = messages.queue_message(session, ticket, NewMessage(body="Look at this."), BENCH_ACTOR)
        message.state, message.offered = DeliveryState.EXPIRED, now()
    yield
    with writing(board.engine) as session:
        session.execute(delete(QueuedMessage).where(QueuedMessage.id == message.id))
    board.move(ticket_id, "cancel")


@contextmanager
def miss_check_in(board: Board) -> Iterator[None]:
    (ticket_id,) = board.create_tickets(1, status="inbox")
    with writing(board.engine) as session:
        overdue = now() - timedelta(hours=3)
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(expected_check_in=overdue))
    yield
    board.move(ticket_id, "cancel")


@contextmanager
def block_most(board: Board) -> Iterator[None]:
    """Let most of the last runs fail, each with its ticket blocked."""
    ticket_ids = [_run_ticket(board, "failed", f"It cannot be built ({number}).") for number in range(FAILED_RUNS)]
    yield
    for ticket_id in ticket_ids:
        board.move(ticket_id, "cancel")
    for _ in range(GOOD_RUNS):
        _run_ticket(board, "done", "It is built.")


def _run_ticket(board: Board, verdict: str, summary: str) -> int:
    """Create a ticket, claim it and report its only run, before the scheduler sees it."""
    body = NewTicket.model_validate({"title": "Build it", "assigned_to": "script", "gate": "none"})
    report = reports.RunReport.model_validate({"verdict": verdict, "summary": summary})
    with writing(board.engine) as session:
        ticket = transitions.create_ticket(session, body, BENCH_ACTOR)
        claim = claims.claim_ticket(session, ticket.id, "bench")
        reports.apply_report(session, claim.run.id, report, reports.RetryPolicy(limit=1))
        return ticket.id


@contextmanager
def raise_incident(board: Board) -> Iterator[None]:
    """Open an incident of which no check knows. A person closes it."""
    with writing(board.engine) as session:
        incident = incidents.raise_incident(session, INCIDENT, INCIDENT_TITLE, "Its log names no cause.")
        incident_id = incident.id
    yield
    board.post(f"/incidents/{incident_id}/close", {"evidence": "The build has passed."}, status=200)


@contextmanager
def stop_scheduler(board: Board) -> Iterator[None]:
    """Halt the scheduler without an end, so that nothing starts it again."""
    schedulers = board.list_processes(ProcessKind.SCHEDULER)
    for process in schedulers:
        processes.send_signal(process.identity, signal.SIGSTOP)
    yield
    for process in schedulers:
        processes.send_signal(process.identity, signal.SIGCONT)


def remove_tmux(board: Board) -> AbstractContextManager[None]:
    return _replace_program(board, "tmux")


def remove_git(board: Board) -> AbstractContextManager[None]:
    return _replace_program(board, "git")


def hang_git(board: Board) -> AbstractContextManager[None]:
    return _replace_program(board, "git", "#!/bin/sh\nexec sleep 3600\n")


@contextmanager
def _replace_program(board: Board, name: str, script: str | None = None) -> Iterator[None]:
    """Replace a program on the board's PATH by a script, or by nothing."""
    program = board.programs / name
    target = program.readlink()
    program.unlink()
    if script:
        program.write_text(script)
        program.chmod(0o700)
    yield
    program.unlink(missing_ok=True)
    program.symlink_to(target)


@contextmanager
def fill_disk(board: Board) -> Iterator[None]:
    """Shrink the file system of the home until hardly any space is free."""
    home = str(board.settings.home)
    _mount_again(home, f"size={DISK_FREE_SIZE}")
    yield
    _mount_again(home, f"size={HOME_SIZE}")


@contextmanager
def lock_home(board: Board) -> Iterator[None]:
    """Make the home read-only for everything that is opened from now on."""
    home = board.settings.home
    with _mount(home, "--bind", str(home)):
        _mount_again(str(home), "bind,ro")
        yield


def fill_log(board: Board) -> AbstractContextManager[None]:
    return _run_script(board, _FILL_LOG, str(WAL_MEGABYTES))


@contextmanager
def set_clock_back(board: Board) -> Iterator[None]:
    """Let the newest event and the heartbeat of the dispatcher be of the future, as after the clock was set back."""
    ended = threading.Event()

    def write_times() -> None:
        while not ended.wait(1):
            _set_newest_times(board, now() + CLOCK_STEP)

    writer = threading.Thread(target=write_times, daemon=True)
    writer.start()
    yield
    ended.set()
    writer.join()
    _set_newest_times(board, now())


def _set_newest_times(board: Board, moment: datetime) -> None:
    newest = select(func.max(TicketEvent.id)).scalar_subquery()
    with suppress(StoreUnavailable), writing(board.engine) as session:
        session.execute(update(TicketEvent).where(TicketEvent.id == newest).values(ts=moment))
        session.execute(update(Heartbeat).where(Heartbeat.check == DISPATCH_TASK).values(ts=moment))


@contextmanager
def remove_runs(board: Board) -> Iterator[None]:
    folder, aside = board.settings.runs_dir, board.settings.home / "runs.away"
    folder.rename(aside)
    yield
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


@contextmanager
def log_out(board: Board) -> Iterator[None]:
    """Take the log-in of an agent with work away, and probe."""
    (ticket_id,) = board.create_tickets(1, assigned_to=SPEAKER, not_before=now() + timedelta(days=1))
    aside = board.folder / "credentials"
    board.log_in_file.rename(aside)
    _probe_agents(board)
    yield
    board.move(ticket_id, "cancel")
    aside.rename(board.log_in_file)
    _probe_agents(board)


def _probe_agents(board: Board) -> None:
    board.start("mc_probe.py").wait(120)


@contextmanager
def _mount(target: Path, *arguments: str) -> Iterator[None]:
    subprocess.run(["mount", *arguments, str(target)], check=True, capture_output=True, timeout=20)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(target)], check=True, timeout=20)


def _mount_again(target: str, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", target], check=True, timeout=20)


@contextmanager
def mount_home(home: Path) -> Iterator[bool]:
    """Mount a file system for a home, and yield whether that is possible here."""
    home.mkdir(mode=0o700)
    with ExitStack() as stack:
        try:
            stack.enter_context(_mount(home, "-t", "tmpfs", "-o", f"size={HOME_SIZE},mode=700", "tmpfs"))
            is_mounted = True
        except (OSError, subprocess.CalledProcessError):
            is_mounted = False
        yield is_mounted


FAULTS = (
    BoardFault("write lock", "writes", "holds the write lock", hold_write_lock, seconds=LOCK_SECONDS),
    BoardFault("settings broken", "settings", "cannot be read", break_settings),
    BoardFault("backup failed", "backup", "reports a problem", fail_backup, needs_mount=True),
    BoardFault("page corrupt", "integrity", "damaged", spoil_page),
    BoardFault("supervisor dead", None, "", kill_supervisor, combines=False),
    BoardFault("reaper disabled", "queue-reaper", "disabled", disable_reaper),
    BoardFault("message expired", "messages", "expired", expire_message),
    BoardFault("check-in overdue", "check-ins", "check-in", miss_check_in),
    BoardFault("most blocked", "outcomes", "failed or left", block_most),
    BoardFault("incident open", "incidents", INCIDENT_TITLE, raise_incident),
    BoardFault("scheduler dead", "scheduler", "last seen", stop_scheduler),
    BoardFault("tmux missing", "tmux", "tmux", remove_tmux),
    BoardFault("git missing", "git", "git", remove_git),
    BoardFault("git hangs", "git", "git", hang_git),
    BoardFault("disk full", "disk", "almost full", fill_disk, needs_mount=True),
    BoardFault("log huge", "wal", "write-ahead log", fill_log),
    BoardFault("clock set back", "clock", "future", set_clock_back),
    BoardFault("runs deleted", "run-folders", "are gone from", remove_runs),
    BoardFault("home read-only", "run-folders", "is read-only", lock_home, needs_mount=True),
    BoardFault("agent logged out", "agents", "cannot start", log_out),
)
NO_RESULTS = frozenset({"write lock", "scheduler dead", "home read-only"})
"""Faults during which no program can store the results of its checks."""
OF_WEB = frozenset({"settings broken", "disk full"})
"""Faults that a web process finds by itself then."""
EXCLUSIVE = frozenset(
    {
        frozenset({"git missing", "git hangs"}),
        frozenset({"disk full", "home read-only"}),
        frozenset({"disk full", "log huge"}),
        *(frozenset({"page corrupt", other}) for other in ("log huge", "backup failed", "disk full", "home read-only")),
        *(frozenset({"home read-only", other}) for other in ("settings broken", "backup failed", "runs deleted")),
        frozenset({"disk full", "backup failed"}),
        frozenset({"settings broken", "agent logged out"}),
        *map(frozenset, itertools.combinations(sorted(NO_RESULTS), 2)),
        *(
            frozenset({stop, fault.name})
            for stop in NO_RESULTS
            for fault in FAULTS
            if fault.name not in OF_WEB | NO_RESULTS
        ),
    }
)
"""Pairs that cannot be broken or mended at the same time, as one hides or prevents the other.

While no result can be stored, the reason for that is named; with broken settings no program can ask an agent for its log-in.
"""
