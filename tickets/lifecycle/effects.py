"""Effects of each move on a ticket's columns besides its state, written by `transitions.transition`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.orm import Session

from models import UNRANKED, ActorKind, CommentKind, Failure, Gate, Ticket, TicketStatus, WakeKind
from tickets.shared import rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, Invalid
from tickets.shared.inputs import (
    ApproveInput,
    BlockInput,
    FailLandingInput,
    FeedbackInput,
    FinishInput,
    MoveInput,
    ParkInput,
    ReleaseInput,
    ReopenInput,
    TriageInput,
    Wake,
)
from tickets.shared.rights import Act
from tickets.team.evidence_policy import Stage
from tickets.workflow import evidence, landing, ticket_phases, wake_conditions

from . import comments
from .column_values import column_values

S = TicketStatus
Effect = Callable[[Session, Ticket, MoveInput, Actor], dict[str, Any]]
MAX_ORCHESTRATOR_ROUNDS = 10
"""Answers and change requests of the orchestrator without a person's comment in between, so that two agents do not talk for ever."""
RETRIES_RESET = {"attempts": 0, "faults": 0, "last_failure": None, "failure_reason": None}
LIMIT_REASONS = (f"{Failure.USAGE_LIMIT.value}: ", f"{Failure.RATE_LIMIT.value}: ")
RESET_BY_EVERY_MOVE = dict.fromkeys(
    ("wake", "wake_at", "wake_ticket_id", "block", "last_gate", "not_before", "landing", "landing_plan")
)
"""Columns that every move resets unless its effect sets them."""


