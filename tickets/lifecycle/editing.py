"""Edits of a ticket's fields, with a version check and one event that records old and new values."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from models import UNRANKED, ActorKind, Ticket, TicketStatus, TicketTag, format_timestamp, now
from tickets.shared import events, rights, ticket_fields
from tickets.shared import tags as tags_module
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, Invalid, StaleTicket
from tickets.shared.inputs import EditTicket
from tickets.shared.rights import Act
from tickets.shared.ticket_fields import TicketField
from tickets.workflow import evidence_gates, item_evidence, ticket_phases

from .column_values import column_values
from .schemas import build_ticket_json, load_tags

MAX_VALUE_CHARACTERS = 500
MAX_EVENTS = 100
"""Maximum number of events read to find the last editor of a field."""


def edit_ticket(
    session: Session, ticket: Ticket, body: EditTicket, actor: Actor, *, records_marks: bool = True
) -> Ticket:
    """Apply the fields that were sent. A body without changes leaves the version as it is.

    Changed marks of acceptance items are recorded as decisions, unless the caller records its own.

    Raises `StaleTicket` when the version has changed, `Invalid` for unknown names and for null in a required field.
    """
    fields = [field for field in ticket_fields.EDITABLE if field.name in body.model_fields_set]
    new_values = {field.name: getattr(body, field.name) for field in fields}
    if empty := [field.name for field in fields if new_values[field.name] is None and not field.nullable]:
        raise Invalid("These fields cannot be empty.", fields=dict.fromkeys(empty, "must not be null"))
    _require_right(ticket, fields, actor)
    if ticket.version != body.version:
        raise StaleTicket(ticket=ticket.identifier, version=ticket.version)
    before = build_ticket_json(session, [ticket])[0]
    values = {
        name: value for name, value in column_values(session, new_values).items() if getattr(ticket, name) != value
    }
    tags = set(new_values["tags"]) if "tags" in new_values else set(before["tags"])
    if not values and tags == set(before["tags"]):
        return ticket
    if "project_id" in values:
        values["rank"] = UNRANKED  # a person gave it among the tickets of the former project
    items_before, rules_before = ticket.acceptance, evidence_gates.list_rules(session, ticket)
    updated = update_ticket(session, ticket, body.version, values)
    if "gate" in values:
        ticket_phases.record_gate(session, updated)
    if "acceptance" in values and records_marks:
        item_evidence.record_marks(session, updated, items_before, updated.acceptance, actor)
    if tags != set(before["tags"]):
        tags_module.require_usable(session, tags - set(before["tags"]), actor)
        _replace_tags(session, ticket.id, tags)
    evidence_gates.require_kept_rules(session, updated, rules_before, actor)
    after = build_ticket_json(session, [updated])[0]
    difference = {name: [_clip(before[name]), _clip(after[name])] for name in new_values if before[name] != after[name]}
    events.append(session, ticket.id, "ticket_edited", {"changes": difference, "version": updated.version}, actor)
    return updated


def revise_field(session: Session, ticket: Ticket, name: str, value: Any, fingerprint: str, actor: Actor) -> Ticket:
    """Edit one field, regardless of concurrent changes to other fields.

    `fingerprint` is the `fingerprint_value` of the value read. Raises `StaleTicket`, which names the last editor of the
    field, and the errors of `edit_ticket`.
    """
    body = EditTicket.model_validate({"version": ticket.version, name: value})
    present = fingerprint_value(build_ticket_json(session, [ticket])[0][name])
    if present not in (fingerprint, fingerprint_value(_to_json(getattr(body, name)))):
        raise _build_stale_error(session, ticket, name, actor)
    return edit_ticket(session, ticket, body, actor)


def fingerprint_value(value: Any) -> str:
    """Return a short hash of a field's value as in `build_ticket_json`, to detect changes."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return format_timestamp(value)
    return sorted(value) if isinstance(value, list) else value


def _build_stale_error(session: Session, ticket: Ticket, name: str, actor: Actor) -> StaleTicket:
    by = _find_last_editor(session, ticket.id, name)
    return StaleTicket(
        f"{'You' if by == actor.name else by or 'Somebody'} changed the {ticket_fields.describe_field(name)} while you were editing."
        " Your text is kept: save again to replace the current value.",
        ticket=ticket.identifier,
        version=ticket.version,
        field=name,
        by=by,
    )


def _find_last_editor(session: Session, ticket_id: int, name: str) -> str | None:
    """Find the actor who changed this field last, by an edit or with a move."""
    event_filter = events.EventFilter(ticket_id=ticket_id, kinds=("ticket_",))
    for event in events.load_feed(session, event_filter, limit=MAX_EVENTS).events:
        sources = (event.payload, event.payload.get("changes", {}), event.payload.get("was", {}))
        if any(name in part for part in sources):
            return event.actor
    return None


def _require_right(ticket: Ticket, fields: list[TicketField], actor: Actor) -> None:
    """Raise `Forbidden` when a program edits the conditions for completion, which it must not lower for itself.

    Triage edits its own fields only, of tickets that are to be triaged.
    """
    rights.require_editable(actor, [field.name for field in fields])
    if actor.kind is ActorKind.TRIAGE and ticket.status is not TicketStatus.INBOX:
        raise Forbidden(f"Triage edits tickets of the inbox, and {ticket.identifier} is not in it.")
    restricted = [field.name for field in fields if field.is_for_people]
    if restricted:
        rights.require(actor, Act.SET_TERMS, fields=dict.fromkeys(restricted, "is for people"))


def update_ticket(session: Session, ticket: Ticket, version: int, values: dict[str, Any]) -> Ticket:
    updated = session.scalar(
        update(Ticket)
        .where(Ticket.id == ticket.id, Ticket.version == version)
        .values(version=version + 1, updated=now(), **values)
        .returning(Ticket)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if updated is None:
        raise StaleTicket(ticket=ticket.identifier)
    return updated


def _replace_tags(session: Session, ticket_id: int, tags: set[str]) -> None:
    present = set(load_tags(session, [ticket_id]).get(ticket_id, []))
    session.execute(delete(TicketTag).where(TicketTag.ticket_id == ticket_id, TicketTag.tag.in_(present - tags)))
    session.add_all(TicketTag(ticket_id=ticket_id, tag=tag) for tag in tags - present)
    session.flush()


def _clip(value: Any) -> Any:
    return value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value
