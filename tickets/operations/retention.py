"""Retention rules for each table that grows by itself, and the reason for each table without one.

Each pass deletes at most `BATCH` rows of a table per transaction, so that nobody waits for the write lock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, delete, or_, select, tuple_
from sqlalchemy.orm import Session

from models import (
    TERMINAL,
    AgentSession,
    AlertDelivery,
    Attachment,
    Base,
    DeliveryState,
    HealthResult,
    Heartbeat,
    IdempotencyKey,
    InboxItem,
    InboxState,
    Incident,
    IncidentState,
    Lease,
    Login,
    LoginLink,
    ProjectDraft,
    Quarantined,
    QueuedMessage,
    RequestState,
    Run,
    RunRequest,
    RunState,
    TaskRun,
    TaskSlot,
    TelegramMessage,
    Ticket,
    now,
)
from tickets.conversation import timeline
from tickets.schedule import tasks
from tickets.shared import events
from tickets.shared.canary import CANARY

BATCH = 2000
IDEMPOTENCY_DAYS = 2
LOGIN_DAYS = 30
DRAFT_DAYS = 7
HEALTH_DAYS = 1
"""How long the results of a host that is gone stay. They no longer count by then, see `health.GONE_HOST_AGE`."""
ATTACHMENT_DAYS = 1
"""How long an uploaded file without a row stays, so that an upload in progress is not touched."""
MAX_RUNS_READ = 100


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """Retention of one table: `delete` removes at most BATCH rows that have been obsolete for `days`."""

    table: str
    days: int
    delete: Callable[[Session, int], int]


def list_rules(days: dict[str, int]) -> list[RetentionRule]:
    """List the rules, with the days that the settings configure by table (`settings.retention` as a mapping)."""
    return [
        RetentionRule(
            "ticket_events", days["ticket_events"], lambda session, max_days: events.prune(session, max_days, BATCH)
        ),
        RetentionRule("ticket_messages", days["ticket_messages"], _prune_messages),
        RetentionRule(
            "queued_messages",
            days["queued_messages"],
            _build_pruner(QueuedMessage, QueuedMessage.created, _SETTLED_MESSAGE),
        ),
        RetentionRule(
            "run_requests", days["queued_messages"], _build_pruner(RunRequest, RunRequest.created, _SETTLED_REQUEST)
        ),
        RetentionRule(
            "sessions", days["ticket_messages"], _build_pruner(AgentSession, AgentSession.last_seen, _OF_NO_OPEN_TICKET)
        ),
        RetentionRule("tickets", days["canary"], _build_pruner(Ticket, Ticket.created, _ENDED_CANARY)),
        RetentionRule("task_runs", days["task_runs"], _build_pruner(TaskRun, TaskRun.started)),
        RetentionRule("task_slots", days["task_runs"], _build_pruner(TaskSlot, TaskSlot.until)),
        RetentionRule("heartbeats", days["heartbeats"], _build_pruner(Heartbeat, Heartbeat.ts)),
        RetentionRule("health_checks", HEALTH_DAYS, _build_pruner(HealthResult, HealthResult.seen)),
        RetentionRule("inbox_items", days["inbox_items"], _build_pruner(InboxItem, InboxItem.settled, _SETTLED_ITEM)),
        RetentionRule(
            "alert_deliveries",
            days["alerts"],
            _build_pruner(AlertDelivery, AlertDelivery.created, AlertDelivery.due.is_(None)),
        ),
        RetentionRule("telegram_messages", days["alerts"], _build_pruner(TelegramMessage, TelegramMessage.created)),
        RetentionRule("incidents", days["incidents"], _build_pruner(Incident, Incident.last_seen, _CLOSED_INCIDENT)),
        RetentionRule("quarantine", days["quarantine"], _build_pruner(Quarantined, Quarantined.created)),
        RetentionRule("project_drafts", DRAFT_DAYS, _build_pruner(ProjectDraft, ProjectDraft.answered)),
        RetentionRule("idempotency_keys", IDEMPOTENCY_DAYS, _build_pruner(IdempotencyKey, IdempotencyKey.created)),
        RetentionRule("logins", LOGIN_DAYS, _build_pruner(Login, Login.expires)),
        RetentionRule("login_links", 1, _build_pruner(LoginLink, LoginLink.expires)),
        RetentionRule("leases", 1, _build_pruner(Lease, Lease.until)),
    ]


PERMANENT_TABLES: dict[str, str] = {
    "counters": "one row a series",
    "projects": "made by people",
    "programs": "one row a program and machine",
    "repository_states": "one row a project and machine",
    "slot_requests": "at most one row a slot, deleted when it has been carried out",
    "profiles": "made by people",
    "agents": "made by people",
    "ticket_phases": "part of their ticket",
    "ticket_tags": "part of their ticket",
    "triage_notes": "at most one row a ticket of the inbox, deleted by the pass after it has left",
    "ticket_relationships": "part of their ticket",
    "ticket_context": "part of their ticket",
    "ticket_comments": "part of their ticket",
    "ticket_plans": "part of their ticket",
    "attempts": "part of their ticket",
    "branch_states": "at most one row a ticket",
    "line_comments": "part of their ticket",
    "reviewed_commits": "one row a person and ticket",
    "code_reviews": "part of their ticket",
    "review_assessments": "part of their review",
    "review_findings": "part of their review",
    "visits": "one row a person",
    "evidence": "part of their ticket",
    "attachments": "part of their ticket; files without a row are removed by the reaper",
    "runs": "one row an attempt, which the ticket's history names; their files have a rule of their own",
    "task_states": "one row a task",
    "controllers": "at most one row a ticket",
    "api_tokens": "made by people; revoked ones stay listed",
    "saved_views": "one row a view",
    "switches": "one row a switch",
    "alert_channels": "one row a channel",
    "push_subscriptions": "made by people; removed when the push service no longer has them",
    "telegram_bots": "one row",
    "telegram_codes": "at most one row a person",
    "telegram_people": "made by people",
    "telegram_chats": "made by people",
    "telegram_threads": "at most one row a ticket and chat",
}

_ENDED_CANARY = and_(Ticket.assigned_to == CANARY, Ticket.status.in_(TERMINAL))
_SETTLED_MESSAGE = QueuedMessage.state.not_in((DeliveryState.QUEUED, DeliveryState.DELIVERED))
_SETTLED_REQUEST = RunRequest.state != RequestState.PENDING
_OF_NO_OPEN_TICKET = or_(
    AgentSession.ticket_id.is_(None),
    AgentSession.ticket_id.in_(select(Ticket.id).where(Ticket.status.in_(TERMINAL))),
)
_SETTLED_ITEM = InboxItem.state.in_((InboxState.ACTED, InboxState.FAILED))
_CLOSED_INCIDENT = Incident.state == IncidentState.CLOSED


def prune_table(session: Session, rule: RetentionRule) -> int:
    """Delete one batch of one rule, and return the number of rows (less than BATCH when nothing is left)."""
    return rule.delete(session, rule.days)


def _prune_messages(session: Session, days: int) -> int:
    return timeline.prune_messages(session, now() - timedelta(days=days), BATCH)


def _build_pruner(table: type[Base], moment: Any, condition: Any = None) -> Callable[[Session, int], int]:
    """Build a function that deletes rows of `table` whose `moment` is older than its days and that satisfy `condition`."""
    key = tuple_(*table.__table__.primary_key)

    def delete_old(session: Session, days: int) -> int:
        old = [moment < now() - timedelta(days=days), *([] if condition is None else [condition])]
        batch = select(*table.__table__.primary_key).where(*old).order_by(moment).limit(BATCH)
        return len(session.execute(delete(table).where(key.in_(batch)).returning(moment)).all())

    return delete_old


# ---------------------------------------------------------------------------------------------------------------- files


def find_expired_runs(session: Session, run_ids: list[int], days: int) -> list[int]:
    """Return which of these runs have expired files: ended long enough ago, without an open ticket that could resume them."""
    open_tickets = select(Ticket.id).where(Ticket.status.not_in(TERMINAL))
    query = select(Run.id).where(
        Run.id.in_(run_ids),
        Run.state == RunState.ENDED,
        Run.ended < now() - timedelta(days=days),
        Run.ticket_id.not_in(open_tickets),
    )
    return list(session.scalars(query))


def find_stored_files(session: Session, names: list[str]) -> set[str]:
    """Return which of these stored names belong to an attachment."""
    return set(session.scalars(select(Attachment.stored_as).where(Attachment.stored_as.in_(names))))


# ------------------------------------------------------------------------------------------------------------- reporting


@dataclass(frozen=True, slots=True)
class Deletion:
    """The last pass that deleted something of a kind, and how many rows or files that were."""

    at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class RetentionKind:
    """A kind of rows or files, the days that it is kept after it is no longer needed, and its last deletion."""

    name: str
    days: int
    last: Deletion | None


def list_kinds(session: Session, days: dict[str, int]) -> list[RetentionKind]:
    """List every kind with a rule, the tables first, with its last deletion by the recorded runs of the tasks."""
    last = _find_deletions(session)
    kept_days = {rule.table: rule.days for rule in list_rules(days)}
    kept_days |= {kind: days[kind] for kind in ("runs", "slots", "logs", "backups")} | {"attachments": ATTACHMENT_DAYS}
    return [RetentionKind(name, number, last.get(name)) for name, number in kept_days.items()]


def _find_deletions(session: Session) -> dict[str, Deletion]:
    deletions: dict[str, Deletion] = {}
    for run in tasks.list_task_runs(session, "retention", MAX_RUNS_READ):
        summary = run.summary or {}
        _add_deletions(deletions, run, {**summary.get("rows", {}), **summary.get("files", {})})
    for run in tasks.list_task_runs(session, "backup", MAX_RUNS_READ):
        _add_deletions(deletions, run, {"backups": (run.summary or {}).get("removed", 0)})
    return deletions


def _add_deletions(deletions: dict[str, Deletion], run: TaskRun, counts: dict[str, int]) -> None:
    """Add what a run has deleted of kinds of which no later run has deleted anything."""
    for kind, count in counts.items():
        if count:
            deletions.setdefault(kind, Deletion(run.ended or run.started, count))