def compute_effects(session: Session, move: str, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    """Compute the column values of this move, with `status` where the input decides it. Raises the errors of the input."""
    effect = _EFFECTS.get(move)
    return effect(session, ticket, facts, actor) if effect else {}


def compute_edits(session: Session, facts: MoveInput) -> dict[str, Any]:
    """Compute the owner and priority that any move may set."""
    new_values = {"assigned_to": facts.assigned_to, "priority": facts.priority}
    return column_values(session, {name: value for name, value in new_values.items() if value})


def require_own_probe(condition: Wake | None, actor: Actor) -> None:
    """Raise `Forbidden` when a program sets a probe, which runs a command on the operator's machine."""
    if condition is not None and condition.kind is WakeKind.PROBE:
        rights.require(actor, Act.PARK_ON_PROBE)


def _triage(session: Session, _ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, TriageInput)
    return column_values(session, {"project": facts.project}) | {"rank": UNRANKED} if facts.project else {}


def _claim(_session: Session, ticket: Ticket, _facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    """Clear the reason of a ticket that went on after a limit: the other ones are told to the next run."""
    is_limit = (ticket.failure_reason or "").startswith(LIMIT_REASONS)
    return {"resume": False} | ({"failure_reason": None} if is_limit else {})


def _start(_session: Session, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    return {} if ticket.assigned_to or facts.assigned_to else {"assigned_to": actor.name}


def _release(_session: Session, _ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    return {"not_before": facts.not_before} if isinstance(facts, ReleaseInput) else {}


def _resume(session: Session, ticket: Ticket, _facts: MoveInput, actor: Actor) -> dict[str, Any]:
    if actor.kind is ActorKind.ORCHESTRATOR:
        _require_person_after_rounds(session, ticket, actor)
    return {"resume": True, **RETRIES_RESET}


def _require_person_after_rounds(session: Session, ticket: Ticket, actor: Actor) -> None:
    """Raise `Forbidden` where the orchestrator has sent a ticket on so often that a person is to look at it."""
    kinds = (CommentKind.ANSWER, CommentKind.FEEDBACK)
    if comments.count_send_backs(session, ticket.id, ActorKind.ORCHESTRATOR, kinds) >= MAX_ORCHESTRATOR_ROUNDS:
        words = (
            f"{actor.name} has sent {ticket.identifier} on {MAX_ORCHESTRATOR_ROUNDS} times since a person commented."
        )
        raise Forbidden(f"{words} A person decides: fail the item and say what is open.")


def _submit(session: Session, ticket: Ticket, _facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    evidence.require_evidence(session, ticket, Stage.SUBMIT)
    return {}


def _complete(session: Session, ticket: Ticket, _facts: MoveInput, actor: Actor) -> dict[str, Any]:
    evidence.require_evidence(session, ticket, Stage.COMPLETE)
    return _pass_phase(session, ticket, None, landing.plan_landing(session, ticket, actor))


def _approve(session: Session, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, ApproveInput)
    if actor.kind is ActorKind.REVIEWER:
        _require_reviewer_gate(ticket, facts, actor)
    if facts.waive:
        rights.require(actor, Act.WAIVE_EVIDENCE)
    else:
        evidence.require_evidence(session, ticket, Stage.APPROVE)
    plan = landing.plan_landing(session, ticket, actor, facts.landing, facts.waive)
    return _pass_phase(session, ticket, facts.choice, plan, facts.waive)


def _require_reviewer_gate(ticket: Ticket, facts: ApproveInput, actor: Actor) -> None:
    """Raise `Forbidden` where the approval of a reviewer is advice only, and where it would waive evidence."""
    if ticket.gate is not Gate.REVIEWER:
        words = f"The gate of {ticket.identifier} leaves the approval to a person, so that of {actor.name} is advice."
        raise Forbidden(words, gate=ticket.gate.value)
    if facts.waive:
        raise Forbidden(f"Only a person waives missing evidence, and {actor.name} is a reviewer.", field="waive")


def _pass_phase(
    session: Session,
    ticket: Ticket,
    choice: str | None,
    plan: landing.LandingPlan | None,
    waived: str | None = None,
) -> dict[str, Any]:
    """Advance to the next phase or to done, or wait in review for the landing."""
    if plan is None:
        return ticket_phases.advance(session, ticket, choice, waived) | RETRIES_RESET
    ticket_phases.require_decision(session, ticket, choice)
    return {"status": S.IN_REVIEW, **landing.build_pending_values(plan)}


def _land(session: Session, ticket: Ticket, _facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    plan = landing.get_plan(ticket)
    return ticket_phases.advance(session, ticket, waived=plan.waived if plan else None) | RETRIES_RESET


def _fail_landing(_session: Session, ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, FailLandingInput)
    return landing.build_failed_values(ticket, facts.body)


def _finish(session: Session, ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, FinishInput)
    return ticket_phases.advance(session, ticket, facts.choice) | RETRIES_RESET


def _request_changes(session: Session, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, FeedbackInput)
    stays = ticket.status is S.IN_REVIEW
    return _resume(session, ticket, facts, actor) | ticket_phases.return_to_phase(
        session, ticket, facts.phase, stays=stays
    )


def _park(session: Session, ticket: Ticket, facts: MoveInput, actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, ParkInput)
    origin = ticket.return_to if ticket.status is S.WAITING else ticket.status.value
    require_own_probe(facts.wake, actor)
    condition = wake_conditions.build_columns(session, facts.wake)
    if condition["wake_ticket_id"] == ticket.id:
        raise Invalid("A ticket cannot wait for itself.", field="ticket")
    return {**condition, "return_to": origin, "block": ticket.block}


def compute_return(origin: str | None, fallback: TicketStatus) -> dict[str, Any]:
    """Return the state to which a ticket returns. One that was in progress returns to the queue and resumes its conversation."""
    if origin == S.IN_PROGRESS:
        return {"status": S.TODO, "resume": True}
    return {"status": S(origin) if origin else fallback}


def _wake(_session: Session, ticket: Ticket, _facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    return {**compute_return(ticket.return_to, S.TODO), "block": ticket.block}


def _block(_session: Session, ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, BlockInput)
    details = {"reason": facts.reason.value, "owner": facts.owner, "next_action": facts.next_action}
    return {"block": {**details, "return_to": ticket.status.value}}


def _unblock(_session: Session, ticket: Ticket, _facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    return compute_return((ticket.block or {}).get("return_to"), S.TODO) | RETRIES_RESET


def _reopen(session: Session, ticket: Ticket, facts: MoveInput, _actor: Actor) -> dict[str, Any]:
    assert isinstance(facts, ReopenInput)
    return {"status": S(facts.to), **RETRIES_RESET, **ticket_phases.reopen(session, ticket)}


_EFFECTS: dict[str, Effect] = {
    "claim": _claim,
    "triage": _triage,
    "start": _start,
    "finish": _finish,
    "release": _release,
    "answer": _resume,
    "submit": _submit,
    "complete": _complete,
    "approve": _approve,
    "land": _land,
    "fail_landing": _fail_landing,
    "request_changes": _request_changes,
    "send_back": _request_changes,
    "park": _park,
    "wake": _wake,
    "block": _block,
    "unblock": _unblock,
    "reopen": _reopen,
}
