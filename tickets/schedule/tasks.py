"""Stored state of scheduled tasks: decisions of people, runs with their outcome, and heartbeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session, aliased

from database import insert_or_ignore
from models import Heartbeat, TaskOutcome, TaskRun, TaskState, TicketEvent, Trigger, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.rights import Act

MAX_TAIL_CHARACTERS = 16_000
MAX_ITEMS = 20
MAX_TEXT_CHARACTERS = 500
"""Limits of a summary in a heartbeat: items of each list in it, and characters of each text."""
RUN_REQUESTED = "task_run_requested"
SCHEDULER = "scheduler"
REPEAT = "repeat"
"""Key in the summary of a failed run that may succeed in a moment."""
HAS_ENTRY = "has_entry"
"""Key in the summary of a warning of which an incident or a review on its ticket tells already."""
SKIPPED_SINCE = "skipped_since"
"""Key in the detail of a heartbeat: since when every run of the task was skipped, as another program did its work."""
HINDERED_SINCE = "hindered_since"
"""Key in the detail of a heartbeat: since when every run has failed because of an obstacle that may go in a moment."""
MAX_SILENCE = timedelta(seconds=90)
"""Age of the scheduler's heartbeat after which it counts as ended."""


def record_run(
    session: Session,
    task: str,
    trigger: Trigger,
    outcome: TaskOutcome,
    started_at: datetime,
    *,
    exit_code: int | None = None,
    summary: dict[str, Any] | None = None,
    output_tail: str = "",
) -> int:
    """Store one finished run of a task, and return its id."""
    row = TaskRun(
        task=task,
        trigger=trigger,
        outcome=outcome,
        exit_code=exit_code,
        summary=summary,
        output_tail=output_tail[-MAX_TAIL_CHARACTERS:],
        started=started_at,
        ended=now(),
    )
    session.add(row)
    session.flush()
    return row.id


def complete_run(session: Session, run_id: int, exit_code: int | None, output_tail: str) -> bool:
    """Add exit code and output to a run that the program itself recorded. Returns False when there is no such run."""
    row = (
        update(TaskRun)
        .where(TaskRun.id == run_id)
        .values(exit_code=exit_code, output_tail=output_tail[-MAX_TAIL_CHARACTERS:])
    )
    return session.scalar(row.returning(TaskRun.id)) is not None


def list_task_runs(session: Session, task: str | None = None, limit: int = 50) -> list[TaskRun]:
    """List the newest runs of one task or of all, newest first."""
    query = select(TaskRun).order_by(TaskRun.id.desc()).limit(limit)
    return list(session.scalars(query.where(TaskRun.task == task) if task else query))


def _select_newest() -> Select[TaskRun]:
    """Select the newest run of each task with a loose index scan, as grouping would read all runs of two months."""
    some, later = aliased(TaskRun), aliased(TaskRun)
    first = select(func.min(some.task).label("task")).cte("names", recursive=True)
    following = select(func.min(later.task)).where(later.task > first.c.task).scalar_subquery()
    names = first.union_all(select(following).where(first.c.task.is_not(None)))
    newest = select(func.max(some.id)).where(some.task == names.c.task).scalar_subquery()
    return select(TaskRun).where(TaskRun.id.in_(select(newest).select_from(names)))


NEWEST_RUNS = _select_newest().order_by(TaskRun.task)


def load_latest(session: Session) -> dict[str, TaskRun]:
    """Load the newest run of each task, ordered by task name."""
    return {row.task: row for row in session.scalars(NEWEST_RUNS)}


def enable_task(session: Session, task: str, actor: Actor) -> None:
    _set_enabled(session, task, True, actor)


def disable_task(session: Session, task: str, actor: Actor) -> None:
    _set_enabled(session, task, False, actor)


def load_decisions(session: Session) -> dict[str, bool]:
    """Load the decisions of people by task. A task without one follows its file."""
    return {state.task: state.enabled for state in session.scalars(select(TaskState))}


def _set_enabled(session: Session, task: str, enabled: bool, actor: Actor) -> None:
    rights.require(actor, Act.ADMINISTER)
    values = {"enabled": enabled, "changed_by": actor.name, "changed": now()}
    session.execute(insert_or_ignore(session, TaskState).values(task=task, **values))
    session.execute(update(TaskState).where(TaskState.task == task).values(**values))
    events.append(session, None, "task_enabled" if enabled else "task_disabled", {"task": task}, actor)


