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

STANDARD_PHASES = ("Dev", "Review", "QA")
REVIEW_PHASES = frozenset({"Review", "QA"})
SUBMITTED_OUTCOMES = (Outcome.DONE, Outcome.REVIEW)
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


def install_phases(session: Session, ticket: Ticket, phases: Sequence[Phase]) -> dict[str, Any]:
    """Give a ticket its phases; the values with which the first, which becomes current, lends it its gate and its agent."""
    add_phases(session, ticket.id, phases)
    return _enter_phase(session, ticket, list_phases(session, ticket.id)[0]) if phases else {}


def add_phases(session: Session, ticket_id: int, phases: Sequence[Phase], start: int = 0) -> None:
    """Add phases that have not started, from position `start` on."""
    for position, phase in enumerate(phases, start):
        agent = agents.resolve_name(session, phase.agent) if phase.agent else None
        facts = {"name": phase.name, "gate": phase.gate, "choices": phase.choices, "runbook": phase.runbook}
        session.add(TicketPhase(ticket_id=ticket_id, position=position, agent=agent, **facts))
    session.flush()


OF_TICKET = (
    select(TicketPhase)
    .where(TicketPhase.ticket_id == bindparam("ticket"))
    .order_by(TicketPhase.position)
    .execution_options(populate_existing=True)
)


def list_phases(session: Session, ticket_id: int) -> list[TicketPhase]:
    return list(session.scalars(OF_TICKET, {"ticket": ticket_id}))


def find_current(phases: Sequence[TicketPhase]) -> TicketPhase | None:
    return next((phase for phase in phases if phase.state is PhaseState.CURRENT), None)


def find_next(phases: Sequence[TicketPhase]) -> TicketPhase | None:
    return next((phase for phase in phases if phase.state is PhaseState.PENDING), None)


HOLDER_EVENTS = (
    "ticket_created",
    "ticket_moved",
    "ticket_phases_begun",
    "ticket_phases_arranged",
    "ticket_phase_waived",
)
"""The events that carry what `held` says; created and moved say the ticket's state too."""


def build_holder_payload(ticket: Ticket) -> dict[str, Any]:
    """Who has the ticket, and in which phase: with its state, where it stands after an event."""
    return {"owner": ticket.assigned_to, "phase": ticket.phase}


def is_last(session: Session, ticket: Ticket) -> bool:
    """Whether no phase follows the one that the ticket is in."""
    return ticket.phase is None or find_next(list_phases(session, ticket.id)) is None


WITH_PHASE = select(TicketPhase.ticket_id).where(
    in_ids(TicketPhase.ticket_id, "tickets"), TicketPhase.state == bindparam("state")
)


def find_with_earlier(session: Session, tickets: Sequence[AnyTicket]) -> set[int]:
    """Which of these tickets have a phase that was worked, to which they can be sent back."""
    ids = [ticket.id for ticket in tickets if ticket.phase is not None]
    return set(fetch_rows(session, WITH_PHASE, tickets=ids, state=PhaseState.PASSED).scalars()) if ids else set()


def find_with_later(session: Session, ticket_ids: Sequence[int]) -> set[int]:
    """Which of these tickets have a phase to come."""
    return set(fetch_rows(session, WITH_PHASE, tickets=ticket_ids, state=PhaseState.PENDING).scalars())


def is_undecided(phase: TicketPhase) -> bool:
    """Whether the phase ends with a choice that nobody has made."""
    return bool(phase.choices) and phase.note not in phase.choices


def awaits_decision(session: Session, ticket_id: int) -> bool:
    here = find_current(list_phases(session, ticket_id))
    return here is not None and is_undecided(here)


def find_reviewer(session: Session, ticket: Ticket, worker: str) -> str | None:
    """Who answers the gate of the phase that `worker` hands over: whoever works the next, having done none of this one."""
    phases = list_phases(session, ticket.id)
    here, after = find_current(phases), find_next(phases)
    if here is None or after is None or after.agent is None:
        return None
    query = select(Run.agent).where(
        Run.ticket_id == ticket.id,
        Run.phase == here.name,
        Run.agent == after.agent,
        Run.outcome.in_(SUBMITTED_OUTCOMES),
    )
    is_own_work = after.agent == worker or session.scalar(query.limit(1)) is not None
    return None if is_own_work else after.agent


# ------------------------------------------------------------------------------------------------------ from one to one


def advance(session: Session, ticket: Ticket, choice: str | None = None, waived: str | None = None) -> dict[str, Any]:
    """Pass the current phase; the values that bring the ticket to its next phase, or to done after the last.

    Raises `Invalid` where the phase ends with a decision and none was made. `waived` is why its gate was not applied.
    """
    here = find_current(list_phases(session, ticket.id))
    if here is not None:
        _pass_phase(session, ticket, here, choice, waived)
    values = enter_next(session, ticket)
    return {"status": TicketStatus.TODO if values else TicketStatus.DONE, **values}


def require_decision(session: Session, ticket: Ticket, choice: str | None) -> None:
    """Make the decision with which the current phase ends, if it ends with one. Raises `Invalid` where none is made."""
    here = find_current(list_phases(session, ticket.id))
    if here is not None:
        _decide(session, here, choice)


