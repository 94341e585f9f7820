"""`mc export`: every ticket with all that belongs to it, a line of JSON each, for other programs and other times."""

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
    Run,
    Ticket,
    TicketComment,
    TicketContext,
    TicketPhase,
    TicketRelationship,
    format_timestamp,
)
from tickets.lifecycle.schemas import ticket_json

from .common import operator, reading

PAGE = 200
BELONGINGS: tuple[tuple[str, Any], ...] = (
    ("comments", TicketComment),
    ("runs", Run),
    ("evidence", Evidence),
    ("relationships", TicketRelationship),
    ("context", TicketContext),
    ("phases", TicketPhase),
    ("attachments", Attachment),
)
LEFT_OUT = frozenset({"token_hash", "nonce"})
"""Of a run: what only its programs know."""


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path, dir_okay=False))
def export(target: Path | None) -> None:
    """Write every ticket with its comments, runs and evidence, a line of JSON each.

    TARGET is a new file, readable by you alone; without it the lines are printed. Events, the agents' own words and the
    files of attachments are not in it: a backup has them.
    """
    settings, _ = operator()
    with reading(settings) as session, _opened(target) as file:
        for line in _lines(session):
            file.write(line + "\n")


@contextmanager
def _opened(target: Path | None) -> Iterator[IO[str]]:
    if target is None:
        yield sys.stdout
        return
    try:
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise click.ClickException(f"{target} cannot be written: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        yield file


def _lines(session: Session) -> Iterator[str]:
    """In the order of their making, a page at a time, with the same number of questions for each page."""
    last = 0
    while page := list(session.scalars(select(Ticket).where(Ticket.id > last).order_by(Ticket.id).limit(PAGE))):
        last = page[-1].id
        belongings = {name: _by_ticket(session, table, [ticket.id for ticket in page]) for name, table in BELONGINGS}
        for ticket, told in zip(page, ticket_json(session, page), strict=True):
            whole = {**told, **{name: found.get(ticket.id, []) for name, found in belongings.items()}}
            yield json.dumps(whole, ensure_ascii=False, default=_plain)
        session.expunge_all()


def _by_ticket(session: Session, table: Any, ids: list[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in session.scalars(select(table).where(table.ticket_id.in_(ids)).order_by(table.id)):
        found.setdefault(row.ticket_id, []).append(_columns(row))
    return found


def _columns(row: Base) -> dict[str, Any]:
    names = (column.name for column in row.__table__.columns)
    return {name: getattr(row, name) for name in names if name not in LEFT_OUT | {"ticket_id"}}


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else format_timestamp(value)


COMMANDS: tuple[click.Command, ...] = (export,)
