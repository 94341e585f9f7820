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
from tickets.shared.lookup import get

from . import editing, moves, schemas, transitions

MOST = 200
NAMED = 5
"""How many tickets are named with each reason of a refusal."""
UNREACHED = "the store could not be reached; try again"


@dataclass(frozen=True, slots=True)
class Change:
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
        ticket = get(session, reference)
        if self.move:
            return transitions.transition(session, ticket.id, self.move, actor, **self.facts)
        edits = dict(self.fields)
        if self.tag or self.untag:
            present = set(schemas.tags_of(session, [ticket.id]).get(ticket.id, []))
            edits["tags"] = sorted((present | {self.tag} if self.tag else present) - {self.untag})
        body = EditTicket.model_validate({"version": ticket.version, **edits})
        return editing.edit(session, ticket, body, actor)


@dataclass(slots=True)
class Result:
    """What became of a change: who was changed, whose move can be taken back, and for each reason who was refused."""

    changed: list[str] = field(default_factory=list)
    undoable: list[str] = field(default_factory=list)
    refused: dict[str, list[str]] = field(default_factory=dict)

    def take(self, reference: str, work: Callable[[], bool]) -> None:
        """Count one ticket; `work` changes it, and tells whether that can be undone. A store that was not reached once is
        not waited for again and again."""
        if UNREACHED in self.refused:
            self.refused[UNREACHED].append(reference)
            return
        try:
            undoable = work()
        except DomainError as refusal:
            self.refused.setdefault(_why(refusal, reference), []).append(reference)
            return
        except StoreUnavailable:  # those before it are changed, and that has to be said
            self.refused[UNREACHED] = [reference]
            return
        self.changed.append(reference)
        if undoable:
            self.undoable.append(reference)

    def words(self, title: str, done: str) -> str:
        """`Park: 3 of 5 tickets moved. Refused: MC-4, MC-5 (it is done).`"""
        asked = len(self.changed) + sum(map(len, self.refused.values()))
        share = f"{len(self.changed)} of {asked}" if self.refused else str(asked)
        reasons = "; ".join(f"{_named(names)} ({why})" for why, names in self.refused.items())
        said = f"{title}: {share} {'ticket' if asked == 1 else 'tickets'} {done}."
        return f"{said} Refused: {reasons}." if reasons else said


def _why(refusal: DomainError, reference: str) -> str:
    """A refusal's words without the ticket's own name, so that equal ones are told once."""
    words = refusal.message.rstrip(".")
    return words.removeprefix(f"{reference} ").split(": ", 1)[-1] if words.startswith(reference) else words


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
