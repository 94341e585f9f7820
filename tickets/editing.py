"""Editing a ticket's fields: only against the version that was read, with one event that says what was and what is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from models import ActorKind, Priority, Ticket, TicketTag, now

from . import events, team
from .actors import Actor
from .errors import Forbidden, Invalid, StaleTicket
from .facts import EditTicket
from .projects import project_named
from .views import tags_of, ticket_json

NEVER_NULL = ("title", "description", "priority", "tags", "acceptance", "gate", "archived")
PERSONS_ALONE = ("gate", "acceptance", "campaign_owner")
SHOWN_CHARACTERS = 500


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
    changed = write(session, ticket, body.version, _columns(session, sent))
    if "tags" in sent:
        _retag(session, ticket.id, {tag.value for tag in sent["tags"]})
    after = ticket_json(session, [changed])[0]
    difference = {name: [_short(before[name]), _short(after[name])] for name in sent if before[name] != after[name]}  # type: ignore[literal-required]
    events.append(session, ticket.id, "ticket_edited", {"changes": difference, "version": changed.version}, actor)
    return changed


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
        values["assigned_to"] = team.resolve(session, values["assigned_to"])
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
