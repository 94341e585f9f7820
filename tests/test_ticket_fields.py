"""The table of a ticket's fields agrees with models and columns."""

from __future__ import annotations

from typing import get_args

from models import Gate, Ticket
from tickets.shared.inputs import EditTicket, Level, NewTicket
from tickets.shared.ticket_fields import BY_NAME, CREATABLE, EDITABLE, FIELDS, Control, TicketJson

NOT_FIELDS = {"status", "wake", "phases", "child_of", "relationships"}
"""What a new ticket's request states beside fields."""


def test_the_request_models_have_exactly_the_fields_of_the_table() -> None:
    assert set(NewTicket.model_fields) - NOT_FIELDS == {field.name for field in CREATABLE}
    assert set(EditTicket.model_fields) - {"version"} == {field.name for field in EDITABLE}


def test_the_response_has_every_field_that_a_request_may_state() -> None:
    assert {field.name for field in (*CREATABLE, *EDITABLE)} <= set(TicketJson.__annotations__)


def test_a_field_is_nullable_where_its_column_is() -> None:
    columns = Ticket.__table__.columns
    stored = [field for field in EDITABLE if field.column_name]
    assert {field.name: field.nullable for field in stored} == {
        field.name: columns[field.column_name].nullable for field in stored
    }
    assert all(field.column_name in columns for field in FIELDS if field.column_name)


def test_every_choice_is_accepted_by_the_request_models() -> None:
    assert set(BY_NAME["priority"].labels) == set(get_args(Level))
    assert set(BY_NAME["gate"].labels) == {gate.value for gate in Gate}
    selects = [field for field in EDITABLE if field.control is Control.SELECT]
    assert all(bool(field.labels) != bool(field.choices) for field in selects)
    assert all(bool(field.empty_label) == field.nullable for field in selects)
