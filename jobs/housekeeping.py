"""Housekeeping jobs: settle expired items, delete old rows and files, back up the store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import secret_files
from database import reading, writing
from models import TaskOutcome, Trigger, now
from store_files import backup_database
from tickets.conversation import messages
from tickets.operations import retention, store_stats
from tickets.schedule import tasks
from workers.host import private_dirs

from . import dispatch_pass, repositories, single_flight
from .evidence import live_routes
from .health import canary
from .host_state import ObservationError
from .job_context import JobContext
from .loops import auto_review, board_sweep, inbox_drain, triage
from .task_recorder import JobResult, run_and_record

MAX_BATCHES = 25
"""The maximum of batches per table in one pass. The rest is left to the next one."""
MAX_FOLDERS = 5000
DAY_SECONDS = 86_400
SET_ASIDE_NAME = re.compile(r"[0-9]+\.[0-9T]+")
"""The names that `workers.host.private_dirs.move_away` gives."""
RETENTION = "retention"
MAX_RETENTION_GAP = timedelta(days=14)
"""The longest time between two passes of retention after which the clock is trusted."""
MIN_BACKUPS = 3
"""The number of backups that stay, however old they are."""


def reap_queue(context: JobContext) -> JobResult:
    """Expire messages that no run took, queue failed ones again, and settle dead runs unless a dispatch pass is running."""
    with writing(context.engine) as session:
        expired = messages.expire_messages(session, context.settings.message_expiry_seconds)
        requeued = messages.retry_failed(session)
    _save_stats(context)
    message_counts = {"expired": expired, "requeued": requeued}
    message_outcome = TaskOutcome.ACTED if expired or requeued else TaskOutcome.NOOP
    pass_counts = dispatch_pass.PassCounts()
    try:
        with single_flight.hold_lease(context, "pickup"):
            dispatch_pass.settle_runs(context, pass_counts)
    except single_flight.AlreadyRunning:
        return JobResult(message_outcome, {**message_counts, "pickup": "at work"})
    except ObservationError as error:
        return JobResult(TaskOutcome.FAILED, {**message_counts, "error": str(error)}, again=True)
    outcome = pass_counts.outcome if pass_counts.outcome is not TaskOutcome.NOOP else message_outcome
    counts = {**message_counts, "reconciled": dict(pass_counts.reconciled), "released": pass_counts.released}
    return JobResult(outcome, counts)


def _save_stats(context: JobContext) -> None:
    """Count the rows, for the page that shows the size of the store."""
    with reading(context.engine) as session:
        stats = store_stats.measure_store(session)
    with writing(context.engine) as session:
        store_stats.save_stats(session, stats)


def apply_retention(context: JobContext) -> JobResult:
    """Apply every retention rule to rows and files."""
    days = context.settings.retention.model_dump()
    rows = {rule.table: _prune_table(context, rule) for rule in retention.list_rules(days)}
    removed_runs, problems = _remove_folders(_find_expired_run_folders(context, days["runs"]))
    removed_files = {
        "runs": removed_runs,
        "attachments": _remove_orphan_attachments(context),
        "slots": repositories.remove_old_slots(context, days["slots"]),
        "logs": _remove_old_files(context.settings.logs_dir.rglob("*"), days["logs"]),
    }
    row_counts: dict[str, Any] = {name: count for name, count in rows.items() if count}
    file_counts = {name: count for name, count in removed_files.items() if count}
    outcome = TaskOutcome.ACTED if row_counts or file_counts else TaskOutcome.NOOP
    if problems:
        return JobResult(TaskOutcome.WARNING, {"rows": row_counts, "files": file_counts, "problems": problems})
    return JobResult(outcome, {"rows": row_counts, "files": file_counts})


def back_up_store(context: JobContext) -> JobResult:
    """Make a verified copy of a SQLite store and remove old copies. PostgreSQL is backed up with its own tools."""
    secret_files.back_up_push_key(context.settings)
    if context.engine.dialect.name != "sqlite":
        return JobResult(TaskOutcome.SKIPPED, {"reason": "a PostgreSQL store is backed up with pg_dump"})
    folder = context.settings.backups_dir
    target = folder / f"mc-{now():%Y%m%dT%H%M%SZ}.db"
    backup_database(context.engine, target)
    surplus = sorted(folder.glob("mc-*.db"))[:-MIN_BACKUPS]
    removed_count = _remove_old_files([*surplus, *folder.glob("*.part")], context.settings.retention.backups)
    return JobResult(
        TaskOutcome.ACTED, {"backup": target.name, "bytes": target.stat().st_size, "removed": removed_count}
    )


def _prune_table(context: JobContext, rule: retention.RetentionRule) -> int:
    deleted = 0
    for _ in range(MAX_BATCHES):
        with writing(context.engine) as session:
            count = retention.prune_table(session, rule)
        deleted += count
        if count < retention.BATCH:
            break
    return deleted


def _find_expired_run_folders(context: JobContext, days: int) -> list[Path]:
    """Find the expired folders of runs, with transcripts and configuration, and those that a restored store does not have."""
    entries = {entry.name: entry for entry in context.settings.runs_dir.iterdir()}
    present = [int(name) for name in entries if name.isdigit()]
    expired_ids: list[int] = []
    with reading(context.engine) as session:
        for start in range(0, len(present), 500):
            expired_ids += retention.find_expired_runs(session, present[start : start + 500], days)
    replaced_folders = [
        entry for name, entry in entries.items() if SET_ASIDE_NAME.fullmatch(name) and _is_old(entry, days)
    ]
    return [*(context.run_dir(run_id) for run_id in expired_ids), *replaced_folders][:MAX_FOLDERS]


def _remove_folders(run_folders: list[Path]) -> tuple[int, list[str]]:
    """Remove folders. Returns their number, and a message for each that cannot be removed."""
    problems = []
    for folder in run_folders:
        try:
            private_dirs.remove_tree(folder)
        except OSError as error:
            problems.append(f"{folder} cannot be removed: {error.strerror}")
    return len(run_folders) - len(problems), problems


def _remove_orphan_attachments(context: JobContext) -> int:
    """Remove files without a row after their time, so that an upload in progress is not touched."""
    stored_files = {entry.name: entry for entry in context.settings.attachments_dir.iterdir() if entry.is_file()}
    names = sorted(stored_files)
    with reading(context.engine) as session:
        known_names = {
            name
            for start in range(0, len(names), 500)
            for name in retention.find_stored_files(session, names[start:][:500])
        }
    return _remove_old_files(
        [stored_files[name] for name in names if name not in known_names], retention.ATTACHMENT_DAYS
    )


def _remove_old_files(files: Iterable[Path], days: int) -> int:
    """Remove the files last written more than so many days ago."""
    old = [file for file in files if file.is_file() and _is_old(file, days)]
    for file in old:
        file.unlink(missing_ok=True)
    return len(old)


def _is_old(path: Path, days: int) -> bool:
    return path.lstat().st_mtime < time.time() - days * DAY_SECONDS


def _find_clock_doubt(context: JobContext) -> str | None:
    """Return why the clock may be wrong, in which case nothing may be deleted for its age, else None.

    A machine that was off so long deletes nothing in its first pass either, and everything expired in its next.
    """
    with reading(context.engine) as session:
        last = tasks.load_latest(session).get(RETENTION)
    if last is None:
        return "the first pass deletes nothing, as there is none to compare the clock with"
    gap = now() - last.started
    if gap <= MAX_RETENTION_GAP:
        return None
    return (
        f"by the clock the last pass was {gap.days} days ago: either this machine was off, or its clock is wrong."
        " The next pass deletes what has expired; `queue_reaper.py --retention` does at once"
    )


JOBS: dict[str, Callable[[JobContext], JobResult]] = {
    live_routes.TASK: live_routes.make_pass,
    auto_review.TASK: auto_review.make_pass,
    "queue-reaper": reap_queue,
    triage.TASK: triage.make_pass,
    RETENTION: apply_retention,
    "inbox-drain": inbox_drain.make_pass,
    board_sweep.TASK: board_sweep.make_pass,
    "backup": back_up_store,
    "canary": canary.make_pass,
}
"""By the name of the task that each is recorded under."""


def run_pass(
    context: JobContext,
    job: str,
    trigger: Trigger,
    *,
    task: str | None = None,
    work: Callable[[JobContext], JobResult] | None = None,
) -> JobResult:
    """Do one of the jobs, unless it is being done already, and record it. `work` replaces its function."""
    do_job = work or JOBS[job]
    return run_and_record(context.engine, task or job, trigger, lambda: _alone(context, job, trigger, do_job))


def _alone(context: JobContext, job: str, trigger: Trigger, work: Callable[[JobContext], JobResult]) -> JobResult:
    try:
        with single_flight.hold_lease(context, job):
            doubt = _find_clock_doubt(context) if job == RETENTION and trigger is Trigger.TIMER else None
            return JobResult(TaskOutcome.SKIPPED, {"reason": doubt}) if doubt else work(context)
    except single_flight.AlreadyRunning as held:
        return JobResult(TaskOutcome.SKIPPED, {"held_by": str(held)})
