"""From events of the log to alerts: what is new for people, and what no longer needs them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import exists, or_, select
from sqlalchemy.orm import Session

from models import AlertKind, Priority, Project, ReviewAssessment, Ticket, TicketEvent, TicketStatus
from protocol import ApprovalPayload, EventType, Question
from tickets.conversation import timeline
from tickets.dispatch.budgets import SCOPE_LABELS, BudgetScope, format_amount
from tickets.shared import events, payloads, runtime_flags
from tickets.shared.canary import IS_ORDINARY_TICKET

from .alert import (
    MAX_CHOICES,
    MAX_LABEL_BYTES,
    Alert,
    AlertChoice,
    AlertQuestion,
    QuestionKind,
    Urgency,
    clean_body,
    clean_line,
)

PAGE_SIZE = 200
MAX_REQUEST_LENGTH = 200
S = TicketStatus


@dataclass(frozen=True, slots=True)
class WatchedEvent:
    """An event that may begin or settle an alert, with what is needed of its ticket.

    `is_routine`: the ticket is the inbox's own or that of a reviewer, whose ends a loop settles without people.
    """

    id: int
    event_type: str
    payload: Mapping[str, Any]
    actor: str
    seq: int | None
    run_id: int | None
    ticket_id: int | None
    identifier: str | None
    title: str
    is_urgent: bool
    project: str | None
    is_routine: bool

    @property
    def path(self) -> str:
        return f"/ticket/{self.identifier}" if self.identifier else "/"


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a subject: its alerts need nobody any more, for the reason in `text`.

    With the `ticket_id` of an ended run, `subject` is the beginning of all subjects of that run.
    """

    subject: str
    text: str
    ticket_id: int | None = None


@dataclass(frozen=True, slots=True)
class Derivation:
    """The alerts that an event begins and those that it ends."""

    alert: Alert | None = None
    settlement: Settlement | None = None


def list_events(session: Session, cursor: int) -> tuple[int, list[WatchedEvent]]:
    """List the next events after a cursor that may begin or settle alerts, and return the cursor after them."""
    last_id = events.get_last_id(session)
    is_review = exists().where(ReviewAssessment.ticket_id == TicketEvent.ticket_id)
    is_routine = or_(is_review, TicketEvent.ticket_id == runtime_flags.get_inbox_ticket(session))
    query = (
        select(TicketEvent, Ticket.identifier, Ticket.title, Ticket.priority, Project.slug, is_routine)
        .outerjoin(Ticket, Ticket.id == TicketEvent.ticket_id)
        .outerjoin(Project, Project.id == Ticket.project_id)
        .where(TicketEvent.id > cursor, TicketEvent.event_type.in_(DERIVATIONS), IS_ORDINARY_TICKET)
        .order_by(TicketEvent.id)
        .limit(PAGE_SIZE)
    )
    page = [_build_event(*row) for row in session.execute(query)]
    return (page[-1].id if len(page) == PAGE_SIZE else max(cursor, last_id)), page


def _build_event(
    row: TicketEvent,
    identifier: str | None,
    title: str | None,
    priority: Priority | None,
    project: str | None,
    is_routine: bool | None,
) -> WatchedEvent:
    place = (row.ticket_id, identifier, title or "", priority is Priority.URGENT, project, bool(is_routine))
    return WatchedEvent(row.id, row.event_type, row.payload_json, row.actor, row.seq, row.run_id, *place)


def derive(event: WatchedEvent) -> Derivation:
    """Derive what an event begins and ends."""
    return DERIVATIONS[event.event_type](event)


def _build_alert(
    event: WatchedEvent,
    kind: AlertKind,
    title: str,
    body: str,
    *,
    subject: str | None = None,
    urgency: Urgency = Urgency.NORMAL,
    path: str | None = None,
    question: AlertQuestion | None = None,
) -> Alert:
    return Alert(
        key=f"event:{event.id}",
        kind=kind,
        title=clean_line(title),
        body=clean_body(body),
        path=path or event.path,
        ticket=event.identifier,
        ticket_id=event.ticket_id,
        project=event.project,
        subject=subject,
        urgency=Urgency.HIGH if event.is_urgent and urgency is Urgency.NORMAL else urgency,
        question=question,
    )


# -------------------------------------------------------------------------------------------------------------- moves

SETTLING_WORDS = {
    "answer": "Answered by {actor}.",
    "approve": "Approved by {actor}.",
    "request_changes": "{actor} requested changes.",
    "unblock": "Unblocked by {actor}.",
    "cancel": "Cancelled by {actor}.",
    "land": "Landed.",
}


def name_ticket_subject(ticket_id: int) -> str:
    """Name the subject of the alerts that a ticket's state causes."""
    return f"ticket:{ticket_id}"


