"""Bulk changes: one move or edit for many tickets, each in a transaction of its own (opened by the caller)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from database import StoreUnavailable
from models import Ticket
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.shared.inputs import EditTicket
from tickets.shared.lookup import get_ticket

from . import editing, moves, schemas, transitions

MAX_TICKETS = 200
MAX_NAMES = 5
"""Maximum number of tickets named per reason of refusal."""
STORE_UNREACHABLE = "the store could not be reached; try again"


@dataclass(frozen=True, slots=True)
class BulkChange:
    """A `move` with its facts, or an edit with `fields` as in `EditTicket` and one tag to add or remove."""

    move: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    tag: str = ""
    untag: str = ""

    def check(self) -> None:
        """Validate the change. Raises Pydantic's ValidationError or `Invalid` for a change that no ticket accepts."""
        if self.move:
            moves.find_move(self.move).parse_facts(self.facts)
        else:
            EditTicket.model_validate({"version": 1, "tags": [self.tag or self.untag or "bug"], **self.fields})

    def make(self, session: Session, reference: str, actor: Actor) -> Ticket:
        """Change one ticket. Raises the errors of the move or edit."""
        ticket = get_ticket(session, reference)
        if self.move:
            return transitions.transition(session, ticket.id, self.move, actor, **self.facts)
        edits = dict(self.fields)
        if self.tag or self.untag:
            present = set(schemas.load_tags(session, [ticket.id]).get(ticket.id, []))
            edits["tags"] = sorted((present | {self.tag} if self.tag else present) - {self.untag})
        body = EditTicket.model_validate({"version": ticket.version, **edits})
        return editing.edit_ticket(session, ticket, body, actor)


@dataclass(slots=True)
class BulkResult:
    """Result of a bulk change: changed tickets, those whose move can be undone, and refused tickets by reason."""

    changed: list[str] = field(default_factory=list)
    undoable: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def take(self, reference: str, work: Callable[[], bool]) -> None:
        """Change one ticket with `work`, which returns whether the change can be undone, and count the result.

        After the store was unreachable once, the remaining tickets are refused without another attempt.
        """
        if STORE_UNREACHABLE in self.refused:
            self.refused[STORE_UNREACHABLE].append(reference)
            return
        try:
            undoable = work()
        except DomainError as refusal:
            self.refused.setdefault(_format_reason(refusal, reference), []).append(reference)
            return
        except StoreUnavailable:  # reported, not raised: earlier tickets are already changed
            self.refused[STORE_UNREACHABLE] = [reference]
            return
        self.changed.append(reference)
        if undoable:
            self.undoable.append(reference)

    def words(self, title: str, done: str) -> str:
        """Format the result: `Park: 3 of 5 tickets moved. Refused: MC-4, MC-5 (its state is Done).`"""
        total = len(self.changed) + sum(map(len, self.refused.values()))
        share = f"{len(self.changed)} of {total}" if self.refused else str(total)
        reasons = "; ".join(f"{_join_names(names)} ({reason})" for reason, names in self.refused.items())
        text = f"{title}: {share} {'ticket' if total == 1 else 'tickets'} {done}."
        return f"{text} Refused: {reasons}." if reasons else text


def _format_reason(refusal: DomainError, reference: str) -> str:
    """Return an error message without the ticket's identifier, so that equal reasons are grouped."""
    words = refusal.message.rstrip(".")
    return words.removeprefix(f"{reference} ").split(": ", 1)[-1] if words.startswith(reference) else words


def _join_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
