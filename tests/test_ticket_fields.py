"""The table of a ticket's fields: it agrees with models and columns, and a new plain field takes four files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import migrations
from models import Gate, Ticket
from tickets.shared.inputs import EditTicket, Level, NewTicket
from tickets.shared.ticket_fields import BY_NAME, CREATABLE, EDITABLE, FIELDS, Control, TicketJson

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ROOT / "tests" / "changes"
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


def test_a_plain_field_takes_four_files(tmp_path: Path) -> None:
    """Apply the recorded change to a copy of the tree and use the field there."""
    copy, home = tmp_path / "copy", tmp_path / "home"
    home.mkdir()
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "tests", "docs", "bench", "node_modules", "build"))
    patch = (CHANGES / "field.patch").read_text("utf-8").replace('"0006"', f'"{migrations.find_newest()}"')
    git(copy, "apply", stdin=patch)
    assert len(git(copy, "apply", "--numstat", "--reverse", stdin=patch).splitlines()) <= 4

    places = use_field(copy, home)
    assert (places["created"]["reference"], places["edited"]["reference"]) == ("X-1", None)
    assert list(places["created"])[9:11] == ["project", "reference"]
    assert "<dt>Reference</dt>" in places["side panel"] and ">X-1</span>" in places["side panel"]
    assert 'name="reference"' in places["edit form"] and 'value="X-1"' in places["edit form"]
    assert 'name="reference"' in places["form of a new ticket"]
    assert "--reference TEXT" in places["command line"]
    assert "edited reference of" in places["activity"]


def use_field(copy: Path, home: Path) -> dict[str, Any]:
    environment = os.environ | {"PYTHONPATH": str(copy), "MC_HOME": str(home)}
    command = [sys.executable, str(CHANGES / "use_field.py"), str(home)]
    printed = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=True).stdout
    places: dict[str, Any] = json.loads(printed)
    return places


def git(folder: Path, *arguments: str, stdin: str) -> str:
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    command = ["git", *arguments, "-"]
    return subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=True
    ).stdout
