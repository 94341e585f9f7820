"""API of line comments: what reviewers wrote on lines of a ticket's changes, and the answers of its agent."""

from __future__ import annotations

from models import Ticket
from tickets.conversation import reviews
from tickets.conversation.reviews import AnswerComment
from tickets.lifecycle.schemas import LineCommentJson
from web.api.page import Page
from web.api.resource import ANYBODY, OPERATORS, RUNS, Call, Resource

blueprint = Resource("line_comments", __name__)


@blueprint.reads("/tickets/<ticket>/line-comments", rights=ANYBODY | RUNS)
def list_line_comments(call: Call, ticket: Ticket) -> Page[LineCommentJson]:
    """List the line comments of a ticket, oldest first."""
    rows = reviews.list_comments(call.session, ticket.id)
    return {"items": [LineCommentJson.read(row) for row in rows], "next": None}


@blueprint.writes("POST", "/tickets/<ticket>/line-comments/<number:comment>/answer", rights=OPERATORS | RUNS)
def answer_line_comment(call: Call, ticket: Ticket, comment: int, body: AnswerComment) -> LineCommentJson:
    """Answer a line comment, which resolves it."""
    return LineCommentJson.read(reviews.answer_comment(call.session, ticket.id, comment, body, call.actor))
