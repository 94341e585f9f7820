"""Answers to requests of a running agent (tool approval or question), delivered with its next heartbeat."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import RequestState, Run, RunRequest, now
from tickets.shared import events, payloads, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import Body, Prose
from tickets.shared.rights import Act

from . import timeline

PLAN_REQUEST = "plan"
"""The kind of a request that is decided as a plan (`tickets/planning/plans.py`)."""


class Reply(Body):
    """A person's answer to a request. `answers` maps the text of each question to the choice or the text entered."""

    request: str = Field(pattern=r"^[^\x00]{1,200}$")
    behavior: Literal["allow", "deny"] = "allow"
    scope: Literal["once", "run"] = "once"
    message: Prose = ""
    answers: dict[str, Prose] = Field(default={}, max_length=20)


def answer_request(session: Session, ticket_id: int, body: Reply, actor: Actor) -> int:
    """Record a person's answer to a pending request and return its run.

    Raises `Forbidden` for programs and viewers, `ConflictError` for a plan and when the request is no longer pending.
    """
    rights.require(actor, Act.REPLY)
    mine = (RunRequest.ticket_id == ticket_id, RunRequest.request == body.request)
    if session.scalar(select(RunRequest.id).where(*mine, RunRequest.kind == PLAN_REQUEST)) is not None:
        raise ConflictError("This is a plan: approve it or send it back as such.", request=body.request)
    return record_answer(session, ticket_id, body, actor)


def record_answer(session: Session, ticket_id: int, body: Reply, actor: Actor) -> int:
    """Record the answer to a pending request and return its run. The caller has checked the actor's rights."""
    reply: dict[str, Any] = body.model_dump(exclude={"request"})
    run_id: int | None = session.scalar(
        update(RunRequest)
        .where(
            RunRequest.ticket_id == ticket_id,
            RunRequest.request == body.request,
            RunRequest.state == RequestState.PENDING,
        )
        .values(state=RequestState.ANSWERED, answer=reply, answered_by=actor.name, answered=now())
        .returning(RunRequest.run_id)
    )
    if run_id is None:
        raise ConflictError("The request is no longer pending.", request=body.request)
    restart_wait(session, run_id)
    event = events.append(session, ticket_id, "request_answered", {"request": body.request, **reply}, actor, run_id)
    timeline.mark_requests_changed(session, run_id, event.seq or 0, body.request)
    return run_id


def restart_wait(session: Session, run_id: int) -> None:
    """Note that a request of a run is settled: from now on it should go on or ask again."""
    session.execute(update(Run).where(Run.id == run_id).values(waiting_since=now()))


def list_questions(session: Session, ticket_id: int, request: str) -> list[str]:
    """List the texts of the questions in a request, in order (empty for a tool approval)."""
    question = (RunRequest.ticket_id == ticket_id, RunRequest.request == request, RunRequest.kind == "question")
    payload = session.scalar(select(RunRequest.payload).where(*question).limit(1))
    return [] if payload is None else [question.text for question in payloads.read_questions(payload)]


def list_requests(session: Session, ticket_id: int, limit: int = 100) -> list[RunRequest]:
    """List the newest requests of a ticket's runs, newest first."""
    query = select(RunRequest).where(RunRequest.ticket_id == ticket_id).order_by(RunRequest.id.desc()).limit(limit)
    return list(session.scalars(query))


def get_request(session: Session, run_id: int, request: str) -> RunRequest:
    """Return the current state of an existing request."""
    mine = select(RunRequest).where(RunRequest.run_id == run_id, RunRequest.request == request)
    return session.scalars(mine.execution_options(populate_existing=True)).one()