def _decide(session: Session, phase: TicketPhase, choice: str | None) -> None:
    if choice is not None:
        decide(session, phase, choice)
    elif is_undecided(phase):
        raise _build_choice_error(phase)


def _pass_phase(session: Session, ticket: Ticket, phase: TicketPhase, choice: str | None, waived: str | None) -> None:
    _decide(session, phase, choice)
    if waived and not phase.choices:
        close_phase(session, ticket, phase, PhaseState.WAIVED, waived)
    else:
        close_phase(session, ticket, phase, PhaseState.PASSED, choice or phase.note)


def close_phase(session: Session, ticket: Ticket, phase: TicketPhase, state: PhaseState, note: str | None) -> None:
    """Close a phase; it remembers who held it, since that is who takes it up again if it is sent back."""
    _update_phase(session, phase, state=state, note=note, agent=ticket.assigned_to)


def enter_next(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The values of the phase that follows, which becomes current; none where none does."""
    after = find_next(list_phases(session, ticket.id))
    return _enter_phase(session, ticket, after) if after else {}


def _enter_phase(session: Session, ticket: Ticket, phase: TicketPhase) -> dict[str, Any]:
    _update_phase(session, phase, state=PhaseState.CURRENT, note=None)
    return {"phase": phase.name, "gate": phase.gate, "assigned_to": phase.agent or ticket.assigned_to}


def decide(session: Session, phase: TicketPhase, choice: str) -> None:
    """Make the decision with which a phase ends. Raises `Invalid` for what is not one of its choices."""
    if choice not in phase.choices:
        raise _build_choice_error(phase)
    _update_phase(session, phase, note=choice)


def _build_choice_error(phase: TicketPhase) -> Invalid:
    if not phase.choices:
        return Invalid(f"phase {phase.name} ends without a decision", field="choice")
    return Invalid(f"phase {phase.name} ends with a decision", field="choice", choices=phase.choices)


def return_to_phase(session: Session, ticket: Ticket, name: str | None, *, stays: bool) -> dict[str, Any]:
    """Return to the phase that is to take up what must change; the values for that, none where the ticket stays.

    `stays`: without a name, only what was found in a judging phase leads back. Raises `Invalid` for an unknown name.
    """
    phases = list_phases(session, ticket.id)
    here = find_current(phases)
    if here is None:
        return {}
    target = _get_worked_phase(phases, here, name) if name else find_return_phase(phases, here, stays=stays)
    if target is here:
        return {}
    for phase in phases:
        if target.position < phase.position <= here.position and phase.state is not PhaseState.WAIVED:
            _update_phase(session, phase, state=PhaseState.PENDING, note=None)
    return _enter_phase(session, ticket, target)


def find_return_phase(phases: Sequence[TicketPhase], here: TicketPhase, *, stays: bool) -> TicketPhase:
    """Which phase takes up what must change, where nobody names one."""
    return here if stays and here.name not in REVIEW_PHASES else find_maker_phase(phases, here) or here


def list_earlier(phases: Sequence[TicketPhase], here: TicketPhase) -> list[TicketPhase]:
    """The phases before this one that were worked."""
    return [phase for phase in phases if phase.position < here.position and phase.state is PhaseState.PASSED]


def _get_worked_phase(phases: Sequence[TicketPhase], here: TicketPhase, name: str) -> TicketPhase:
    worked_phases = [*list_earlier(phases, here), here]
    phase = next((phase for phase in worked_phases if phase.name == name), None)
    if phase is None:
        raise Invalid(
            f"no phase called {name[:40]!r} has been worked",
            field="phase",
            phases=[phase.name for phase in worked_phases],
        )
    return phase


def find_maker_phase(phases: Sequence[TicketPhase], here: TicketPhase) -> TicketPhase | None:
    """The phase whose work this one goes by: before a judging phase the last one that makes, else the one before."""
    worked_phases = list_earlier(phases, here)
    if here.name in REVIEW_PHASES:
        worked_phases = [phase for phase in worked_phases if phase.name not in REVIEW_PHASES] or worked_phases
    return worked_phases[-1] if worked_phases else None


def reopen(session: Session, ticket: Ticket) -> dict[str, Any]:
    """A ticket whose phases are all over goes on in the last that was worked."""
    phases = list_phases(session, ticket.id)
    if not phases or find_current(phases) or find_next(phases):
        return {}
    worked_phases = [phase for phase in phases if phase.state is PhaseState.PASSED] or phases
    return _enter_phase(session, ticket, worked_phases[-1])


# ------------------------------------------------------------------------------------------------------- taking it back

PhaseStates = dict[str, list[Any]]


def read_states(session: Session, ticket: Ticket) -> PhaseStates:
    """How far each phase is, as JSON: what `put_back` needs."""
    return {str(phase.id): [phase.state.value, phase.note, phase.agent] for phase in list_phases(session, ticket.id)}


def restore_states(session: Session, ticket: Ticket, was: PhaseStates) -> None:
    """Let the phases stand where these marks say."""
    for phase in list_phases(session, ticket.id):
        if str(phase.id) in was:
            state, note, agent = was[str(phase.id)]
            _update_phase(session, phase, state=PhaseState(state), note=note, agent=agent)


def _update_phase(session: Session, phase: TicketPhase, **values: Any) -> None:
    session.execute(update(TicketPhase).where(TicketPhase.id == phase.id).values(**values))
