"""Editing a ticket on its page, field by field and item by item; what was typed outlives every refusal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request

import auth
from database import Session, reading
from tickets.lifecycle import acceptance, editing
from tickets.lifecycle.acceptance import Item
from tickets.lifecycle.schemas import ticket_json
from tickets.shared.errors import DomainError
from tickets.shared.lookup import get
from web.site import markdown

from . import ticket_fields
from .ticket_fields import Field
from .ticket_forms import Answer, Change, change, drawn, form_again, may_edit

blueprint = Blueprint("ticket_edit", __name__)


def editable(session: Session, ticket: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The form of each field for whoever looks at the page; none for those who only look."""
    return ticket_fields.views(session, ticket, _zone()) if may_edit() else {}


def _zone() -> str:
    return auth.instance().settings.timezone


# ------------------------------------------------------------------------------------------------------------- fields


@blueprint.get("/ticket/<reference>/edit/<name>")
@auth.allow(auth.Right.OPERATOR)
def ask_field(reference: str, name: str) -> str:
    """The form of one field alone."""
    return _field_form(reference, ticket_fields.named(name))


@blueprint.post("/ticket/<reference>/edit/<name>")
def save_field(reference: str, name: str) -> Answer:
    """Save one field against what was read of it; with `preview`, show what it will look like instead."""
    field = ticket_fields.named(name)
    value, sign = field.read(request.form, _zone()), request.form.get("sign", "")
    typed = value if field.kind == "tags" else request.form.get(name, "")
    if "preview" in request.form and field.kind == "prose":
        return _field_form(reference, field, value=typed, sign=sign, preview=markdown.html(value)), 200

    def again(refused: DomainError) -> Answer:
        stale = refused.code == "stale_ticket"
        kept = {"value": typed, "error": _said(refused, name)} | ({} if stale else {"sign": sign})
        return _field_form(reference, field, stale=stale, **kept), refused.status

    return change(
        reference, lambda session, ticket: editing.revise(session, ticket, name, value, sign, auth.actor()), again
    )


def _field_form(reference: str, field: Field, stale: bool = False, **kept: Any) -> str:
    """The form of one field as it was left; where somebody was faster, with what stands there now."""
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
        present = field.view(ticket_json(session, [ticket])[0], ticket_fields.choices(session), _zone())
    now = {"now": present["value"]} if stale else {}
    return drawn(ticket, "_edit_form", field.label, edit=present | now | kept)


def _said(refused: DomainError, name: str) -> str:
    """What a refusal says of this field, or of everything."""
    return str(refused.detail.get("fields", {}).get(name, refused.message))


# --------------------------------------------------------------------------------------------------------- acceptance


@blueprint.post("/ticket/<reference>/acceptance")
def mark_items(reference: str) -> Answer:
    """Say which acceptance items are met; what was not changed here stays as it is by now."""
    before, after = set(request.form.getlist("was")), set(request.form.getlist("met"))
    marks = [
        (Item(place, text), str(place) in after)
        for place, text in enumerate(request.form.getlist("item"))
        if str(place) in before ^ after
    ]
    return _change_list(reference, lambda session, ticket: acceptance.mark(session, ticket, marks, auth.actor()))


@blueprint.post("/ticket/<reference>/acceptance/add")
def add_item(reference: str) -> Answer:
    text = request.form.get("text", "")
    return _change_list(reference, lambda session, ticket: acceptance.add(session, ticket, text, auth.actor()))


@blueprint.post("/ticket/<reference>/acceptance/<int:place>")
def change_item(reference: str, place: int) -> Answer:
    """Say an item differently, or take it off the list."""
    item, text = Item(place, request.form.get("item", "")), request.form.get("text", "")
    if "remove" in request.form:
        return _change_list(reference, lambda session, ticket: acceptance.remove(session, ticket, item, auth.actor()))
    return _change_list(reference, lambda session, ticket: acceptance.reword(session, ticket, item, text, auth.actor()))


def _change_list(reference: str, made: Change) -> Answer:
    return change(
        reference, made, lambda refused: form_again(reference, "_item_form", "Acceptance", refused), "evidence"
    )