def _derive_move(event: WatchedEvent) -> Derivation:
    """A move to a new state settles the alerts of the old one. A landing that failed needs a person in the same state."""
    move, target = str(event.payload.get("move")), event.payload.get("to")
    if event.ticket_id is None or (target == event.payload.get("from") and move not in ("fail_landing", "approve")):
        return Derivation()
    words = SETTLING_WORDS.get(move, "Moved by {actor}.").format(actor=event.actor)
    settlement = Settlement(name_ticket_subject(event.ticket_id), words)
    is_silent = (move == "approve" and target == S.IN_REVIEW) or (event.is_routine and target in ROUTINE_ENDS)
    build = None if is_silent else BUILDERS_BY_STATE.get(str(target))
    return Derivation(build(event) if build else None, settlement)


def _build_question_alert(event: WatchedEvent) -> Alert:
    questions = payloads.read_questions(_read_mapping(event.payload.get("question")))
    body = str(event.payload.get("body") or "") or "\n".join(question.text for question in questions)
    question = AlertQuestion(QuestionKind.TICKET, "", event.seq or 0, _list_choices(questions))
    title = f"{event.identifier} has a question: {event.title}"
    return _build_state_alert(event, AlertKind.NEEDS_YOU, title, body, question)


def _build_review_alert(event: WatchedEvent) -> Alert:
    choices = (AlertChoice("approve", "Approve"),)
    question = AlertQuestion(QuestionKind.REVIEW, "", event.seq or 0, choices)
    body = str(event.payload.get("body") or event.payload.get("note") or "")
    title = f"{event.identifier} is ready for review: {event.title}"
    if event.payload.get("move") == "fail_landing":
        title = f"{event.identifier} could not be landed: {event.title}"
    return _build_state_alert(event, AlertKind.NEEDS_YOU, title, body, question)


def _build_blocked_alert(event: WatchedEvent) -> Alert:
    body = str(event.payload.get("next_action") or event.payload.get("note") or "")
    return _build_state_alert(event, AlertKind.BLOCKED, f"{event.identifier} is blocked: {event.title}", body)


def _build_done_alert(event: WatchedEvent) -> Alert:
    title = f"{event.identifier} is done: {event.title}"
    return _build_alert(event, AlertKind.DONE, title, str(event.payload.get("note") or ""), urgency=Urgency.LOW)


def _build_state_alert(
    event: WatchedEvent, kind: AlertKind, title: str, body: str, question: AlertQuestion | None = None
) -> Alert:
    subject = name_ticket_subject(event.ticket_id or 0)
    return _build_alert(event, kind, title, body, subject=subject, question=question)


BUILDERS_BY_STATE: dict[str, Callable[[WatchedEvent], Alert]] = {
    S.NEEDS_INPUT: _build_question_alert,
    S.IN_REVIEW: _build_review_alert,
    S.BLOCKED: _build_blocked_alert,
    S.DONE: _build_done_alert,
}

ROUTINE_ENDS = frozenset({S.DONE, S.BLOCKED})
"""States of the inbox's ticket and of reviewers' tickets that loops settle. An incident tells where they cannot."""


def _read_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list_choices(questions: tuple[Question, ...]) -> tuple[AlertChoice, ...]:
    """List the choices of a single question. Several questions are answered on the page."""
    if len(questions) != 1 or questions[0].multiple:
        return ()
    labels = [choice.label for choice in questions[0].choices if choice.label][:MAX_CHOICES]
    return tuple(AlertChoice(str(number), clean_line(label, MAX_LABEL_BYTES)) for number, label in enumerate(labels, 1))


# ------------------------------------------------------------------------------------------------------- live requests


def name_request_subject(run_id: int | None, request: str) -> str:
    """Name the subject of the alert of a live agent's request. Without a request: the beginning of all of its run.

    An agent may name a request by any text, and an index holds short ones alone: a longer one is named by its digest.
    """
    name = request if len(request) <= MAX_REQUEST_LENGTH else hashlib.sha256(request.encode()).hexdigest()
    return f"request:{run_id}:{name}"


def _derive_question(event: WatchedEvent) -> Derivation:
    questions = payloads.read_questions(event.payload)
    question = AlertQuestion(
        QuestionKind.AGENT, _name_request(event), event.seq or 0, _list_choices(questions), len(questions) == 1
    )
    texts = (
        "\n".join([question.text, *(f"- {choice.label}: {choice.detail}" for choice in question.choices)])
        for question in questions
    )
    title = f"{event.identifier} is waiting for an answer: {event.title}"
    return _derive_request(event, question, title, "\n\n".join(texts))


def _derive_approval(event: WatchedEvent) -> Derivation:
    payload = payloads.read(ApprovalPayload, event.payload)
    choices = (AlertChoice("allow", "Allow once"), AlertChoice("deny", "Deny"))
    question = AlertQuestion(QuestionKind.APPROVAL, _name_request(event), event.seq or 0, choices, takes_text=False)
    title = f"{event.identifier} is waiting for approval: {event.title}"
    return _derive_request(
        event, question, title, "\n".join(filter(None, [payload.title or payload.tool, payload.reason]))
    )


