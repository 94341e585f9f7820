"""Health checks that the store alone can answer: its size and clock, and the work that does not go on as it should."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import exists, false, func, select
from sqlalchemy.orm import Session, load_only

from database import fetch_rows
from models import (
    AlertDelivery,
    AlertKind,
    AlertState,
    DeliveryState,
    HealthStatus,
    Heartbeat,
    Incident,
    IncidentState,
    LandingState,
    QueuedMessage,
    Run,
    RunState,
    Ticket,
    TicketEvent,
    TicketStatus,
    ago,
    now,
)
from protocol import Outcome
from store_files import database_sizes
from tickets.runs import runtime
from tickets.shared import events, runtime_flags
from tickets.shared.canary import IS_ORDINARY_RUN
from tickets.team import team_status
from tickets.workflow import landing

from . import incidents
from .health_check import HealthCheck, format_count, format_span

MAX_NAMED = 20
OFFER_LIMIT = timedelta(seconds=100)
EXPIRY_WINDOW = timedelta(hours=1)
"""How long an expired message counts that nobody has sent again."""
ALERT_WINDOW = timedelta(hours=2)
LANDING_LIMIT = timedelta(minutes=30)
CHECK_IN_LIMIT = timedelta(seconds=60)
OUTCOME_WINDOW = timedelta(days=1)
MAX_OUTCOMES, MIN_OUTCOMES = 20, 10
BAD_OUTCOMES = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.LOST, Outcome.PROTOCOL_VIOLATION})
UNSEEN_LIMIT = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(seconds=60)
WAL_WARNING_BYTES = 256 << 20
VISIT = "visit"
"""Heartbeat of the last page that a person opened."""
OTHER_INCIDENTS = (
    incidents.PICKUP_PREFIX,
    incidents.CHECK_PREFIX,
    incidents.OPERATOR_PREFIX,
    incidents.FOLLOW_UP_PREFIX,
)
"""Beginnings of the fingerprints of incidents that another check tells of, or that are about work and not about the board."""
CLOSED_STATES = (TicketStatus.DONE, TicketStatus.CANCELLED)
ATTENTION_STATES = (TicketStatus.NEEDS_INPUT, TicketStatus.IN_REVIEW, TicketStatus.BLOCKED)


def check_store(session: Session, *, just_started: bool = False) -> list[HealthCheck]:
    """Run every check of this module. Each reads through an index, and no further than it names.

    `just_started`: the store could not be written until moments ago, so that live runs are about to be heard again.
    """
    return [
        _check_pause(session),
        _pass("runs", "heartbeats are about to arrive") if just_started else _check_silent_runs(session),
        _check_messages(session),
        _check_check_ins(session),
        _check_landings(session),
        _check_outcomes(session),
        _check_agents(session),
        _check_unseen(session),
        _check_incidents(session),
        _check_alerts(session),
        _check_clock(session),
        _check_wal(session),
    ]


def _warn(name: str, detail: str, remedy: str) -> HealthCheck:
    return HealthCheck(name, HealthStatus.WARNING, detail, remedy)


def _pass(name: str, detail: str) -> HealthCheck:
    return HealthCheck(name, HealthStatus.OK, detail)


def _format_names(names: list[str]) -> str:
    """Format identifiers, of which one more than `MAX_NAMED` was read at most."""
    return ", ".join(names[:MAX_NAMED]) + (" and more" if len(names) > MAX_NAMED else "")


def _check_pause(session: Session) -> HealthCheck:
    reason = runtime_flags.get_pause_reason(session)
    if reason is None:
        return _pass("dispatch", "not paused")
    return _warn("dispatch", f"Dispatch is paused: {reason.removesuffix('.')}.", "Resume it on the Settings page.")


def _check_silent_runs(session: Session) -> HealthCheck:
    """Check for live runs that should have given a sign of life and did not, external ones included."""
    rows = fetch_rows(
        session,
        select(Ticket.identifier).join(Run, Run.ticket_id == Ticket.id).where(runtime.IS_SILENT).limit(MAX_NAMED + 1),
    )
    names = sorted(identifier for (identifier,) in rows)
    if not names:
        return _pass("runs", "all live runs are responding")
    detail = f"{format_count(len(names), 'live run')} stopped responding: {_format_names(names)}."
    return _warn("runs", detail, "Open the ticket. A run is ended automatically once its process is gone.")


def _check_messages(session: Session) -> HealthCheck:
    """Check for messages that a live run was offered and has not taken, or that expired and were not sent again."""
    late = select(QueuedMessage.ticket_id).where(
        QueuedMessage.state == DeliveryState.QUEUED, QueuedMessage.offered < ago(OFFER_LIMIT)
    )
    later = QueuedMessage.__table__.alias()
    sent_again = exists().where(later.c.ticket_id == QueuedMessage.ticket_id, later.c.id > QueuedMessage.id)
    expired = select(QueuedMessage.ticket_id).where(
        QueuedMessage.state == DeliveryState.EXPIRED,
        QueuedMessage.offered > ago(EXPIRY_WINDOW),
        QueuedMessage.dismissed.is_(None),
        ~sent_again,
    )
    open_tickets = select(Ticket.identifier).where(Ticket.status.not_in(CLOSED_STATES)).limit(MAX_NAMED + 1)
    late_names = sorted(name for (name,) in fetch_rows(session, open_tickets.where(Ticket.id.in_(late))))
    expired_names = sorted(name for (name,) in fetch_rows(session, open_tickets.where(Ticket.id.in_(expired))))
    if expired_names:
        detail = f"Messages expired before the agent received them: {_format_names(expired_names)}."
        return _warn("messages", detail, "Send them again from the ticket.")
    if late_names:
        detail = f"Messages have been waiting for their agent for more than {format_span(OFFER_LIMIT)}: {_format_names(late_names)}."
        return _warn("messages", detail, "Check whether the agent still responds, and stop the run if it does not.")
    return _pass("messages", "none delayed")


def _check_alerts(session: Session) -> HealthCheck:
    """Check for alerts that could not be sent, so that another channel tells of it."""
    failed = (AlertDelivery.state == AlertState.FAILED, AlertDelivery.created > ago(ALERT_WINDOW))
    query = select(AlertDelivery.channel).where(*failed, AlertDelivery.kind != AlertKind.TEST).distinct()
    names = sorted(name for (name,) in fetch_rows(session, query))
    if not names:
        return _pass("alerts", "none could not be sent")
    return _warn("alerts", f"Alerts could not be sent: {', '.join(names)}.", "Open Alerts to see why, and send a test.")


def _check_check_ins(session: Session) -> HealthCheck:
    overdue = (Ticket.expected_check_in < ago(CHECK_IN_LIMIT), Ticket.closed.is_(None), Ticket.archived == false())
    query = select(Ticket.identifier).where(Ticket.expected_check_in.is_not(None), *overdue).limit(MAX_NAMED + 1)
    names = [name for (name,) in fetch_rows(session, query)]
    if not names:
        return _pass("check-ins", "none overdue")
    return _warn(
        "check-ins",
        f"{format_count(len(names), 'ticket')} missed the expected check-in: {_format_names(names)}.",
        "Review the work, then set a new check-in or remove it.",
    )


def _check_landings(session: Session) -> HealthCheck:
    """Check for approved work that waits too long to be landed, as its host or the landing job may be gone."""
    pending = (
        select(Ticket)
        .where(Ticket.landing == LandingState.PENDING)
        .order_by(Ticket.id)
        .options(load_only(Ticket.identifier, Ticket.landing_plan))
    )
    late = [
        ticket.identifier
        for ticket in session.scalars(pending)
        if (plan := landing.get_plan(ticket)) and plan.since < now() - LANDING_LIMIT
    ]
    if not late:
        return _pass("landings", "none delayed")
    detail = (
        f"Approved work has been waiting to land for more than {format_span(LANDING_LIMIT)}: {_format_names(late)}."
    )
    return _warn("landings", detail, "Start Mission Control on the host that has its branch.")


def _check_outcomes(session: Session) -> HealthCheck:
    """Check how the last runs of a day ended. A run counts as bad when it failed or its ticket is blocked."""
    query = (
        select(Run.outcome, Ticket.status, Run.ended)
        .join(Ticket, Ticket.id == Run.ticket_id)
        .where(
            Run.state == RunState.ENDED, IS_ORDINARY_RUN, Run.outcome.not_in((Outcome.STOPPED, Outcome.USAGE_LIMITED))
        )
        .order_by(Run.id.desc())
        .limit(MAX_OUTCOMES)
    )
    recent = [row for row in fetch_rows(session, query) if row.ended > now() - OUTCOME_WINDOW]
    bad = sum(row.outcome in BAD_OUTCOMES or row.status is TicketStatus.BLOCKED for row in recent)
    if len(recent) < MIN_OUTCOMES or 2 * bad <= len(recent):
        return _pass(
            "outcomes", f"{len(recent) - bad} of the last {len(recent)} runs succeeded" if recent else "no runs today"
        )
    return _warn(
        "outcomes",
        f"{bad} of the last {len(recent)} runs failed or left their ticket blocked.",
        "See the latest ones under Activity. They usually share one cause.",
    )


def _check_agents(session: Session) -> HealthCheck:
    """Check that the program of every agent with tickets to do is installed and logged in."""
    faults = {member.name: member.fault for member in team_status.list_team(session) if member.fault is not None}
    query = select(Ticket.assigned_to, func.count()).where(
        Ticket.assigned_to.in_(sorted(faults)), Ticket.status == TicketStatus.TODO, Ticket.archived == false()
    )
    rows = fetch_rows(session, query.group_by(Ticket.assigned_to)).all() if faults else []
    waiting = {str(name): count for name, count in rows}
    if not waiting:
        return _pass("agents", "all agents with work are logged in")
    parts = [f"{name} ({faults[name]}, {format_count(count, 'ticket')})" for name, count in sorted(waiting.items())]
    return _warn("agents", f"Agents with tickets in To do cannot start: {', '.join(parts)}.", "See the Team page.")


def _check_unseen(session: Session) -> HealthCheck:
    """Check that somebody has opened the board since a ticket began to wait for a person an hour ago."""
    visit = session.scalar(select(Heartbeat.ts).where(Heartbeat.check == VISIT))
    since = [Ticket.moved > visit] if visit else []
    query = select(Ticket.identifier).where(
        Ticket.status.in_(ATTENTION_STATES), Ticket.archived == false(), Ticket.moved < ago(UNSEEN_LIMIT), *since
    )
    names = [name for (name,) in fetch_rows(session, query.limit(MAX_NAMED + 1))]
    if not names:
        return _pass("needs-you", "up to date")
    count = format_count(len(names), "ticket")
    detail = f"Nobody has opened the board since {count} began to wait for a person: {_format_names(names)}."
    return _warn("needs-you", detail, "Open the overview to see what needs you.")


def _check_incidents(session: Session) -> HealthCheck:
    """Check for open incidents of which no other check tells, and which say that Mission Control does not work."""
    conditions = [~Incident.fingerprint.startswith(prefix, autoescape=True) for prefix in OTHER_INCIDENTS]
    query = select(Incident.title).where(Incident.state != IncidentState.CLOSED, *conditions)
    titles = [title for (title,) in fetch_rows(session, query.limit(MAX_NAMED + 1))]
    if not titles:
        return _pass("incidents", "none open")
    return _warn("incidents", f"{'; '.join(titles[:3])}.", "See the Incidents page.")


def _check_clock(session: Session) -> HealthCheck:
    """Check that no event is of the future. A clock that was set back would delay retries, wakes and leases."""
    newest = session.get(TicketEvent, events.get_last_id(session))
    if newest is None or newest.ts <= now() + CLOCK_TOLERANCE:
        return _pass("clock", "no event is in the future")
    text = f"The clock was set back: the newest event is {format_span(newest.ts - now())} in the future."
    remedy = "Correct the clock of this machine. Retries and wake-ups wait until then."
    return HealthCheck("clock", HealthStatus.FAILED, text, remedy)


def _check_wal(session: Session) -> HealthCheck:
    sizes = database_sizes(session)
    megabytes = {name: f"{size / (1 << 20):.1f} MB" for name, size in sizes.items()}
    if sizes["wal"] <= WAL_WARNING_BYTES:
        return _pass("wal", f"database {megabytes['database']}, write-ahead log {megabytes['wal']}")
    text = f"The write-ahead log of the database has grown to {megabytes['wal']} because something keeps it from being truncated."
    return _warn("wal", text, "Stop programs that have been reading mc.db for minutes, or restart Mission Control.")
