"""Tickets that need attention, as the task `operator` reports them: stuck, ageing, unanswered, blocked by nobody, failing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, false, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import TERMINAL, Run, RunState, Ticket, TicketStatus, ago, format_clock
from protocol import Outcome
from settings import Settings
from tickets.dispatch.policy import DispatchLimits
from tickets.loops.conditions import MAX_CONDITIONS, Condition, Observation, format_title, limit_conditions
from tickets.operations.incidents import OPERATOR_PREFIX
from tickets.operations.store_checks import BAD_OUTCOMES, OUTCOME_WINDOW
from tickets.shared import display_names, lookup
from tickets.shared.canary import IS_ORDINARY_RUN, IS_ORDINARY_TICKET
from tickets.team import agents

from . import status_reason
from .status_reason import StatusReason

STUCK_CAUSES = ("adrift", "exhausted", "overslept", "forgotten")
"""Causes of `status_reason` of which neither a health check nor another condition tells."""
AGEING_STATES = (TicketStatus.INBOX, TicketStatus.TODO, TicketStatus.IN_PROGRESS, TicketStatus.IN_REVIEW)
MAX_BLOCKED = 500
MAX_RUNS = 200
"""Runs of a day in which failures in a row are looked for, the newest first."""
MIN_FAILING_TICKETS = 2
"""Tickets that fail in a row before their agent is the common cause."""
EndedRun = Row[int, str, Outcome | None, datetime | None, str, TicketStatus]
BOARD_USER = "operator"
"""The name of the person at the board, who is no member of the team."""


def find_stuck(session: Session, settings: Settings) -> Observation:
    """Find the tickets that are stuck by the rules of the board."""
    limits = DispatchLimits.from_settings(settings)
    tickets = list_stuck(session, settings, STUCK_CAUSES)
    live = lookup.find_live_runs(session, [ticket.id for ticket in tickets])
    reasons = status_reason.load_reasons(session, tickets, live, limits)
    conditions = [
        _build_condition("stuck", ticket, f"is stuck: {_format_reason(reasons[ticket.id])}", "Open it and move it on.")
        for ticket in tickets
        if ticket.id in reasons
    ]
    return limit_conditions(_name_prefix("stuck"), conditions)


def list_stuck(session: Session, settings: Settings, causes: Sequence[str]) -> list[Ticket]:
    """List the tickets that have been stuck for one of these causes, the longest in their state first."""
    conditions = status_reason.build_causes(settings.retry_limit)
    is_old = Ticket.moved < ago(timedelta(minutes=settings.operator.stuck_minutes))
    tickets = {ticket.id: ticket for cause in causes for ticket in _list_oldest(session, is_old, *conditions[cause])}
    return sorted(tickets.values(), key=lambda ticket: (ticket.moved, ticket.id))


def _format_reason(reason: StatusReason) -> str:
    return f"{reason.text} ({format_clock(reason.at)})" if reason.at else reason.text


def find_unanswered(session: Session, settings: Settings) -> Observation:
    """Find the tickets whose question waits for too long."""
    is_old = Ticket.moved < ago(timedelta(hours=settings.operator.needs_input_hours))
    tickets = _list_oldest(session, Ticket.status == TicketStatus.NEEDS_INPUT, is_old)
    return _observe(
        "unanswered",
        tickets,
        lambda ticket: f"has waited for an answer since {format_clock(ticket.moved)}",
        "Answer it.",
    )


def find_ageing(session: Session, settings: Settings) -> Observation:
    """Find the open tickets that nobody has moved for long, without those that are parked, stuck or wait for a person."""
    is_old = Ticket.moved < ago(timedelta(days=settings.operator.ageing_days))
    stuck_ids = {ticket.id for ticket in list_stuck(session, settings, STUCK_CAUSES)}
    tickets = [ticket for state in AGEING_STATES for ticket in _list_oldest(session, Ticket.status == state, is_old)]

    def describe(ticket: Ticket) -> str:
        return f"has been in {display_names.format_status_label(ticket.status)} since {format_clock(ticket.moved)}"

    return _observe(
        "ageing",
        [ticket for ticket in tickets if ticket.id not in stuck_ids],
        describe,
        "Continue it, park it, or cancel it.",
    )


def find_unowned(session: Session, settings: Settings) -> Observation:
    """Find the blocked tickets whose block names nobody on the team."""
    names = {name for member in agents.list_members(session) for name in (member.name, *member.aliases)}
    names |= {BOARD_USER, settings.coordinator}
    tickets = _list_oldest(session, Ticket.status == TicketStatus.BLOCKED, limit=MAX_BLOCKED)
    tickets_without_owner = [ticket for ticket in tickets if (ticket.block or {}).get("owner") not in names]
    return _observe(
        "unowned",
        tickets_without_owner,
        lambda _: "is blocked, and nobody on the team is named to resolve it",
        "Unblock it, or block it again with an owner from the team.",
    )


def find_failing(session: Session, settings: Settings) -> Observation:
    """Find the open tickets and the agents whose last runs all failed."""
    rows = _list_ended_runs(session)
    min_failures = settings.operator.failed_runs
    of_tickets = find_streaks(
        (row for row in rows if row.status not in TERMINAL), lambda row: row.ticket_id, min_failures
    )
    of_agents = {
        agent: streak
        for agent, streak in find_streaks(rows, lambda row: row.agent, min_failures).items()
        if len({row.ticket_id for row in streak}) >= MIN_FAILING_TICKETS
    }
    conditions = [_describe_ticket_streak(streak) for streak in of_tickets.values()]
    return limit_conditions(
        _name_prefix("failing"), [*conditions, *(_describe_agent_streak(streak) for streak in of_agents.values())]
    )


def _list_ended_runs(session: Session) -> list[EndedRun]:
    """List the last runs of a day that show whether work succeeds, newest first."""
    query = (
        select(Run.ticket_id, Run.agent, Run.outcome, Run.ended, Ticket.identifier, Ticket.status)
        .join(Ticket, Ticket.id == Run.ticket_id)
        .where(Run.state == RunState.ENDED, Run.ended > ago(OUTCOME_WINDOW), IS_ORDINARY_RUN)
        .where(Run.outcome.not_in((Outcome.STOPPED, Outcome.USAGE_LIMITED)))
        .order_by(Run.ended.desc(), Run.id.desc())
        .limit(MAX_RUNS)
    )
    return list(fetch_rows(session, query))


def find_streaks(
    rows: Iterable[EndedRun], key: Callable[[EndedRun], Any], min_failures: int
) -> dict[Any, list[EndedRun]]:
    """Find the failures in a row that go on until now, by key, of at least so many. The rows come newest first."""
    streaks: dict[Any, list[EndedRun]] = defaultdict(list)
    finished_keys = set()
    for row in rows:
        if row.outcome in BAD_OUTCOMES and key(row) not in finished_keys:
            streaks[key(row)].append(row)
        else:
            finished_keys.add(key(row))
    return {name: streak for name, streak in streaks.items() if len(streak) >= min_failures}


def _describe_ticket_streak(streak: list[EndedRun]) -> Condition:
    newest = streak[0]
    title = f"{newest.identifier} has failed {len(streak)} times in a row"
    advice = "See the runs of the ticket: change what it asks for, or give it to another agent."
    fingerprint = f"{_name_prefix('failing')}ticket:{newest.ticket_id}"
    return Condition(fingerprint, title, advice, ticket_id=newest.ticket_id, since=streak[-1].ended)


def _describe_agent_streak(streak: list[EndedRun]) -> Condition:
    names = sorted({row.identifier for row in streak})
    title = f"The last {len(streak)} runs of {streak[0].agent} have failed"
    advice = f"They were of {', '.join(names[:10])}. See the agent's program and its log-in on the Team page."
    return Condition(f"{_name_prefix('failing')}agent:{streak[0].agent}", title, advice, since=streak[-1].ended)


def _list_oldest(session: Session, *conditions: ColumnElement[bool], limit: int = MAX_CONDITIONS + 1) -> list[Ticket]:
    """List the ordinary tickets on these conditions, the longest in their state first."""
    query = select(Ticket).where(Ticket.archived == false(), IS_ORDINARY_TICKET, *conditions)
    return list(session.scalars(query.order_by(Ticket.moved, Ticket.id).limit(limit)))


def _observe(kind: str, tickets: list[Ticket], describe: Callable[[Ticket], str], advice: str) -> Observation:
    return limit_conditions(
        _name_prefix(kind), [_build_condition(kind, ticket, describe(ticket), advice) for ticket in tickets]
    )


def _build_condition(kind: str, ticket: Ticket, text: str, advice: str) -> Condition:
    title = format_title(f"{ticket.identifier} {text}")
    return Condition(f"{_name_prefix(kind)}{ticket.id}", title, advice, ticket_id=ticket.id, since=ticket.moved)


def _name_prefix(kind: str) -> str:
    return f"{OPERATOR_PREFIX}{kind}:"