def _derive_plan(event: WatchedEvent) -> Derivation:
    """A plan that waits in a live run. Another one is proposed with the end of its run, which is a move."""
    if not event.payload.get("request"):
        return Derivation()
    question = AlertQuestion(QuestionKind.PLAN, _name_request(event), event.seq or 0, takes_text=False)
    title = f"{event.identifier} has a plan for you: {event.title}"
    return _derive_request(event, question, title, str(event.payload.get("text") or ""))


def _name_request(event: WatchedEvent) -> str:
    return timeline.block_of(dict(event.payload), event.seq or 0)


def _derive_request(event: WatchedEvent, question: AlertQuestion, title: str, body: str) -> Derivation:
    subject = name_request_subject(event.run_id, question.id)
    return Derivation(_build_alert(event, AlertKind.NEEDS_YOU, title, body, subject=subject, question=question))


def _settle_request(event: WatchedEvent) -> Derivation:
    words = (
        f"Answered by {event.actor}." if event.event_type == "request_answered" else "The agent no longer waits for it."
    )
    return Derivation(None, Settlement(name_request_subject(event.run_id, _name_request(event)), words))


def _settle_run(event: WatchedEvent) -> Derivation:
    subject = name_request_subject(event.run_id, "")
    return Derivation(None, Settlement(subject, "The run has ended.", event.ticket_id))


# -------------------------------------------------------------------------------------- incidents, budgets and messages


def _derive_incident(event: WatchedEvent) -> Derivation:
    number, title = event.payload.get("incident"), str(event.payload.get("title") or "")
    begins = {
        "incident_opened": "Incident",
        "incident_reopened": "Incident again",
        "incident_escalated": "Nobody reacts to",
    }
    urgency = Urgency.HIGH if event.payload.get("severity") == "critical" else Urgency.NORMAL
    alert = _build_alert(
        event,
        AlertKind.INCIDENT,
        f"{begins[event.event_type]}: {title}",
        str(event.payload.get("detail") or ""),
        subject=f"incident:{number}",
        urgency=urgency,
        path=f"/incidents#incident-{number}",
    )
    return Derivation(alert)


def _settle_incident(event: WatchedEvent) -> Derivation:
    verb = "Closed" if event.event_type == "incident_closed" else "Acknowledged"
    return Derivation(None, Settlement(f"incident:{event.payload.get('incident')}", f"{verb} by {event.actor}."))


def _derive_budget(event: WatchedEvent) -> Derivation:
    scope, measure = event.payload.get("scope"), str(event.payload.get("measure"))
    amounts = format_amount(measure, float(event.payload.get("used") or 0), float(event.payload.get("limit") or 0))
    body = f"{amounts} {SCOPE_LABELS[BudgetScope(scope)]}." if scope in list(BudgetScope) else amounts
    title = f"{event.identifier} was stopped at its budget: {event.title}"
    return Derivation(_build_alert(event, AlertKind.BUDGET, title, body, subject=f"budget:{event.ticket_id}"))


def name_message_subject(message_id: object) -> str:
    return f"message:{message_id}"


def _derive_message(event: WatchedEvent) -> Derivation:
    verb = "expired" if event.event_type == "message_expired" else "was not delivered"
    title = f"A message to the agent of {event.identifier} {verb}: {event.title}"
    body = str(event.payload.get("body") or "")
    subject = name_message_subject(event.payload.get("message"))
    return Derivation(_build_alert(event, AlertKind.MESSAGE, title, body, subject=subject))


def _settle_message(event: WatchedEvent) -> Derivation:
    verb = "Sent again" if event.event_type == "message_resent" else "Dismissed"
    return Derivation(None, Settlement(name_message_subject(event.payload.get("message")), f"{verb} by {event.actor}."))


DERIVATIONS: dict[str, Callable[[WatchedEvent], Derivation]] = {
    "ticket_moved": _derive_move,
    EventType.QUESTION.value: _derive_question,
    EventType.APPROVAL.value: _derive_approval,
    EventType.PLAN.value: _derive_plan,
    "request_answered": _settle_request,
    EventType.WITHDRAWN.value: _settle_request,
    "run_ended": _settle_run,
    "incident_opened": _derive_incident,
    "incident_reopened": _derive_incident,
    "incident_escalated": _derive_incident,
    "incident_acknowledged": _settle_incident,
    "incident_closed": _settle_incident,
    "budget_passed": _derive_budget,
    "message_expired": _derive_message,
    "message_failed": _derive_message,
    "message_resent": _settle_message,
    "message_dismissed": _settle_message,
}
"""The derivation for each type of event that is watched."""