def request_run(session: Session, task: str, actor: Actor) -> None:
    """Request a run of a task, enabled or not, from the scheduler, which checks each second."""
    events.append(session, None, RUN_REQUESTED, {"task": task}, actor)


def run_now(session: Session, task: str, actor: Actor) -> None:
    """Request a run of a task. Raises `ConflictError` when no scheduler is running."""
    rights.require(actor, Act.ADMINISTER)
    require_scheduler(session, task)
    request_run(session, task, actor)


def require_scheduler(session: Session, task: str) -> None:
    """Raise `ConflictError` when no scheduler is running that would start the task."""
    if not is_alive(load_heartbeats(session).get(SCHEDULER)):
        raise ConflictError(f"{task} was not started because the scheduler is not running.", task=task)


def is_alive(beat: Heartbeat | None) -> bool:
    """Return whether this heartbeat of the scheduler is recent."""
    return beat is not None and beat.ts > now() - MAX_SILENCE


def list_requested(session: Session, cursor: int) -> tuple[int, set[str]]:
    """Return the newest event id, and the tasks requested since `cursor`."""
    newest = events.get_last_id(session)
    since = select(TicketEvent.payload_json).where(
        TicketEvent.id > cursor, TicketEvent.id <= newest, TicketEvent.event_type == RUN_REQUESTED
    )
    return newest, {str(payload["task"]) for payload in session.scalars(since)} if newest > cursor else set()


def record_heartbeat(
    session: Session, check: str, status: str, detail: str = "", *, summary: Mapping[str, Any] | None = None
) -> None:
    """Store the heartbeat of a program or of a scheduled task, by its name, replacing its previous one.

    A `summary` is stored as the detail, with long lists and texts shortened, so that it can be read as JSON again.
    """
    text = json.dumps(_shorten(summary), default=str) if summary is not None else detail[:2000]
    values = {"status": status, "detail": text, "ts": now()}
    session.execute(insert_or_ignore(session, Heartbeat).values(check=check, **values))
    session.execute(update(Heartbeat).where(Heartbeat.check == check).values(**values))


def _shorten(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _shorten(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value[:MAX_ITEMS]]
    return value[:MAX_TEXT_CHARACTERS] if isinstance(value, str) else value


ALL_HEARTBEATS = select(Heartbeat)


def load_heartbeats(session: Session) -> dict[str, Heartbeat]:
    return {row.check: row for row in session.scalars(ALL_HEARTBEATS)}


def read_summary(beat: Heartbeat) -> dict[str, Any]:
    """Read the JSON summary of a heartbeat. Any other text is its error."""
    try:
        summary = json.loads(beat.detail)
    except ValueError:
        return {"error": beat.detail}
    return summary if isinstance(summary, dict) else {}


def read_texts(beat: Heartbeat, key: str) -> list[str]:
    """Read a list of texts of the summary of a heartbeat. Empty for a value of another type."""
    value = read_summary(beat).get(key)
    return [str(item) for item in value if item] if isinstance(value, list) else []


def describe_skip(summary: Mapping[str, Any]) -> str:
    """Describe why a run was skipped, by its summary. Empty where that says nothing."""
    holder = summary.get("held_by")
    return str(summary.get("reason") or (f"{holder} is doing the same work" if holder else ""))


def record_outcome(session: Session, task: str, status: str, summary: Mapping[str, Any]) -> None:
    """Store the heartbeat of a task that has run, with since when its runs have been skipped or hindered."""
    marks = {SKIPPED_SINCE: "held_by" in summary, HINDERED_SINCE: REPEAT in summary}
    beat = load_heartbeats(session).get(task) if any(marks.values()) else None
    times = {key: (find_time(beat, key) or now()).isoformat() for key, is_set in marks.items() if is_set}
    record_heartbeat(session, task, status, summary={**summary, **times})


def find_time(beat: Heartbeat | None, key: str) -> datetime | None:
    """Return the time that the summary of a heartbeat has under this key, or None."""
    try:
        since = datetime.fromisoformat(str(read_summary(beat).get(key) if beat else None))
    except ValueError:
        return None
    return since if since.tzinfo else None
