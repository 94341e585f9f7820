"""Answering what a running agent asks: leave to use a tool, or a choice. The answer reaches it at its next beat."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import RequestState, RunRequest, now
from tickets.shared import events, payloads, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import Body, Prose
from tickets.shared.rights import Act

from . import timeline


class Reply(Body):
    """`answers` maps the text of each question to the choice made or the words written."""

    request: str = Field(pattern=r"^[^\x00]{1,200}$")
    behavior: Literal["allow", "deny"] = "allow"
    scope: Literal["once", "run"] = "once"
    message: Prose = ""
    answers: dict[str, Prose] = Field(default={}, max_length=20)


def answer_request(session: Session, ticket_id: int, body: Reply, actor: Actor) -> int:
    """Record a person's answer to a pending request; returns its run.

    Raises `Forbidden` for programs and viewers, `Conflict` when the request no longer waits.
    """
    rights.require(actor, Act.REPLY)
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
        raise ConflictError("That request no longer waits for an answer.", request=body.request)
    event = events.append(session, ticket_id, "request_answered", {"request": body.request, **reply}, actor, run_id)
    timeline.mark_requests_changed(session, run_id, event.seq or 0, body.request)
    return run_id


def list_questions(session: Session, ticket_id: int, request: str) -> list[str]:
    """The texts of the questions in a request, in order; none for a tool's approval."""
    question = (RunRequest.ticket_id == ticket_id, RunRequest.request == request, RunRequest.kind == "question")
    payload = session.scalar(select(RunRequest.payload).where(*question).limit(1))
    return [] if payload is None else [question.text for question in payloads.read_questions(payload)]


def list_requests(session: Session, ticket_id: int, limit: int = 100) -> list[RunRequest]:
    """The newest requests of a ticket's runs, newest first."""
    query = select(RunRequest).where(RunRequest.ticket_id == ticket_id).order_by(RunRequest.id.desc()).limit(limit)
    return list(session.scalars(query))


def get_request(session: Session, run_id: int, request: str) -> RunRequest:
    """A request that is known to be there, as it now is."""
    mine = select(RunRequest).where(RunRequest.run_id == run_id, RunRequest.request == request)
    return session.scalars(mine.execution_options(populate_existing=True)).one()
