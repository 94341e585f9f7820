"""Answers to the questions of alerts, from wherever they come: the first one counts, and others learn who gave it."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import RequestState, RunRequest, Ticket, TicketEvent
from tickets.conversation import requests
from tickets.conversation.requests import Reply
from tickets.lifecycle import transitions
from tickets.shared import payloads
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid
from tickets.shared.lookup import get_ticket

from .alert import Alert, AlertQuestion, QuestionKind

APPROVE = "approve"


def answer_question(session: Session, alert: Alert, actor: Actor, *, choice: str = "", text: str = "") -> int | None:
    """Answer the question of an alert with the key of a choice or with a text, as the caller's transaction.

    A review is approved by its choice and gets a change request by a text. Returns the live run to notify, if any. Raises
    `ConflictError`, which names who was first, and the errors of the move and of `requests.answer_request`.
    """
    question = alert.question
    if question is None or alert.ticket is None:
        raise Invalid("This alert has no question to answer.")
    words = _choose_words(question, choice, text)
    ticket = get_ticket(session, alert.ticket)
    if question.kind in (QuestionKind.TICKET, QuestionKind.REVIEW):
        _make_move(session, ticket, question, actor, choice, words)
        return None
    return _answer_request(session, ticket, question, actor, choice, words)


def _choose_words(question: AlertQuestion, choice: str, text: str) -> str:
    """Return the label of a choice, else the text. Raises `Invalid` for an unknown choice and where no text is taken."""
    if choice:
        labels = {entry.key: entry.label for entry in question.choices}
        if choice not in labels:
            raise Invalid(f"There is no choice {choice[:20]!r}.", choices=sorted(labels))
        return labels[choice]
    if not text.strip() or not question.takes_text:
        raise Invalid("Choose one of the answers." if question.choices else "Answer this on its page.")
    return text.strip()


def _make_move(
    session: Session, ticket: Ticket, question: AlertQuestion, actor: Actor, choice: str, words: str
) -> None:
    """Make the move of an answer, if the ticket's last move is still the one that asked."""
    moves = (
        TicketEvent.ticket_id == ticket.id,
        TicketEvent.event_type == "ticket_moved",
        TicketEvent.run_seq.is_(None),
    )
    last = session.scalars(select(TicketEvent).where(*moves).order_by(TicketEvent.seq.desc()).limit(1)).first()
    if last is None or last.seq != question.version:
        raise _build_conflict(ticket, last.actor if last else None)
    if question.kind is QuestionKind.TICKET:
        transitions.transition(session, ticket.id, "answer", actor, version=ticket.version, body=words)
    elif choice == APPROVE:
        transitions.transition(session, ticket.id, "approve", actor, version=ticket.version)
    else:
        transitions.transition(session, ticket.id, "request_changes", actor, version=ticket.version, body=words)


def _answer_request(
    session: Session, ticket: Ticket, question: AlertQuestion, actor: Actor, choice: str, words: str
) -> int:
    """Answer a request of a live run."""
    mine = (RunRequest.ticket_id == ticket.id, RunRequest.request == question.id)
    request = session.scalars(select(RunRequest).where(*mine).order_by(RunRequest.id.desc()).limit(1)).first()
    if request is None or request.state is not RequestState.PENDING:
        raise _build_conflict(ticket, request.answered_by if request else None)
    if question.kind is QuestionKind.AGENT:
        texts = [entry.text for entry in payloads.read_questions(request.payload)]
        reply = Reply(request=question.id, answers=dict.fromkeys(texts[:1], _find_label(request, choice) or words))
    else:
        reply = Reply(request=question.id, behavior="allow" if choice == "allow" else "deny")
    return requests.answer_request(session, ticket.id, reply, actor)


def _find_label(request: RunRequest, choice: str) -> str:
    """Find the label of a choice as the agent wrote it, which an alert may show cut."""
    choices = [entry.label for entry in payloads.read_questions(request.payload)[0].choices if entry.label]
    return choices[int(choice) - 1] if choice.isdecimal() and 0 < int(choice) <= len(choices) else ""


def _build_conflict(ticket: Ticket, name: str | None) -> ConflictError:
    words = f"{name} was first." if name else "It no longer waits."
    return ConflictError(f"This question of {ticket.identifier} has already been settled: {words}", settled_by=name)
