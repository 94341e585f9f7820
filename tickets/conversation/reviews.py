"""Reviews of a ticket's changes: comments on lines, sent to the agent with a summary as one message, and their answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import LineComment, ReviewedCommit, Ticket, now
from tickets.lifecycle import transitions
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid, NotFound, TooLarge
from tickets.shared.inputs import Body, FilePath, Prose, Words
from tickets.shared.rights import Act

from . import message_routing
from .message_routing import IncomingMessage, RoutedMessage

MAX_COMMENTS = 100
"""Number of line comments that a review may have."""
MAX_COMMENTS_LISTED = 300
MAX_RUN_ANSWERS = 300
MAX_TEXT_CHARACTERS = 4000
"""Length of a line comment and of its answer: a page renders several hundred of them."""
CommitSha = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]


class NewLineComment(Body):
    """A comment on a line of the head commit, or on one of the commit that it is compared with (`is_old`)."""

    path: FilePath
    line: int = Field(ge=1, le=10_000_000)
    is_old: bool = False
    body: Annotated[Words, Field(max_length=MAX_TEXT_CHARACTERS)]


class NewReview(Body):
    """A review of the changes from commit `base` to `head`. With a `version` of the ticket it requests changes."""

    base: CommitSha
    head: CommitSha
    body: Prose = ""
    comments: list[NewLineComment] = Field(default_factory=list, max_length=MAX_COMMENTS)
    version: int | None = None


class AnswerComment(Body):
    """The answer to a line comment: what was changed, or why not."""

    answer: Annotated[Words, Field(max_length=MAX_TEXT_CHARACTERS)]


def send_review(session: Session, ticket: Ticket, review: NewReview, actor: Actor, caller: str) -> RoutedMessage:
    """Send a review to the agent as one message, as a change request or to its live run, and store its line comments.

    Raises `Invalid` for an empty review, `Forbidden`, and the errors of the move and of `message_routing.route_message`.
    """
    rights.require(actor, Act.SPEAK)
    rows = [_build_comment(ticket, review, comment, actor) for comment in review.comments]
    session.add_all(rows)
    session.merge(ReviewedCommit(ticket_id=ticket.id, person=actor.name, commit_sha=review.head, reviewed=now()))
    session.flush()
    body = _compose_message(review.body, rows)
    if review.version is None:
        return message_routing.route_message(session, ticket, IncomingMessage(body=body), actor, caller)
    transitions.transition(session, ticket.id, "request_changes", actor, version=review.version, body=body)
    text = message_routing.OUTCOME_TEXTS["request_changes"]
    return {"became": "request_changes", "text": text, "message": None, "run": None}


def _build_comment(ticket: Ticket, review: NewReview, comment: NewLineComment, actor: Actor) -> LineComment:
    commit = review.base if comment.is_old else review.head
    return LineComment(ticket_id=ticket.id, author=actor.name, commit_sha=commit, **comment.model_dump())


def _compose_message(summary: str, rows: Sequence[LineComment]) -> str:
    """Compose one Markdown text: the summary, then a list of the line comments with their numbers."""
    text = "\n\n".join(filter(None, [summary.strip(), "\n".join(map(_format_comment, rows))]))
    if not text:
        raise Invalid("A review needs a summary or a comment on a line.", field="body")
    return text


def _format_comment(row: LineComment) -> str:
    place = f"`{row.path}:{row.line}`{' (as it was)' if row.is_old else ''}"
    return f"- Comment {row.id} on {place}: {row.body}".replace("\n", "\n  ")


def find_reviewed_commit(session: Session, ticket_id: int, person: str) -> ReviewedCommit | None:
    """Find the commit that a person reviewed last on a ticket."""
    return session.get(ReviewedCommit, (ticket_id, person))


def list_comments(session: Session, ticket_id: int) -> list[LineComment]:
    """List the newest line comments of a ticket, oldest first."""
    newest = select(LineComment).where(LineComment.ticket_id == ticket_id).order_by(LineComment.id.desc())
    return list(session.scalars(newest.limit(MAX_COMMENTS_LISTED)))[::-1]


def get_comment(session: Session, ticket_id: int, number: int) -> LineComment:
    row = session.get(LineComment, number)
    if row is None or row.ticket_id != ticket_id:
        raise NotFound(f"The ticket has no line comment {number}.", comment=number)
    return row


def answer_comment(session: Session, ticket_id: int, number: int, body: AnswerComment, actor: Actor) -> LineComment:
    """Answer a line comment, on behalf of the ticket's agent or a person, which resolves it. A later answer replaces it."""
    rights.require_own_ticket(actor, ticket_id)
    if not actor.run_id:
        rights.require(actor, Act.SPEAK)
    elif events.count_events(session, actor.run_id, "comment_answered") >= MAX_RUN_ANSWERS:  # it is in a loop
        raise TooLarge(f"A run may answer line comments {MAX_RUN_ANSWERS} times. Put the rest in your report.")
    row = get_comment(session, ticket_id, number)
    row.answer, row.answered_by = body.answer, actor.name
    row.resolved, row.resolved_by = now(), actor.name
    _append_event(session, "comment_answered", row, actor, body=body.answer[:2000])
    return row


def resolve_comment(session: Session, ticket_id: int, number: int, is_resolved: bool, actor: Actor) -> LineComment:
    """Mark a line comment as resolved, or as open again. Nothing happens where it is so already."""
    rights.require(actor, Act.SPEAK)
    row = get_comment(session, ticket_id, number)
    if is_resolved is (row.resolved is None):
        row.resolved, row.resolved_by = (now(), actor.name) if is_resolved else (None, None)
        _append_event(session, "comment_resolved" if is_resolved else "comment_unresolved", row, actor)
    return row


def _append_event(session: Session, event: str, row: LineComment, actor: Actor, **facts: str) -> None:
    place = f"{row.path}:{row.line}"
    session.flush()
    events.append(session, row.ticket_id, event, {"comment": row.id, "place": place, **facts}, actor)
