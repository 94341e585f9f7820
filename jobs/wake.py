"""Firing the wake conditions of parked tickets: clocks, other tickets, idle agents, and commands that succeed."""

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

PROBE_SECONDS = 10.0
PROBES_AT_ONCE = 8
ALARM = Actor.system("alarm")


def wake_due(bench: JobContext) -> int:
    """Wake every ticket whose condition the store can tell; condition and move are one transaction: nothing fires twice."""
    with reading(bench.engine) as session:
        anything = bool(_known(session))
    return _wake_known(bench) if anything else 0


def _known(session: Session) -> list[Ticket]:
    """The tickets whose condition the store alone can tell."""
    return [*wake_conditions.due(session), *wake_conditions.resting(session), *wake_conditions.answered(session)]


def _wake_known(bench: JobContext) -> int:
    with writing(bench.engine) as session:
        due = {ticket.id for ticket in _known(session)}
        for ticket_id in sorted(due):
            transitions.transition(session, ticket_id, "wake", ALARM, note="The wake condition holds.")
    return len(due)


def wake_probed(bench: JobContext) -> int:
    """Wake the tickets whose command succeeds; takes as long as the commands do, within `PROBE_SECONDS` each."""
    with reading(bench.engine) as session:
        waiting = wake_conditions.probing(session)
    if not waiting:
        return 0
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        answers = list(pool.map(lambda ticket: _succeeds(bench, ticket), waiting))
    return sum(_wake_one(bench, ticket) for ticket, holds in zip(waiting, answers, strict=True) if holds)


def _succeeds(bench: JobContext, ticket: Ticket) -> bool:
    argv = (ticket.wake or {}).get("probe") or ["false"]
    try:
        home, environment = bench.settings.home, bench.settings.agent_environment()
        return commands.run(argv, timeout=PROBE_SECONDS, cwd=home, env=environment).code == 0
    except OSError:
        return False


def _wake_one(bench: JobContext, ticket: Ticket) -> bool:
    """Wake a probed ticket unless somebody changed it while its command ran."""
    try:
        with writing(bench.engine) as session:
            note = "The probe has succeeded."
            transitions.transition(session, ticket.id, "wake", ALARM, version=ticket.version, note=note)
    except DomainError:
        return False
    return True
