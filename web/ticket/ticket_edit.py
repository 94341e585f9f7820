"""Editing of a ticket on its page, by field and by acceptance item, without losing input that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, request

import auth
from database import Session, reading
from tickets.conversation import message_routing, proof_request
from tickets.lifecycle import acceptance, editing
from tickets.lifecycle.acceptance import Item
from tickets.lifecycle.schemas import build_ticket_json
from tickets.runs.notify_run import notify_run
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.lookup import get_ticket
from tickets.shared.ticket_fields import Control, TicketField
from tickets.workflow.item_evidence import ItemState
from web.site import forms, layout, markdown

from . import ticket_fields
from .ticket_forms import Answer, Change, apply_change, may_edit, render_form, render_refused_form

blueprint = Blueprint("ticket_edit", __name__)


def build_edit_forms(session: Session, ticket: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Build the form of each field, or none for a person without the right to edit."""
    return ticket_fields.build_forms(session, ticket, _get_timezone()) if may_edit() else {}


def _get_timezone() -> str:
    return auth.get_instance().settings.timezone


# ------------------------------------------------------------------------------------------------------------- fields


@blueprint.get("/ticket/<reference>/edit/<name>")
@auth.allow(auth.Right.OPERATOR)
def ask_field(reference: str, name: str) -> str:
    """Show the form of one field."""
    return _render_field_form(reference, ticket_fields.find_field(name))


@blueprint.post("/ticket/<reference>/edit/<name>")
def save_field(reference: str, name: str) -> Answer:
    """Save one field unless it has changed since it was read, or with `preview` render its Markdown."""
    field = ticket_fields.find_field(name)
    value, sign = ticket_fields.read_field(field, request.form, _get_timezone()), request.form.get("sign", "")
    typed = value if field.control is Control.TAGS else request.form.get(name, "")
    if "preview" in request.form and field.control is Control.PROSE:
        return _render_field_form(reference, field, value=typed, sign=sign, preview=markdown.render_html(value)), 200

    def again(refusal: DomainError) -> Answer:
        stale = refusal.code == "stale_ticket"
        state = {"value": typed, "error": _find_message(refusal, name)} | ({} if stale else {"sign": sign})
        return _render_field_form(reference, field, stale=stale, **state), refusal.status

    return apply_change(
        reference,
        lambda session, ticket: editing.revise_field(session, ticket, name, value, sign, auth.get_actor()),
        again,
    )


def _render_field_form(reference: str, field: TicketField, stale: bool = False, **state: Any) -> str:
    """Render the form of a field with the entered value and, if `stale`, with the value that somebody else saved."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        present = ticket_fields.build_form(
            field, build_ticket_json(session, [ticket])[0], forms.load_choices(session), _get_timezone()
        )
    now = {"now": present["value"]} if stale else {}
    return render_form(ticket, "ticket/_edit_form", field.label, edit=present | now | state)


def _find_message(refusal: DomainError, name: str) -> str:
    """Return the error message of a field, or else the general one."""
    return str(refusal.detail.get("fields", {}).get(name, refusal.message))


# --------------------------------------------------------------------------------------------------------- acceptance


@blueprint.post("/ticket/<reference>/acceptance")
def mark_items(reference: str) -> Answer:
    """Mark acceptance items as met or not, only those that were changed in this form."""
    before, after = set(request.form.getlist("was")), set(request.form.getlist("met"))
    marks = [
        (Item(place, text), str(place) in after)
        for place, text in enumerate(request.form.getlist("item"))
        if str(place) in before ^ after
    ]
    return _change_list(
        reference, lambda session, ticket: acceptance.mark_items(session, ticket, marks, auth.get_actor())
    )


@blueprint.post("/ticket/<reference>/acceptance/add")
def add_item(reference: str) -> Answer:
    text = request.form.get("text", "")
    return _change_list(reference, lambda session, ticket: acceptance.add_item(session, ticket, text, auth.get_actor()))


@blueprint.post("/ticket/<reference>/acceptance/<int:place>")
def change_item(reference: str, place: int) -> Answer:
    """Reword or remove an acceptance item."""
    item, text = Item(place, request.form.get("item", "")), request.form.get("text", "")
    if "remove" in request.form:
        return _change_list(
            reference, lambda session, ticket: acceptance.remove_item(session, ticket, item, auth.get_actor())
        )
    return _change_list(
        reference, lambda session, ticket: acceptance.reword_item(session, ticket, item, text, auth.get_actor())
    )


@blueprint.post("/ticket/<reference>/acceptance/<int:place>/judge")
def judge_item(reference: str, place: int) -> Answer:
    """Set what a person thinks of an item's evidence, or withdraw it."""
    item, state = Item(place, request.form.get("item", "")), request.form.get("state") or None
    if state is not None and state not in list(ItemState):
        raise Invalid(f"There is no state {state[:40]!r} of an acceptance item.", field="state")
    return _change_list(
        reference,
        lambda session, ticket: acceptance.judge_item(
            session, ticket, item, ItemState(state) if state else None, "", auth.get_actor()
        ),
    )


@blueprint.post("/ticket/<reference>/acceptance/<int:place>/prove")
def ask_for_proof(reference: str, place: int) -> Answer:
    """Ask the agent to prove an item: at once, or with the ticket's return."""
    item, caller = Item(place, request.form.get("item", "")), auth.get_caller()
    routed: list[message_routing.RoutedMessage] = []
    answer = _change_list(
        reference,
        lambda session, ticket: routed.append(
            proof_request.ask_for_proof(session, ticket, item, caller.actor, caller.identity)
        ),
    )
    for message in routed:
        layout.flash_note(message["text"])
        notify_run(auth.get_instance().settings, message["run"])
    return answer


def _change_list(reference: str, edit: Change) -> Answer:
    return apply_change(
        reference,
        edit,
        lambda refusal: render_refused_form(reference, "ticket/_item_form", "Acceptance", refusal),
        "evidence",
    )
