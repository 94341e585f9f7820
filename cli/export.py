"""`mc export`: all tickets with their related rows as JSON lines, for other programs and archives."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import IO, Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import (
    Attachment,
    Base,
    Evidence,
    LineComment,
    Run,
    Ticket,
    TicketComment,
    TicketContext,
    TicketPhase,
    TicketPlan,
    TicketRelationship,
    format_timestamp,
)
from tickets.lifecycle.schemas import build_ticket_json

from .common import reading, require_operator

PAGE_SIZE = 200
RELATED_TABLES: tuple[tuple[str, Any], ...] = (
    ("comments", TicketComment),
    ("line_comments", LineComment),
    ("plans", TicketPlan),
    ("runs", Run),
    ("evidence", Evidence),
    ("relationships", TicketRelationship),
    ("context", TicketContext),
    ("phases", TicketPhase),
    ("attachments", Attachment),
)
SECRET_COLUMNS = frozenset({"token_hash", "board_token_hash", "nonce"})
"""Columns of a run that only its programs may read."""


@click.command(short_help="Write every ticket as JSON, for other programs.")
@click.argument("target", required=False, type=click.Path(path_type=Path, dir_okay=False))
def export(target: Path | None) -> None:
    """Write every ticket with its comments, runs and evidence, one JSON object per line.

    TARGET is a new file, readable by you alone. By default the lines are printed. Events, the agents' output and the
    files of attachments are not included: use a backup for them.
    """
    settings, _ = require_operator()
    with reading(settings) as session, _open_target(target) as file:
        for line in _format_lines(session):
            file.write(line + "\n")


@contextmanager
def _open_target(target: Path | None) -> Iterator[IO[str]]:
    if target is None:
        yield sys.stdout
        return
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yield file


def _format_lines(session: Session) -> Iterator[str]:
    """Yield lines in the order of creation, page by page, with a constant number of queries per page."""
    last_id = 0
    while page := list(session.scalars(select(Ticket).where(Ticket.id > last_id).order_by(Ticket.id).limit(PAGE_SIZE))):
        last_id = page[-1].id
        related = {
            name: _load_by_ticket(session, table, [ticket.id for ticket in page]) for name, table in RELATED_TABLES
        }
        for ticket, fields in zip(page, build_ticket_json(session, page), strict=True):
            record = {**fields, **{name: rows.get(ticket.id, []) for name, rows in related.items()}}
            yield json.dumps(record, ensure_ascii=False, default=_to_json)
        session.expunge_all()


def _load_by_ticket(session: Session, table: Any, ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    rows_by_ticket: dict[int, list[dict[str, Any]]] = {}
    for row in session.scalars(select(table).where(table.ticket_id.in_(ids)).order_by(table.id)):
        rows_by_ticket.setdefault(row.ticket_id, []).append(_read_columns(row))
    return rows_by_ticket


def _read_columns(row: Base) -> dict[str, Any]:
    names = (column.name for column in row.__table__.columns)
    return {name: getattr(row, name) for name in names if name not in SECRET_COLUMNS | {"ticket_id"}}


def _to_json(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else format_timestamp(value)


COMMANDS: tuple[click.Command, ...] = (export,)
