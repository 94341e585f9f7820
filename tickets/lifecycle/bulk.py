"""One change for many tickets: a move or an edit. Whoever calls this gives each ticket a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from database import StoreUnavailable
from models import Ticket
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.inputs import EditTicket
from tickets.shared.lookup import get_ticket

from . import editing, moves, schemas, transitions

MAX_TICKETS = 200
MAX_NAMES = 5
"""How many tickets are named with each reason of a refusal."""
STORE_UNREACHABLE = "the store could not be reached; try again"


@dataclass(frozen=True, slots=True)
class BulkChange:
    """A `move` with its facts, or what is edited: `fields` as in `EditTicket`, and one tag more or less."""

    move: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    tag: str = ""
    untag: str = ""

    def check(self) -> None:
        """Raises pydantic's ValidationError or `Invalid` for what no ticket could take."""
        if not self.move:
            EditTicket.model_validate({"version": 1, "tags": [self.tag or self.untag or "bug"], **self.fields})
        elif self.move in moves.MOVES:
            moves.MOVES[self.move].facts.model_validate(self.facts)
        else:
            raise Invalid(f"there is no move named {self.move[:40]!r}", field="move", moves=sorted(moves.MOVES))

    def make(self, session: Session, reference: str, actor: Actor) -> Ticket:
        """Change one ticket. Raises what a move or an edit of it raises."""
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
    """What became of a change: who was changed, whose move can be taken back, and for each reason who was refused."""

    changed: list[str] = field(default_factory=list)
    undoable: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def take(self, reference: str, work: Callable[[], bool]) -> None:
        """Count one ticket; `work` changes it, and tells whether that can be undone. A store that was not reached once is
        not waited for again and again."""
        if STORE_UNREACHABLE in self.refused:
            self.refused[STORE_UNREACHABLE].append(reference)
            return
        try:
            undoable = work()
        except DomainError as refusal:
            self.refused.setdefault(_format_reason(refusal, reference), []).append(reference)
            return
        except StoreUnavailable:  # those before it are changed, and that has to be said
            self.refused[STORE_UNREACHABLE] = [reference]
            return
        self.changed.append(reference)
        if undoable:
            self.undoable.append(reference)

    def words(self, title: str, done: str) -> str:
        """`Park: 3 of 5 tickets moved. Refused: MC-4, MC-5 (it is done).`"""
        total = len(self.changed) + sum(map(len, self.refused.values()))
        share = f"{len(self.changed)} of {total}" if self.refused else str(total)
        reasons = "; ".join(f"{_join_names(names)} ({reason})" for reason, names in self.refused.items())
        text = f"{title}: {share} {'ticket' if total == 1 else 'tickets'} {done}."
        return f"{text} Refused: {reasons}." if reasons else text


def _format_reason(refusal: DomainError, reference: str) -> str:
    """A refusal's words without the ticket's own name, so that equal ones are told once."""
    words = refusal.message.rstrip(".")
    return words.removeprefix(f"{reference} ").split(": ", 1)[-1] if words.startswith(reference) else words


def _join_names(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + more
