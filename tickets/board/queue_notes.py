"""Notes of the queue: which tickets start next, and what holds the others, as the dispatcher's gates say it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Run
from tickets.dispatch import dispatch_plan, policy
from tickets.dispatch.policy import CAPACITY_GATES, DispatchLimits, GateInput, SharedState
from tickets.shared.ticket_row import AnyTicket

STARTS_NEXT = "Starts next"
QUEUE_GATES = {"maintenance": "Starts next, when dispatch resumes", "quiet_hours": "Starts next, after the quiet hours"}
"""The note of the next ticket while a gate holds the whole queue."""
HOLDS = {"budget": "On hold: budget", "repository": "On hold: repository"}
HOLD_GATES = frozenset({"controller", "agent_cooldown", *HOLDS})


@dataclass(frozen=True, slots=True)
class QueueNotes:
    """The note of each ticket that starts next, the note of each that a gate holds, and the open blockers of each."""

    next: dict[int, str]
    holds: dict[int, str]
    blockers: dict[int, list[str]]


NO_NOTES = QueueNotes({}, {}, {})


def load_notes(
    session: Session, tickets: Sequence[AnyTicket], live: Mapping[int, Run], limits: DispatchLimits
) -> QueueNotes:
    """Load the notes of these tickets in To do, in a constant number of queries for them and the head of the queue."""
    if not tickets:
        return NO_NOTES
    head = dispatch_plan.load_head(session)
    every = {ticket.id: ticket for ticket in (*head, *tickets)}
    inputs = {entry.ticket.id: entry for entry in policy.load_inputs(session, list(every.values()), live)}
    shared_state = policy.load_shared(session, limits)
    holds = {ticket.id: _describe_hold(inputs[ticket.id], shared_state) for ticket in tickets}
    return QueueNotes(
        _find_next([inputs[ticket.id] for ticket in head], shared_state),
        {ticket_id: text for ticket_id, text in holds.items() if text},
        {ticket_id: entry.blockers for ticket_id, entry in inputs.items() if entry.blockers},
    )


def _find_next(head: Iterable[GateInput], shared_state: SharedState) -> dict[int, str]:
    """Find the tickets that the next pass claims, or else the first that only waits for a run to end or for the queue."""
    notes: dict[int, str] = {}
    first_in_line: dict[int, str] = {}
    for gate_input in head:
        if not shared_state.free and (notes or first_in_line):
            break
        closed_gates = [gate for gate in policy.check_gates(gate_input, shared_state) if not gate.ok]
        if not closed_gates:
            notes[gate_input.ticket.id] = STARTS_NEXT
            shared_state.count_claim(gate_input.ticket)
        elif not first_in_line and all(
            gate.name in CAPACITY_GATES or gate.name in QUEUE_GATES for gate in closed_gates
        ):
            first_in_line[gate_input.ticket.id] = QUEUE_GATES.get(closed_gates[0].name, STARTS_NEXT)
    return notes or first_in_line


def _describe_hold(gate_input: GateInput, shared_state: SharedState) -> str | None:
    gates = {gate.name for gate in policy.check_gates(gate_input, shared_state, HOLD_GATES) if not gate.ok}
    if "controller" in gates:
        return f"On hold by {gate_input.ticket.campaign_owner}"
    if "agent_cooldown" in gates:
        return f"On hold: {gate_input.ticket.assigned_to} is cooling down"
    return next((text for name, text in HOLDS.items() if name in gates), None)
