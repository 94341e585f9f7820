"""Shared helpers of the commands: the store, the operator, and output as table or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import click
from pydantic import ValidationError
from sqlalchemy import Engine
from sqlalchemy.orm import Session

import database
import migrations
from settings import Settings, load
from tickets.shared.actors import Actor
from tickets.shared.errors import convert_validation_error
from tickets.shared.inputs import Body, is_control

B = TypeVar("B", bound=Body)

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")


def require_operator() -> tuple[Settings, Actor]:
    """Load the settings and the operator. Refused inside a run, as an agent must use the coordination tools."""
    settings = load()
    if settings.ambient.run_id:
        raise click.ClickException(
            f"This shell belongs to run {settings.ambient.run_id} (MC_RUN_ID is set), and a run may not act as the"
            " operator: use the coordination tools."
        )
    return settings, Actor.human()


@contextmanager
def open_store(settings: Settings) -> Iterator[Engine]:
    """Open the store's engine for one command. Refused when its schema does not match this version."""
    engine = database.open_engine(settings.database_url)
    try:
        if trouble := migrations.explain_mismatch(engine):
            raise click.ClickException(trouble)
        yield engine
    finally:
        engine.dispose()


@contextmanager
def writing(settings: Settings) -> Iterator[Session]:
    with open_store(settings) as engine, database.writing(engine) as session:
        yield session


@contextmanager
def reading(settings: Settings) -> Iterator[Session]:
    with open_store(settings) as engine, database.reading(engine) as session:
        yield session


def validate_fields(model: type[B], **fields: Any) -> B:
    """Validate the fields as `model`. `Invalid` names each wrong one."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise convert_validation_error(error) from None


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print a table for people, as wide as its contents, or one JSON array."""
    if as_json:
        click.echo(json.dumps(rows, default=_to_text, indent=2))
        return
    if not rows:
        click.echo("Nothing found.")
        return
    lines = [[name.upper() for name in rows[0]], *([_format_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_one(facts: Mapping[str, Any], *, as_json: bool) -> None:
    """Print `name: value` lines for one object, with one line per list item, or one JSON object."""
    if as_json:
        click.echo(json.dumps(facts, default=_to_text, indent=2))
        return
    for name, value in facts.items():
        lines = [f"\n  {_format_cell(item)}" for item in value] if isinstance(value, list) else [_format_cell(value)]
        click.echo(f"{name}: {''.join(lines)}".rstrip())


def _format_cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(_format_cell, value)) if isinstance(value, tuple) else escape_controls(str(value))


def escape_controls(text: str) -> str:
    """Escape control characters but newlines, since an agent may have written the text to be printed."""
    return "".join(
        character.encode("unicode_escape").decode() if is_control(character) and character != "\n" else character
        for character in text
    )


def _to_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
