"""The wake conditions of waiting tickets: clocks, other tickets, idle agents, and probe commands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy.orm import Session

from database import reading, writing
from models import Ticket
from tickets.lifecycle import transitions
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.workflow import wake_conditions
from workers.host import commands

from .job_context import JobContext

PROBE_TIMEOUT_SECONDS = 10.0
MAX_PROBES = 8
ALARM = Actor.system("alarm")


def wake_due(context: JobContext) -> int:
    """Wake every ticket whose condition is met in the store. Check and transition are one transaction, so none wakes twice."""
    with reading(context.engine) as session:
        is_any_due = bool(_list_due(session))
    return _wake_tickets(context) if is_any_due else 0


def _list_due(session: Session) -> list[Ticket]:
    """List the tickets whose condition is met by the store alone."""
    return [
        *wake_conditions.list_due(session),
        *wake_conditions.list_awaiting_idle_agent(session),
        *wake_conditions.list_answered(session),
    ]


def _wake_tickets(context: JobContext) -> int:
    with writing(context.engine) as session:
        ticket_ids = {ticket.id for ticket in _list_due(session)}
        for ticket_id in sorted(ticket_ids):
            transitions.transition(session, ticket_id, "wake", ALARM, note="The wake condition holds.")
    return len(ticket_ids)


def wake_by_probe(context: JobContext) -> int:
    """Wake the tickets whose probe succeeds. Takes as long as the commands, at most `PROBE_TIMEOUT_SECONDS` each."""
    with reading(context.engine) as session:
        waiting = wake_conditions.list_awaiting_probe(session)
    if not waiting:
        return 0
    with ThreadPoolExecutor(MAX_PROBES) as pool:
        answers = list(pool.map(lambda ticket: _is_probe_passing(context, ticket), waiting))
    return sum(_wake_ticket(context, ticket) for ticket, holds in zip(waiting, answers, strict=True) if holds)


def _is_probe_passing(context: JobContext, ticket: Ticket) -> bool:
    argv = (ticket.wake or {}).get("probe") or ["false"]
    try:
        home, environment = context.settings.home, context.settings.agent_environment()
        return commands.run(argv, timeout=PROBE_TIMEOUT_SECONDS, cwd=home, env=environment).code == 0
    except OSError:
        return False


def _wake_ticket(context: JobContext, ticket: Ticket) -> bool:
    """Wake a probed ticket unless it was changed while its command ran."""
    try:
        with writing(context.engine) as session:
            note = "The probe has succeeded."
            transitions.transition(session, ticket.id, "wake", ALARM, version=ticket.version, note=note)
    except DomainError:
        return False
    return True
