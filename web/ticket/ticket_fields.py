"""Forms of a ticket's fields (`tickets/shared/ticket_fields.py`): their form controls, and parsing of submitted forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from database import Session
from tickets.lifecycle import editing
from tickets.shared.errors import NotFound
from tickets.shared.inputs import NewTicket
from tickets.shared.ticket_fields import BY_NAME, CREATABLE, EDITABLE, Control, Group, TicketField
from web.site import forms

Form = MultiDict[str, str]
View = dict[str, Any]
Choices = Mapping[str, list[tuple[str, str]]]


def read_field(field: TicketField, form: Form, zone: str) -> Any:
    """Read the value of a field from a form, as input of the request models."""
    text = form.get(field.name, "").strip()
    match field.control:
        case Control.TAGS:
            return split_tags(form.getlist(field.name))
        case Control.FLAG:
            return text == "yes"
        case Control.MOMENT:
            return forms.parse_local_time(text, zone) if text else None
        case Control.PROSE:
            return form.get(field.name, "").replace("\r\n", "\n")
        case Control.ITEMS:
            return [line.strip() for line in text.splitlines() if line.strip()]
    return text or (None if field.nullable else "")


def split_tags(texts: Iterable[str]) -> list[str]:
    """Split chosen and typed tags, separated by commas or spaces and with or without #."""
    return list(dict.fromkeys(word.lower().lstrip("#") for text in texts for word in text.replace(",", " ").split()))


# ---------------------------------------------------------------------------------------------------- existing tickets


def find_field(name: str) -> TicketField:
    """Return the field of this name that can be edited in a form. Raises `NotFound`."""
    field = BY_NAME.get(name)
    if field is None or not _has_form(field):
        raise NotFound("Unknown field, or one that cannot be edited here.", field=name[:40])
    return field


def _has_form(field: TicketField) -> bool:
    return field.editable and field.control is not Control.ITEMS


def build_form(field: TicketField, ticket: Mapping[str, Any], choices: Choices, zone: str) -> View:
    """Build the form of a field with its current value, and with `sign`, the fingerprint that detects later changes."""
    present = ticket[field.name]
    value = forms.format_local_time(present, zone) if field.control is Control.MOMENT else present or ""
    return {
        "name": field.name,
        "label": field.label,
        "kind": field.control.value,
        "type": field.input_type,
        "required": field.control is Control.TEXT and not field.nullable,
        "help": field.help or _zone_help(field, zone),
        "value": value,
        "options": _options(field, choices, value),
        "sign": editing.fingerprint_value(present),
    }


def build_forms(session: Session, ticket: Mapping[str, Any], zone: str) -> dict[str, View]:
    """Build the forms of all editable fields, by name."""
    choices = forms.load_choices(session)
    return {field.name: build_form(field, ticket, choices, zone) for field in EDITABLE if _has_form(field)}


def _zone_help(field: TicketField, zone: str) -> str | None:
    return f"In {zone}." if field.control is Control.MOMENT else None


def _options(field: TicketField, choices: Choices, value: Any = "") -> list[tuple[str, str]]:
    """List the options of a field, including the current value even if it is no longer offered."""
    options = list(choices[field.choices] if field.choices else field.labels.items())
    if field.control is Control.SELECT and value and value not in dict(options):
        options.append((value, value))
    return [("", field.empty_label), *options] if field.empty_label else options


# -------------------------------------------------------------------------------------------------------- new tickets


ON_NEW_TICKET = {field.name: field for field in CREATABLE if field.creation and field.creation.group}


def read_new_ticket(form: Form, zone: str) -> View:
    """Read the fields of the new-ticket form that have a value."""
    return {name: read_field(field, form, zone) for name, field in ON_NEW_TICKET.items() if form.get(name)}


def build_new_inputs(form: Form, errors: Mapping[str, str], choices: Choices, zone: str) -> dict[str, list[View]]:
    """Build the inputs of the new-ticket form by group, with the entered values and errors."""
    return {
        group.value: [
            _build_new_input(field, form, errors, choices, zone)
            for field in CREATABLE
            if field.creation and field.creation.group is group
        ]
        for group in Group
    }


def _build_new_input(field: TicketField, form: Form, errors: Mapping[str, str], choices: Choices, zone: str) -> View:
    assert field.creation
    return {
        "name": field.name,
        "label": field.creation.label or field.label,
        "type": field.input_type,
        "value": form.get(field.name, NewTicket.model_fields[field.name].default),
        "help": field.creation.help or field.help or _zone_help(field, zone),
        "error": errors.get(field.name),
        "options": _options(field, choices),
    }
