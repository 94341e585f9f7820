"""Phases of a ticket (Dev, Review, QA): who works in each, what stands at its end, and which comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select, update
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import Outcome, PhaseState, Run, Ticket, TicketPhase, TicketStatus
from tickets.shared.errors import Invalid
from tickets.shared.inputs import Phase
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents

STANDARD = ("Dev", "Review", "QA")
JUDGING = frozenset({"Review", "QA"})
SUBMITTED = (Outcome.DONE, Outcome.REVIEW)
RULES = """\
A ticket may carry phases, each with an agent or a person, and a gate or a decision at its end. They are worked one after
the other, on one branch.

- DONE passes a phase whose gate is `none`, or `checks` where Mission Control has seen them pass. A gate of `person` or
  `reviewer`, a decision that is not made, and evidence that is missing or failed bring the ticket to in_review.
- A gate of `reviewer` is answered by whoever works the next phase, unless they did any of this one's work: DONE then hands
  the ticket on without a person. Where there is no such reviewer, a person or an orchestrator approves.
- REVIEW always leaves a phase to a person.
- A run that reports CHANGES sends the ticket back to an earlier phase, with its words as feedback; so may the person who
  works a phase (`send_back`). After three such reports without a word of a person in between, or where there is no earlier
  phase, it is left to a person.
- Changes that are asked for in a phase called Review or QA go back to the last phase before it that is neither. In any
  other phase, those that its own agent or owner asks for go to the phase before, and those asked for in its review stay
  in it. A person may name another phase that was worked.
- Only people plan phases. What has not started may be changed, put in another order, left out or waived with a reason; of
  the current phase, while nobody works on it, the gate may be waived. A ticket that is worked on may be given phases: what
  is being done is then the first of them.
- A decision may be made at any time: the live run is told at once, else the next one begins with it.
"""


def install(session: Session, ticket: Ticket, phases: Sequence[Phase]) -> dict[str, Any]:
    """Give a ticket its phases; the values with which the first, which becomes current, lends it its gate and its agent."""
    lay(session, ticket.id, phases)
    return _enter(session, ticket, of(session, ticket.id)[0]) if phases else {}


def lay(session: Session, ticket_id: int, phases: Sequence[Phase], start: int = 0) -> None:
    """Add phases that have not started, from position `start` on."""
    for position, phase in enumerate(phases, start):
        agent = agents.resolve(session, phase.agent) if phase.agent else None
        facts = {"name": phase.name, "gate": phase.gate, "choices": phase.choices, "runbook": phase.runbook}
        session.add(TicketPhase(ticket_id=ticket_id, position=position, agent=agent, **facts))
    session.flush()


OF_TICKET = (
    select(TicketPhase)
    .where(TicketPhase.ticket_id == bindparam("ticket"))
    .order_by(TicketPhase.position)
    .execution_options(populate_existing=True)
)


def of(session: Session, ticket_id: int) -> list[TicketPhase]:
    return list(session.scalars(OF_TICKET, {"ticket": ticket_id}))


def current(phases: Sequence[TicketPhase]) -> TicketPhase | None:
    return next((phase for phase in phases if phase.state is PhaseState.CURRENT), None)


def following(phases: Sequence[TicketPhase]) -> TicketPhase | None:
    return next((phase for phase in phases if phase.state is PhaseState.PENDING), None)


HOLDING = ("ticket_created", "ticket_moved", "ticket_phases_begun", "ticket_phases_arranged", "ticket_phase_waived")
"""The events that carry what `held` says; created and moved say the ticket's state too."""


def held(ticket: Ticket) -> dict[str, Any]:
    """Who has the ticket, and in which phase: with its state, where it stands after an event."""
    return {"owner": ticket.assigned_to, "phase": ticket.phase}


def is_last(session: Session, ticket: Ticket) -> bool:
    """Whether no phase follows the one that the ticket is in."""
    return ticket.phase is None or following(of(session, ticket.id)) is None


WITH_PHASE = select(TicketPhase.ticket_id).where(
    in_ids(TicketPhase.ticket_id, "tickets"), TicketPhase.state == bindparam("state")
)


def with_earlier(session: Session, tickets: Sequence[AnyTicket]) -> set[int]:
    """Which of these tickets have a phase that was worked, to which they can be sent back."""
    ids = [ticket.id for ticket in tickets if ticket.phase is not None]
    return set(fetch_rows(session, WITH_PHASE, tickets=ids, state=PhaseState.PASSED).scalars()) if ids else set()


def with_later(session: Session, ticket_ids: Sequence[int]) -> set[int]:
    """Which of these tickets have a phase to come."""
    return set(fetch_rows(session, WITH_PHASE, tickets=ticket_ids, state=PhaseState.PENDING).scalars())


def undecided(phase: TicketPhase) -> bool:
    """Whether the phase ends with a choice that nobody has made."""
    return bool(phase.choices) and phase.note not in phase.choices


def awaits_decision(session: Session, ticket_id: int) -> bool:
    here = current(of(session, ticket_id))
    return here is not None and undecided(here)


def reviewer(session: Session, ticket: Ticket, worker: str) -> str | None:
    """Who answers the gate of the phase that `worker` hands over: whoever works the next, having done none of this one."""
    phases = of(session, ticket.id)
    here, after = current(phases), following(phases)
    if here is None or after is None or after.agent is None:
        return None
    worked = select(Run.agent).where(
        Run.ticket_id == ticket.id, Run.phase == here.name, Run.agent == after.agent, Run.outcome.in_(SUBMITTED)
    )
    own = after.agent == worker or session.scalar(worked.limit(1)) is not None
    return None if own else after.agent


# ------------------------------------------------------------------------------------------------------ from one to one


