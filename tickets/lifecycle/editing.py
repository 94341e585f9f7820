"""Editing a ticket's fields: only against what was read, with one event that says what was and what is."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from models import ActorKind, Priority, Ticket, TicketTag, format_timestamp, now
from tickets.shared import display_names, events
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, Invalid, StaleTicket
from tickets.shared.inputs import EditTicket
from tickets.team import agents
from tickets.team.projects import project_named

from .schemas import tags_of, ticket_json

NEVER_NULL = ("title", "description", "priority", "tags", "acceptance", "gate", "archived")
PERSONS_ALONE = ("gate", "acceptance", "campaign_owner")
SHOWN_CHARACTERS = 500
LOOKED_BACK = 100
"""How many of a ticket's events are read to say who changed a field."""


def edit(session: Session, ticket: Ticket, body: EditTicket, actor: Actor) -> Ticket:
    """Apply the fields that were sent; a body that changes nothing leaves the version as it is.

    Raises `StaleTicket` when the ticket has changed since, `Invalid` for unknown names and for null where none may be.
    """
    sent = {name: getattr(body, name) for name in body.model_fields_set if name != "version"}
    empty = [name for name in NEVER_NULL if name in sent and sent[name] is None]
    if empty:
        raise Invalid("these fields cannot be empty", fields=dict.fromkeys(empty, "must not be null"))
    _require_right(sent, actor)
    if ticket.version != body.version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    before = ticket_json(session, [ticket])[0]
    values = {name: value for name, value in _columns(session, sent).items() if getattr(ticket, name) != value}
    tags = {tag.value for tag in sent["tags"]} if "tags" in sent else set(before["tags"])
    if not values and tags == set(before["tags"]):
        return ticket
    changed = write(session, ticket, body.version, values)
    if tags != set(before["tags"]):
        _retag(session, ticket.id, tags)
    after = ticket_json(session, [changed])[0]
    difference = {name: [_short(before[name]), _short(after[name])] for name in sent if before[name] != after[name]}  # type: ignore[literal-required]
    events.append(session, ticket.id, "ticket_edited", {"changes": difference, "version": changed.version}, actor)
    return changed


def revise(session: Session, ticket: Ticket, name: str, value: Any, seen: str, actor: Actor) -> Ticket:
    """Edit one field as a person does: what became of the rest of the ticket meanwhile does not stand in the way.

    `seen` is the `sign` of what was read. Raises `StaleTicket`, which says who changed the field since, and what `edit` raises.
    """
    body = EditTicket.model_validate({"version": ticket.version, name: value})
    present = sign(ticket_json(session, [ticket])[0][name])  # type: ignore[literal-required]
    if present not in (seen, sign(_as_shown(getattr(body, name)))):
        raise _stale(session, ticket, name, actor)
    return edit(session, ticket, body, actor)


def sign(value: Any) -> str:
    """A short sign by which a field's value, as `ticket_json` has it, is known again."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _as_shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_timestamp(value)
    return sorted(value) if isinstance(value, list) else value


def _stale(session: Session, ticket: Ticket, name: str, actor: Actor) -> StaleTicket:
    by = _last_editor(session, ticket.id, name)
    return StaleTicket(
        f"{'You' if by == actor.name else by or 'Somebody'} changed the {display_names.field(name)} after you had read it."
        " What you wrote is kept: save it again to put it in place of what stands there now.",
        ticket=ticket.identifier,
        version=ticket.version,
        field=name,
        by=by,
    )


def _last_editor(session: Session, ticket_id: int, name: str) -> str | None:
    """Who changed this field last, by an edit or with a move."""
    wanted = events.Wanted(ticket_id=ticket_id, kinds=("ticket_",))
    for event in events.feed(session, wanted, limit=LOOKED_BACK).events:
        told = (event.payload, event.payload.get("changes", {}), event.payload.get("was", {}))
        if any(name in part for part in told):
            return event.actor
    return None


def _require_right(sent: dict[str, Any], actor: Actor) -> None:
    """What decides when work counts as done is for people alone: a program must not lower the bar it is held to."""
    decided = [name for name in PERSONS_ALONE if name in sent]
    if decided and actor.kind is not ActorKind.HUMAN:
        raise Forbidden(f"Only a person edits {' and '.join(decided)}.", fields=dict.fromkeys(decided, "is for people"))


def _columns(session: Session, sent: dict[str, Any]) -> dict[str, Any]:
    values = {name: value for name, value in sent.items() if name not in ("tags", "project")}
    if "project" in sent:
        values["project_id"] = project_named(session, sent["project"]).id if sent["project"] else None
    if values.get("assigned_to"):
        values["assigned_to"] = agents.resolve(session, values["assigned_to"])
    if "priority" in values:
        values["priority"] = Priority[values["priority"].upper()]
    if "acceptance" in values:
        values["acceptance"] = [criterion.model_dump() for criterion in values["acceptance"]]
    return values


def write(session: Session, ticket: Ticket, version: int, values: dict[str, Any]) -> Ticket:
    changed = session.scalar(
        update(Ticket)
        .where(Ticket.id == ticket.id, Ticket.version == version)
        .values(version=version + 1, updated=now(), **values)
        .returning(Ticket)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if changed is None:
        raise StaleTicket(ticket=ticket.identifier)
    return changed


def _retag(session: Session, ticket_id: int, wanted: set[str]) -> None:
    present = set(tags_of(session, [ticket_id]).get(ticket_id, []))
    session.execute(delete(TicketTag).where(TicketTag.ticket_id == ticket_id, TicketTag.tag.in_(present - wanted)))
    session.add_all(TicketTag(ticket_id=ticket_id, tag=tag) for tag in wanted - present)
    session.flush()


def _short(value: Any) -> Any:
    return value[:SHOWN_CHARACTERS] if isinstance(value, str) else value
