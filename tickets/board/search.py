"""Search over tickets, comments, agent messages and evidence.

Every query is bounded and runs the same on each database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, false, func, or_, select
from sqlalchemy.orm import Session

from models import Evidence, MessageKind, Ticket, TicketComment, TicketMessage

KINDS = ("ticket", "comment", "message", "evidence")
PAGE_SIZE = 20
MAX_SCANNED = 20_000
"""Maximum number of the newest rows of each kind that are searched."""
MAX_WORDS = 8
SNIPPET_LEAD, SNIPPET_LENGTH = 60, 220

FENCE = re.compile(r"^\s*(?:```|~~~)\w*", re.MULTILINE)

Part = tuple[str, bool]


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One search hit. `parts` is the text around the first match as pairs (text, is a match)."""

    kind: str
    identifier: str
    title: str
    status: str
    by: str
    at: datetime
    parts: list[Part]
    href: str

    @property
    def snippet(self) -> str:
        return "".join(text for text, _ in self.parts)


def search_all(session: Session, text: str, kind: str | None = None, limit: int = PAGE_SIZE) -> list[SearchHit]:
    """Find all words of `text` in the rows of each kind, or of the one requested, newest first."""
    words = text.split()[:MAX_WORDS]
    if not words:
        return []
    finders = (_FINDERS[name] for name in KINDS if kind in (None, name))
    return [hit for finder in finders for hit in finder(session, words, limit)]


def _search_tickets(session: Session, words: list[str], limit: int) -> list[SearchHit]:
    newest = session.scalar(select(func.max(Ticket.id))) or 0
    number = re.fullmatch(r"(?:MC-)?([0-9]{1,18})", " ".join(words), re.IGNORECASE)
    is_identifier = Ticket.identifier == f"MC-{number[1] if number else ''}"
    has_words = or_(_match_all(words, Ticket.title), _match_all(words, Ticket.title + "\n" + Ticket.description))
    query = (
        select(Ticket)
        .where(Ticket.id > newest - MAX_SCANNED, or_(is_identifier, has_words))
        .order_by(is_identifier.desc(), Ticket.updated.desc())
        .limit(limit)
    )
    return [
        SearchHit("ticket", row.identifier, row.title, row.status.value, row.assigned_to or "", row.updated,
              split_snippet(row.description, words), f"/ticket/{row.identifier}")
        for row in session.scalars(query)
    ]  # fmt: skip


def _search_comments(session: Session, words: list[str], limit: int) -> list[SearchHit]:
    newest = session.scalar(select(func.max(TicketComment.id))) or 0
    query = (
        select(TicketComment, Ticket)
        .join(Ticket, Ticket.id == TicketComment.ticket_id)
        .where(
            TicketComment.id > newest - MAX_SCANNED, Ticket.archived == false(), _match_all(words, TicketComment.body)
        )
        .order_by(TicketComment.id.desc())
        .limit(limit)
    )
    return [
        SearchHit("comment", ticket.identifier, ticket.title, ticket.status.value, row.author, row.created,
              split_snippet(row.body, words), f"/ticket/{ticket.identifier}?before={row.seq + 1}#entry-c{row.id}")
        for row, ticket in session.execute(query)
    ]  # fmt: skip


def _search_messages(session: Session, words: list[str], limit: int) -> list[SearchHit]:
    """Search the texts of agents, without the output of their tools."""
    newest = session.scalar(select(func.max(TicketMessage.id))) or 0
    query = (
        select(TicketMessage, Ticket)
        .join(Ticket, Ticket.id == TicketMessage.ticket_id)
        .where(TicketMessage.id > newest - MAX_SCANNED, TicketMessage.kind == MessageKind.TEXT)
        .where(Ticket.archived == false(), _match_all(words, TicketMessage.text))
        .order_by(TicketMessage.id.desc())
        .limit(limit)
    )
    return [
        SearchHit("message", ticket.identifier, ticket.title, ticket.status.value, row.author, row.created,
              split_snippet(row.text, words), f"/ticket/{ticket.identifier}?before={row.seq + 1}#entry-m{row.id}")
        for row, ticket in session.execute(query)
    ]  # fmt: skip


def _search_evidence(session: Session, words: list[str], limit: int) -> list[SearchHit]:
    newest = session.scalar(select(func.max(Evidence.id))) or 0
    query = (
        select(Evidence, Ticket)
        .join(Ticket, Ticket.id == Evidence.ticket_id)
        .where(Evidence.id > newest - MAX_SCANNED, Ticket.archived == false(), _match_all(words, Evidence.summary))
        .order_by(Evidence.id.desc())
        .limit(limit)
    )
    return [
        SearchHit("evidence", ticket.identifier, ticket.title, ticket.status.value, row.author, row.created,
              split_snippet(row.summary, words), f"/ticket/{ticket.identifier}?tab=evidence")
        for row, ticket in session.execute(query)
    ]  # fmt: skip


_FINDERS: dict[str, Callable[[Session, list[str], int], list[SearchHit]]] = {
    "ticket": _search_tickets,
    "comment": _search_comments,
    "message": _search_messages,
    "evidence": _search_evidence,
}


def _match_all(words: list[str], column: SQLColumnExpression[str]) -> ColumnElement[bool]:
    return and_(*(column.icontains(word, autoescape=True) for word in words))


def split_snippet(text: str, words: list[str]) -> list[Part]:
    """Split the text around the first match, in one line, into matches and the text between them."""
    plain = " ".join(FENCE.sub(" ", text).split())
    pattern = re.compile("(" + "|".join(re.escape(word) for word in words) + ")", re.IGNORECASE)
    first = pattern.search(plain)
    start = max(0, first.start() - SNIPPET_LEAD) if first else 0
    excerpt = (
        ("…" if start else "")
        + plain[start : start + SNIPPET_LENGTH]
        + ("…" if start + SNIPPET_LENGTH < len(plain) else "")
    )
    return [(piece, place % 2 == 1) for place, piece in enumerate(pattern.split(excerpt)) if piece]
