"""Capacity that is missing, as the task `operator` reports it: nothing can start, a full agent, a log-in that is gone."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy import false, func, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import TERMINAL, Run, RunState, Ticket, TicketStatus, now
from settings import Settings
from tickets.dispatch import dispatch_plan
from tickets.dispatch.policy import DispatchLimits
from tickets.loops.conditions import Condition, Observation, format_title, limit_conditions
from tickets.operations.health_check import format_count
from tickets.operations.incidents import OPERATOR_PREFIX
from tickets.shared import lookup
from tickets.shared.canary import CANARY
from tickets.team import agents, team_status

INTENDED_GATES = frozenset({"maintenance", "time", "quiet_hours", "controller", "dependencies"})
"""Gates that somebody has closed, or that open by themselves."""
IDLE_PREFIX, FULL_PREFIX, FAULT_PREFIX = (f"{OPERATOR_PREFIX}{kind}:" for kind in ("idle", "full", "agent"))


def find_idle(session: Session, settings: Settings) -> Observation:
    """Find out whether tickets wait while none of them can start and nothing runs."""
    plan = dispatch_plan.plan_dispatch(session, DispatchLimits.from_settings(settings))
    cutoff = now() - timedelta(minutes=settings.operator.capacity_minutes)
    held_tickets = [
        (ticket, gate)
        for ticket, gate in plan.kept
        if gate.name not in INTENDED_GATES and ticket.moved < cutoff and ticket.assigned_to != CANARY
    ]
    if plan.claim or not held_tickets or agents.count_live_runs(session):
        return Observation(IDLE_PREFIX, [])
    first, gate = min(held_tickets, key=lambda pair: pair[0].moved)
    tickets = format_count(len(held_tickets), "ticket")
    title = format_title(f"Nothing can start although {tickets} can be worked. {first.identifier}: {gate.detail}")
    counts = Counter(gate.name for _, gate in held_tickets)
    advice = f"Held by {', '.join(f'{name} ({count})' for name, count in counts.most_common())}. Each ticket says why."
    return Observation(IDLE_PREFIX, [Condition(f"{IDLE_PREFIX}queue", title, advice, since=first.moved)])


def find_full_agents(session: Session, settings: Settings) -> Observation:
    """Find the agents at their limit whose runs do not end while tickets wait for them."""
    cutoff = now() - timedelta(minutes=settings.operator.capacity_minutes)
    loads, newest_starts = agents.count_live_runs(session), _find_newest_starts(session)
    capacities = {
        member.name: member.capacity
        for member in agents.list_members(session)
        if loads.get(member.name, 0) >= member.capacity and newest_starts.get(member.name, cutoff) < cutoff
    }
    waiting = _count_tickets(session, sorted(capacities), (TicketStatus.TODO,))
    conditions = [
        Condition(
            f"{FULL_PREFIX}{name}",
            f"{name} is at its limit of {format_count(capacities[name], 'run')}, and {format_count(count, 'ticket')} must wait",
            "See what its runs do, raise its capacity, or give tickets to another agent.",
            since=newest_starts[name],
        )
        for name, count in waiting.items()
    ]
    return limit_conditions(FULL_PREFIX, conditions)


def _find_newest_starts(session: Session) -> dict[str, datetime]:
    """Find when the newest live run of each agent began."""
    query = select(Run.agent, func.max(Run.started)).where(Run.state != RunState.ENDED, lookup.IS_DISPATCHED)
    return {str(agent): start for agent, start in fetch_rows(session, query.group_by(Run.agent))}


def find_unavailable_agents(session: Session, _: Settings) -> Observation:
    """Find the agents that cannot start though tickets of theirs are open.

    With tickets in To do they are the subject of the health check `agents`.
    """
    faults = {member.name: member.fault for member in team_status.list_team(session) if member.fault is not None}
    states = [state for state in TicketStatus if state not in TERMINAL]
    open_counts = _count_tickets(session, sorted(faults), tuple(states))
    todo_counts = _count_tickets(session, sorted(faults), (TicketStatus.TODO,))
    conditions = [
        Condition(
            f"{FAULT_PREFIX}{name}",
            f"{name} cannot continue {format_count(count, 'open ticket')}: {faults[name]}",
            "See the Team page.",
        )
        for name, count in open_counts.items()
        if name not in todo_counts
    ]
    return limit_conditions(FAULT_PREFIX, conditions)


def _count_tickets(session: Session, names: list[str], states: tuple[TicketStatus, ...]) -> dict[str, int]:
    """Count the tickets of these agents in these states. Agents without one are absent."""
    query = (
        select(Ticket.assigned_to, func.count())
        .where(Ticket.assigned_to.in_(names), Ticket.status.in_(states), Ticket.archived == false())
        .group_by(Ticket.assigned_to)
    )
    return {str(name): count for name, count in fetch_rows(session, query)} if names else {}