def advance(session: Session, ticket: Ticket, choice: str | None = None, waived: str | None = None) -> dict[str, Any]:
    """Pass the current phase; the values that bring the ticket to its next phase, or to done after the last.

    Raises `Invalid` where the phase ends with a decision and none was made. `waived` is why its gate was not applied.
    """
    here = current(of(session, ticket.id))
    if here is not None:
        _pass(session, ticket, here, choice, waived)
    values = enter_next(session, ticket)
    return {"status": TicketStatus.TODO if values else TicketStatus.DONE, **values}


def require_decision(session: Session, ticket: Ticket, choice: str | None) -> None:
    """Make the decision with which the current phase ends, if it ends with one. Raises `Invalid` where none is made."""
    here = current(of(session, ticket.id))
    if here is not None:
        _decide(session, here, choice)


def _decide(session: Session, phase: TicketPhase, choice: str | None) -> None:
    if choice is not None:
        decide(session, phase, choice)
    elif undecided(phase):
        raise _no_choice(phase)


def _pass(session: Session, ticket: Ticket, phase: TicketPhase, choice: str | None, waived: str | None) -> None:
    _decide(session, phase, choice)
    if waived and not phase.choices:
        leave(session, ticket, phase, PhaseState.WAIVED, waived)
    else:
        leave(session, ticket, phase, PhaseState.PASSED, choice or phase.note)


def leave(session: Session, ticket: Ticket, phase: TicketPhase, state: PhaseState, note: str | None) -> None:
    """Close a phase; it remembers who held it, since that is who takes it up again if it is sent back."""
    _write(session, phase, state=state, note=note, agent=ticket.assigned_to)


def enter_next(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The values of the phase that follows, which becomes current; none where none does."""
    after = following(of(session, ticket.id))
    return _enter(session, ticket, after) if after else {}


def _enter(session: Session, ticket: Ticket, phase: TicketPhase) -> dict[str, Any]:
    _write(session, phase, state=PhaseState.CURRENT, note=None)
    return {"phase": phase.name, "gate": phase.gate, "assigned_to": phase.agent or ticket.assigned_to}


def decide(session: Session, phase: TicketPhase, choice: str) -> None:
    """Make the decision with which a phase ends. Raises `Invalid` for what is not one of its choices."""
    if choice not in phase.choices:
        raise _no_choice(phase)
    _write(session, phase, note=choice)


def _no_choice(phase: TicketPhase) -> Invalid:
    if not phase.choices:
        return Invalid(f"phase {phase.name} ends without a decision", field="choice")
    return Invalid(f"phase {phase.name} ends with a decision", field="choice", choices=phase.choices)


def back(session: Session, ticket: Ticket, name: str | None, *, stays: bool) -> dict[str, Any]:
    """Return to the phase that is to take up what must change; the values for that, none where the ticket stays.

    `stays`: without a name, only what was found in a judging phase leads back. Raises `Invalid` for an unknown name.
    """
    phases = of(session, ticket.id)
    here = current(phases)
    if here is None:
        return {}
    target = _named(phases, here, name) if name else takes_up(phases, here, stays=stays)
    if target is here:
        return {}
    for phase in phases:
        if target.position < phase.position <= here.position and phase.state is not PhaseState.WAIVED:
            _write(session, phase, state=PhaseState.PENDING, note=None)
    return _enter(session, ticket, target)


def takes_up(phases: Sequence[TicketPhase], here: TicketPhase, *, stays: bool) -> TicketPhase:
    """Which phase takes up what must change, where nobody names one."""
    return here if stays and here.name not in JUDGING else maker(phases, here) or here


def earlier(phases: Sequence[TicketPhase], here: TicketPhase) -> list[TicketPhase]:
    """The phases before this one that were worked."""
    return [phase for phase in phases if phase.position < here.position and phase.state is PhaseState.PASSED]


def _named(phases: Sequence[TicketPhase], here: TicketPhase, name: str) -> TicketPhase:
    worked = [*earlier(phases, here), here]
    found = next((phase for phase in worked if phase.name == name), None)
    if found is None:
        raise Invalid(
            f"no phase called {name[:40]!r} has been worked", field="phase", phases=[phase.name for phase in worked]
        )
    return found


def maker(phases: Sequence[TicketPhase], here: TicketPhase) -> TicketPhase | None:
    """The phase whose work this one goes by: before a judging phase the last one that makes, else the one before."""
    worked = earlier(phases, here)
    if here.name in JUDGING:
        worked = [phase for phase in worked if phase.name not in JUDGING] or worked
    return worked[-1] if worked else None


def reopen(session: Session, ticket: Ticket) -> dict[str, Any]:
    """A ticket whose phases are all over goes on in the last that was worked."""
    phases = of(session, ticket.id)
    if not phases or current(phases) or following(phases):
        return {}
    worked = [phase for phase in phases if phase.state is PhaseState.PASSED] or phases
    return _enter(session, ticket, worked[-1])


# ------------------------------------------------------------------------------------------------------- taking it back

Marks = dict[str, list[Any]]


def marks(session: Session, ticket: Ticket) -> Marks:
    """How far each phase is, as JSON: what `put_back` needs."""
    return {str(phase.id): [phase.state.value, phase.note, phase.agent] for phase in of(session, ticket.id)}


def put_back(session: Session, ticket: Ticket, was: Marks) -> None:
    """Let the phases stand where these marks say."""
    for phase in of(session, ticket.id):
        if str(phase.id) in was:
            state, note, agent = was[str(phase.id)]
            _write(session, phase, state=PhaseState(state), note=note, agent=agent)


def _write(session: Session, phase: TicketPhase, **values: Any) -> None:
    session.execute(update(TicketPhase).where(TicketPhase.id == phase.id).values(**values))
