"""The fields of a ticket on the command line: the options of `mc ticket create`, and the values that `mc ticket show` prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from sqlalchemy.orm import Session

from models import Ticket
from tickets.lifecycle.schemas import build_ticket_json
from tickets.shared.inputs import NewTicket
from tickets.shared.ticket_fields import CREATABLE, EDITABLE, Control, TicketField

F = TypeVar("F", bound=Callable[..., Any])
METAVARS = {Control.MOMENT: "TIME"}
FIELDS_WITH_OPTION = [field for field in CREATABLE if field.name != "title"]
"""The title is the argument."""


def add_field_options(command: F) -> F:
    """Add an option for each field; its value arrives under the field's name."""
    for field in reversed(FIELDS_WITH_OPTION):
        command = _build_option(field)(command)
    return command


def _build_option(field: TicketField) -> Callable[[F], F]:
    flag = field.option.flag or f"--{field.name.replace('_', '-')}"
    is_list = field.control in (Control.TAGS, Control.ITEMS)
    default = None if is_list else NewTicket.model_fields[field.name].default
    return click.option(
        flag,
        field.name,
        type=click.Choice(list(field.labels)) if field.labels else None,
        multiple=is_list,
        default=default,
        show_default=bool(default),
        metavar=field.option.metavar or METAVARS.get(field.control),
        help=field.option.help or _describe(field),
    )


def _describe(field: TicketField) -> str | None:
    return (field.creation.help if field.creation else "") or field.help or None


def read_field_values(session: Session, ticket: Ticket) -> dict[str, Any]:
    """The editable fields of a ticket as they are printed, without its acceptance list."""
    values: Mapping[str, Any] = build_ticket_json(session, [ticket])[0]
    fields = [field for field in EDITABLE if field.control is not Control.ITEMS]
    return {field.name: _read_value(field, ticket, values) for field in fields}


def _read_value(field: TicketField, ticket: Ticket, values: Mapping[str, Any]) -> Any:
    """A moment as the store has it, so that it is printed in the local zone."""
    return getattr(ticket, field.column_name) if field.control is Control.MOMENT else values[field.name]
