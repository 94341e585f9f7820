"""Phases of a ticket (Dev, Review, QA): agent, gate or decision, and order."""

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
  the ticket on without a person. Where there is no such reviewer, the project's reviewer, a person or an
  orchestrator approves.
- REVIEW always leaves a phase to a person, or under the gate `reviewer` to the project's reviewer.
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
    """Add a ticket's phases, and return the column values that enter the first of them."""
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


def record_gate(session: Session, ticket: Ticket) -> None:
    """Record a ticket's gate, which was edited, as that of its current phase."""
    current = find_current(list_phases(session, ticket.id)) if ticket.phase else None
    if current is not None:
        _update_phase(session, current, gate=ticket.gate)


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
"""Events that carry the payload of `build_holder_payload`. The events for creation and moves also carry the state."""


def build_holder_payload(ticket: Ticket) -> dict[str, Any]:
    """Build the payload that names the owner and the phase of a ticket after an event."""
    return {"owner": ticket.assigned_to, "phase": ticket.phase}


def is_last(session: Session, ticket: Ticket) -> bool:
    """Return whether no phase follows the ticket's current one."""
    return ticket.phase is None or find_next(list_phases(session, ticket.id)) is None


WITH_PHASE = select(TicketPhase.ticket_id).where(
    in_ids(TicketPhase.ticket_id, "tickets"), TicketPhase.state == bindparam("state")
)


def find_with_earlier(session: Session, tickets: Sequence[AnyTicket]) -> set[int]:
    """Find which of these tickets have a completed phase to which they can be sent back."""
    ids = [ticket.id for ticket in tickets if ticket.phase is not None]
    return set(fetch_rows(session, WITH_PHASE, tickets=ids, state=PhaseState.PASSED).scalars()) if ids else set()


def find_with_later(session: Session, ticket_ids: Sequence[int]) -> set[int]:
    """Find which of these tickets have a phase that has not started."""
    return set(fetch_rows(session, WITH_PHASE, tickets=ticket_ids, state=PhaseState.PENDING).scalars())


def is_undecided(phase: TicketPhase) -> bool:
    """Return whether the phase ends with a choice that has not been made."""
    return bool(phase.choices) and phase.note not in phase.choices


def awaits_decision(session: Session, ticket_id: int) -> bool:
    here = find_current(list_phases(session, ticket_id))
    return here is not None and is_undecided(here)


def find_reviewer(session: Session, ticket: Ticket, worker: str) -> str | None:
    """Return the reviewer of the current phase: the agent of the next phase, unless it did work in the current one."""
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


# ------------------------------------------------------------------------------------------------- changes of the phase


def advance(session: Session, ticket: Ticket, choice: str | None = None, waived: str | None = None) -> dict[str, Any]:
    """Complete the current phase, and return the column values that enter the next phase, or done after the last.

    Raises `Invalid` when the phase ends with a decision and none was made. `waived` is the reason for skipping its gate.
    """
    here = find_current(list_phases(session, ticket.id))
    if here is not None:
        _pass_phase(session, ticket, here, choice, waived)
    values = enter_next(session, ticket)
    return {"status": TicketStatus.TODO if values else TicketStatus.DONE, **values}


def require_decision(session: Session, ticket: Ticket, choice: str | None) -> None:
    """Record the decision that ends the current phase, if it ends with one. Raises `Invalid` when none is made."""
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
    """Close a phase, recording the current owner, who resumes it if it is sent back."""
    _update_phase(session, phase, state=state, note=note, agent=ticket.assigned_to)


def enter_next(session: Session, ticket: Ticket) -> dict[str, Any]:
    """Make the next phase current and return its column values, or an empty dict without one."""
    after = find_next(list_phases(session, ticket.id))
    return _enter_phase(session, ticket, after) if after else {}


def _enter_phase(session: Session, ticket: Ticket, phase: TicketPhase) -> dict[str, Any]:
    _update_phase(session, phase, state=PhaseState.CURRENT, note=None)
    return {"phase": phase.name, "gate": phase.gate, "assigned_to": phase.agent or ticket.assigned_to}


def decide(session: Session, phase: TicketPhase, choice: str) -> None:
    """Record the decision that ends a phase. Raises `Invalid` for an unknown choice."""
    if choice not in phase.choices:
        raise _build_choice_error(phase)
    _update_phase(session, phase, note=choice)


def _build_choice_error(phase: TicketPhase) -> Invalid:
    if not phase.choices:
        return Invalid(f"Phase {phase.name} ends without a decision.", field="choice")
    return Invalid(
        f"Phase {phase.name} ends with a decision. Make one of its choices.", field="choice", choices=phase.choices
    )


def return_to_phase(session: Session, ticket: Ticket, name: str | None, *, stays: bool) -> dict[str, Any]:
    """Return to the phase that must make the changes, and return its column values (empty when the ticket stays).

    With `stays` and without a name, only a review phase returns to an earlier one. Raises `Invalid` for an unknown name.
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
    """Return the phase that makes the changes when no phase is named."""
    return here if stays and here.name not in REVIEW_PHASES else find_maker_phase(phases, here) or here


def list_earlier(phases: Sequence[TicketPhase], here: TicketPhase) -> list[TicketPhase]:
    """List the completed phases before this one."""
    return [phase for phase in phases if phase.position < here.position and phase.state is PhaseState.PASSED]


def _get_worked_phase(phases: Sequence[TicketPhase], here: TicketPhase, name: str) -> TicketPhase:
    worked_phases = [*list_earlier(phases, here), here]
    phase = next((phase for phase in worked_phases if phase.name == name), None)
    if phase is None:
        raise Invalid(
            f"No phase named {name[:40]!r} has been worked.",
            field="phase",
            phases=[phase.name for phase in worked_phases],
        )
    return phase


def find_maker_phase(phases: Sequence[TicketPhase], here: TicketPhase) -> TicketPhase | None:
    """Return the phase whose work this one judges: the last non-review phase before a review phase, else the previous one."""
    worked_phases = list_earlier(phases, here)
    if here.name in REVIEW_PHASES:
        worked_phases = [phase for phase in worked_phases if phase.name not in REVIEW_PHASES] or worked_phases
    return worked_phases[-1] if worked_phases else None


def reopen(session: Session, ticket: Ticket) -> dict[str, Any]:
    """Return a ticket whose phases are all closed to the last completed one."""
    phases = list_phases(session, ticket.id)
    if not phases or find_current(phases) or find_next(phases):
        return {}
    worked_phases = [phase for phase in phases if phase.state is PhaseState.PASSED] or phases
    return _enter_phase(session, ticket, worked_phases[-1])


# ---------------------------------------------------------------------------------------------------------------- undo

PhaseStates = dict[str, list[Any]]


def read_states(session: Session, ticket: Ticket) -> PhaseStates:
    """Return the state of each phase as JSON, for `restore_states`."""
    return {str(phase.id): [phase.state.value, phase.note, phase.agent] for phase in list_phases(session, ticket.id)}


def restore_states(session: Session, ticket: Ticket, was: PhaseStates) -> None:
    """Restore the phases to these states."""
    for phase in list_phases(session, ticket.id):
        if str(phase.id) in was:
            state, note, agent = was[str(phase.id)]
            _update_phase(session, phase, state=PhaseState(state), note=note, agent=agent)


def _update_phase(session: Session, phase: TicketPhase, **values: Any) -> None:
    session.execute(update(TicketPhase).where(TicketPhase.id == phase.id).values(**values))
