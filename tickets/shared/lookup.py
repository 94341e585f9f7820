"""Look-up of tickets by reference and of the runs that claim them."""

from __future__ import annotations

import re

from sqlalchemy import and_, bindparam, select
from sqlalchemy.orm import Session

from database import in_ids
from models import Run, RunMode, RunState, Ticket

from .actors import Actor
from .canary import SERIES
from .errors import Forbidden, NoSuchRun, NoSuchTicket

IS_DISPATCHED = Run.mode != RunMode.EXTERNAL
"""The one rule for external runs: they use no capacity of an agent or a project and do not keep an agent from idling."""
BY_ID = select(Ticket).where(Ticket.id == bindparam("key")).execution_options(populate_existing=True)
BY_IDENTIFIER = select(Ticket).where(Ticket.identifier == bindparam("key")).execution_options(populate_existing=True)
LIVE_RUNS = (
    select(Run)
    .where(in_ids(Run.ticket_id, "tickets"), Run.state != RunState.ENDED)
    .execution_options(populate_existing=True)
)
WITH_LIVE_RUN = (
    select(Ticket, Run)
    .outerjoin(Run, and_(Run.ticket_id == Ticket.id, Run.state != RunState.ENDED))
    .where(Ticket.id == bindparam("key"))
    .execution_options(populate_existing=True)
)


def get_ticket(session: Session, reference: str | int) -> Ticket:
    """Return the ticket with this id (int) or reference (`MC-12` or `12`). Raises `NoSuchTicket`."""
    if isinstance(reference, int):
        ticket = session.scalar(BY_ID, {"key": reference})
    else:
        match = re.fullmatch(rf"(?:(MC|{SERIES})-)?([1-9][0-9]{{0,17}})", reference)
        ticket = session.scalar(BY_IDENTIFIER, {"key": f"{match[1] or 'MC'}-{match[2]}"}) if match else None
    if ticket is None:
        raise NoSuchTicket(ticket=str(reference)[:40])
    return ticket


def get_for(session: Session, reference: str, actor: Actor) -> Ticket:
    """Return the ticket that a caller names. A run may name its own by number too, and no other."""
    if actor.ticket_id is None:
        return get_ticket(session, reference)
    ticket = get_ticket(session, actor.ticket_id)
    if reference not in (ticket.identifier, ticket.identifier.removeprefix("MC-"), str(actor.ticket_id)):
        raise Forbidden("A run may access only its own ticket.", ticket=ticket.identifier)
    return ticket


def get_with_live_run(session: Session, ticket_id: int) -> tuple[Ticket, Run | None]:
    """Return a ticket and its live run, if any, with one statement."""
    row = session.execute(WITH_LIVE_RUN, {"key": ticket_id}).first()
    if row is None:
        raise NoSuchTicket(ticket=str(ticket_id))
    return row[0], row[1]


def get_run(session: Session, run_id: int) -> Run:
    run = session.scalar(select(Run).where(Run.id == run_id).execution_options(populate_existing=True))
    if run is None:
        raise NoSuchRun(run=run_id)
    return run


def find_live_run(session: Session, ticket_id: int) -> Run | None:
    """Find the live run of a ticket (at most one, enforced by a unique index)."""
    return find_live_runs(session, [ticket_id]).get(ticket_id)


def find_live_runs(session: Session, ticket_ids: list[int]) -> dict[int, Run]:
    return {run.ticket_id: run for run in session.scalars(LIVE_RUNS, {"tickets": ticket_ids})}
