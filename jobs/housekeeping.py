"""Keeping the house: settle what timers must settle, delete what has outlived its use, copy the store."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from database import backup_database, reading, writing
from models import TaskOutcome, now
from tickets.conversation import messages
from tickets.operations import retention, store_stats
from workers.host import private_dirs

from . import dispatch_pass, single_flight
from .host_state import Unobservable
from .job_context import JobContext
from .task_recorder import Done

BATCHES = 25
"""Of rows a table in one pass: what is left over waits for the next one."""
FOLDERS = 5000
DAY_SECONDS = 86_400
SET_ASIDE = re.compile(r"[0-9]+\.[0-9T]+")
"""See `workers.host.private_dirs.set_aside`."""
BACKUPS_KEPT = 3
"""However old they are."""


def reap(bench: JobContext) -> Done:
    """Expire messages that no run took, queue failed ones again, and settle dead runs unless a dispatch pass is at it just now."""
    with writing(bench.engine) as session:
        expired = messages.expire(session, bench.settings.message_expiry_seconds)
        requeued = messages.retry_failed(session)
    _measure(bench)
    settled = {"expired": expired, "requeued": requeued}
    acted = TaskOutcome.ACTED if expired or requeued else TaskOutcome.NOOP
    tally = dispatch_pass.Tally()
    try:
        with single_flight.alone(bench, "pickup"):
            dispatch_pass.settle(bench, tally)
    except single_flight.Held:
        return Done(acted, {**settled, "pickup": "at work"})
    except Unobservable as error:
        return Done(TaskOutcome.FAILED, {**settled, "error": str(error)})
    outcome = tally.outcome if tally.outcome is not TaskOutcome.NOOP else acted
    return Done(outcome, {**settled, "reconciled": dict(tally.reconciled), "released": tally.released})


def _measure(bench: JobContext) -> None:
    """Count the rows, for the page that shows how large the store is."""
    with reading(bench.engine) as session:
        measured = store_stats.measure(session)
    with writing(bench.engine) as session:
        store_stats.keep(session, measured)


def tidy(bench: JobContext) -> Done:
    """Apply every retention rule to rows and files."""
    days = bench.settings.retention.model_dump()
    rows = {rule.table: _prune(bench, rule) for rule in retention.rules(days)}
    removed_runs, problems = _remove(_spent_run_folders(bench, days["runs"]))
    files = {
        "runs": removed_runs,
        "attachments": _orphan_attachments(bench),
        "logs": _old_files(bench.settings.logs_dir.rglob("*"), days["logs"]),
    }
    deleted: dict[str, Any] = {name: count for name, count in rows.items() if count}
    removed = {name: count for name, count in files.items() if count}
    outcome = TaskOutcome.ACTED if deleted or removed else TaskOutcome.NOOP
    if problems:
        return Done(TaskOutcome.WARNING, {"rows": deleted, "files": removed, "problems": problems})
    return Done(outcome, {"rows": deleted, "files": removed})


def back_up(bench: JobContext) -> Done:
    """A verified copy of a SQLite store, and old copies removed; PostgreSQL is backed up with its own tools."""
    if bench.engine.dialect.name != "sqlite":
        return Done(TaskOutcome.SKIPPED, {"reason": "a PostgreSQL store is backed up with pg_dump"})
    folder = bench.settings.backups_dir
    target = folder / f"mc-{now():%Y%m%dT%H%M%SZ}.db"
    backup_database(bench.engine, target)
    kept = sorted(folder.glob("mc-*.db"))[:-BACKUPS_KEPT]
    removed = _old_files([*kept, *folder.glob("*.part")], bench.settings.retention.backups)
    return Done(TaskOutcome.ACTED, {"backup": target.name, "bytes": target.stat().st_size, "removed": removed})


def _prune(bench: JobContext, rule: retention.Rule) -> int:
    deleted = 0
    for _ in range(BATCHES):
        with writing(bench.engine) as session:
            count = retention.prune(session, rule)
        deleted += count
        if count < retention.BATCH:
            break
    return deleted


def _spent_run_folders(bench: JobContext, days: int) -> list[Path]:
    """Whole folders of runs, transcripts and configuration included; those too that a restored store does not know."""
    entries = {entry.name: entry for entry in bench.settings.runs_dir.iterdir()}
    present = [int(name) for name in entries if name.isdigit()]
    spent: list[int] = []
    with reading(bench.engine) as session:
        for start in range(0, len(present), 500):
            spent += retention.spent_runs(session, present[start : start + 500], days)
    aside = [entry for name, entry in entries.items() if SET_ASIDE.fullmatch(name) and _is_old(entry, days)]
    return [*(bench.run_dir(run_id) for run_id in spent), *aside][:FOLDERS]


def _remove(spent: list[Path]) -> tuple[int, list[str]]:
    """How many folders are gone, and what is wrong with those that are not: one that resists must not keep the others."""
    problems = []
    for folder in spent:
        try:
            private_dirs.remove(folder)
        except OSError as error:
            problems.append(f"{folder} cannot be removed: {error.strerror}")
    return len(spent) - len(problems), problems


def _orphan_attachments(bench: JobContext) -> int:
    """Files that no row knows, a day after they came: an upload that is under way is not touched."""
    files = {entry.name: entry for entry in bench.settings.attachments_dir.iterdir() if entry.is_file()}
    names = sorted(files)
    with reading(bench.engine) as session:
        known = {
            name for start in range(0, len(names), 500) for name in retention.known_files(session, names[start:][:500])
        }
    return _old_files([files[name] for name in names if name not in known], 1)


def _old_files(files: Iterable[Path], days: int) -> int:
    """Remove the files last written more than so many days ago."""
    old = [file for file in files if file.is_file() and _is_old(file, days)]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _is_old(path: Path, days: int) -> bool:
    return path.lstat().st_mtime < time.time() - days * DAY_SECONDS
