"""Moves that follow from a run's verdict, according to the gate of the phase and the recorded evidence."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import ActorKind, Gate, Outcome, Run, Ticket
from protocol import PLAN_QUESTION, PLAN_SUMMARY
from redaction import cut_text
from tickets.lifecycle import comments
from tickets.lifecycle.transitions import transition
from tickets.planning import plans
from tickets.shared import payloads
from tickets.shared.actors import Actor
from tickets.team.evidence_policy import Stage
from tickets.workflow import evidence, ticket_phases
from tickets.workflow.ticket_phases import SUBMITTED_OUTCOMES

MAX_QUESTION_BYTES = 8000
MAX_SEND_BACKS = 3
"""Maximum number of send-backs without a person's comment in between, so that programs do not loop for ever."""


def apply_verdict(
    session: Session, run: Run, ticket: Ticket, verdict: str, summary: str, question: dict[str, Any]
) -> None:
    """Make the move that follows from a verdict. The report of a run that was to plan is its plan."""
    if verdict in SUBMITTED_OUTCOMES and _is_to_plan(session, run):
        plans.propose_plan(session, run, summary.strip() or "The agent reported without a plan.")
        verdict, summary, question = Outcome.QUESTION, PLAN_SUMMARY, dict(PLAN_QUESTION)
    move, facts = _choose_move(session, run, ticket, verdict, summary, question)
    actor = Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id)
    transition(session, ticket.id, move, actor, run=run.id, **facts)


def _choose_move(
    session: Session, run: Run, ticket: Ticket, verdict: str, summary: str, question: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    words = summary.strip()
    if verdict == Outcome.QUESTION:
        return "ask", {"question": question, "body": words or _compose_question(question)}
    if verdict == Outcome.CHANGES and _can_send_back(session, ticket):
        return "send_back", {"body": words or "The agent asks for changes without saying which."}
    move = "complete" if verdict == Outcome.DONE and can_complete(session, run, ticket) else "submit"
    return move, {"note": summary or None}


def _compose_question(question: dict[str, Any]) -> str:
    """Compose the text of a question that came without a summary, which alerts and lists show."""
    texts = [entry.text.strip() for entry in payloads.read_questions(question)] if question else []
    return cut_text("\n".join(filter(None, texts)), MAX_QUESTION_BYTES) or "The agent asks a question."


def find_obstacle(session: Session, run: Run, ticket: Ticket, verdict: str) -> str | None:
    """Return what the project requires before work is handed in and this run has not provided, or None."""
    if verdict not in SUBMITTED_OUTCOMES or _is_to_plan(session, run):
        return None
    missing = evidence.find_shortfalls(session, ticket, Stage.SUBMIT)
    details = "; ".join(shortfall.detail for shortfall in missing)
    return f"The work was not accepted, {evidence.describe_shortfalls(missing)}: {details}." if missing else None


def _is_to_plan(session: Session, run: Run) -> bool:
    return run.plans and plans.find_approved(session, run.ticket_id) is None


def can_complete(session: Session, run: Run, ticket: Ticket) -> bool:
    """Return whether DONE completes the phase: no open decision, no missing evidence, no gate that waits for someone."""
    if ticket.gate is Gate.PERSON or ticket_phases.awaits_decision(session, ticket.id):
        return False
    if ticket.gate is Gate.REVIEWER and ticket_phases.find_reviewer(session, ticket, run.agent) is None:
        return False
    return not evidence.find_shortfalls(session, ticket, Stage.COMPLETE)


def _can_send_back(session: Session, ticket: Ticket) -> bool:
    if ticket.id not in ticket_phases.find_with_earlier(session, [ticket]):
        return False
    return comments.count_send_backs(session, ticket.id, ActorKind.RUN) < MAX_SEND_BACKS
