"""Takeover of a conversation: a person continues it on the agent's own screen, and hands it back.

Either way the live run is stopped, and the ticket's next run resumes the same conversation in the other mode.
"""

from __future__ import annotations

from sqlalchemy.orm import Session

from models import Profile, Run, RunMode, Ticket
from protocol import AGENT_PROGRAMS
from tickets.lifecycle.transitions import transition
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.lookup import find_live_runs, get_ticket

WITH_SCREEN = frozenset(name for name, program in AGENT_PROGRAMS.items() if program.has_screen)
"""Programs that have a screen of their own."""


class NotTakenOver(ConflictError):
    """There is no conversation to take over or to hand back."""

    code = "not_taken_over"


def take_over(session: Session, ticket_id: int, actor: Actor) -> Ticket:
    """Stop the live run and open its conversation on a screen. Raises `NotTakenOver`, and the errors of `release`."""
    run = find_live_runs(session, [ticket_id]).get(ticket_id)
    if run is None or run.mode is not RunMode.HEADLESS:
        raise NotTakenOver("Only a run that works without a screen can be taken over.")
    if run.program not in WITH_SCREEN:
        raise NotTakenOver(f"{run.program} has no screen of its own.")
    return _restart_in_mode(session, ticket_id, actor, RunMode.TUI, "Taken over.")


def hand_back(session: Session, ticket_id: int, actor: Actor) -> Ticket:
    """Stop a run that was taken over and let the agent continue alone. Raises `NotTakenOver`."""
    run = find_live_runs(session, [ticket_id]).get(ticket_id)
    if run is None or not is_taken_over(session, run):
        raise NotTakenOver("Nobody has taken this conversation over.")
    return _restart_in_mode(session, ticket_id, actor, RunMode.HEADLESS, "Handed back.")


def is_taken_over(session: Session, run: Run) -> bool:
    """Return whether a person works on this run's screen although its profile has none."""
    profile = session.get(Profile, run.profile) if run.profile else None
    return run.mode is RunMode.TUI and (profile is None or profile.mode is not RunMode.TUI)


def _restart_in_mode(session: Session, ticket_id: int, actor: Actor, mode: RunMode, note: str) -> Ticket:
    transition(session, ticket_id, "release", actor, note=note)
    ticket = get_ticket(session, ticket_id)
    ticket.resume, ticket.next_mode = True, mode
    session.flush()
    return ticket
