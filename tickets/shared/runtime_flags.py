"""Flags of the installation that a person may set, the epoch of the event stream, and leases between hosts."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from database import fetch_rows, once_per_session
from models import Lease, Switch, now

from . import events, rights
from .actors import Actor
from .rights import Act

PAUSE = "maintenance_pause"
EPOCH = "stream_epoch"
INBOX_TICKET = "inbox_ticket"
"""The id of the ticket through which the orchestrator works the inbox."""
FLAGS = select(Switch.name, Switch.value)


def get_flag(session: Session, name: str) -> str | None:
    return _load_flags(session).get(name)


@once_per_session
def _load_flags(session: Session) -> dict[str, str]:
    return {row.name: row.value for row in fetch_rows(session, FLAGS)}


def set_flag(session: Session, name: str, value: str | None, actor: Actor) -> None:
    """Set a flag, or clear it with None."""
    rights.require(actor, Act.ADMINISTER)
    session.execute(delete(Switch).where(Switch.name == name))
    if value is not None:
        session.add(Switch(name=name, value=value, changed_by=actor.name))
    events.append(session, None, "switch_changed", {"switch": name, "value": value}, actor)


def get_epoch(session: Session) -> str:
    """Return the epoch of the event log, set by the first migration and replaced in a restored copy."""
    epoch_value = get_flag(session, EPOCH)
    assert epoch_value is not None, "the first migration gives the store its epoch"
    return epoch_value


def get_pause_reason(session: Session) -> str | None:
    """Return the reason of the maintenance pause, or None when there is no pause."""
    return get_flag(session, PAUSE)


def get_inbox_ticket(session: Session) -> int | None:
    """Return the id of the ticket through which the orchestrator works the inbox, or None while there is none."""
    value = get_flag(session, INBOX_TICKET)
    return int(value) if value else None


def take_lease(session: Session, name: str, holder: str, seconds: int) -> str | None:
    """Acquire or renew a lease, and return None on success, else the current holder."""
    moment = now()
    row = session.get(Lease, name)
    if row is None:
        session.add(Lease(name=name, holder=holder, until=moment + timedelta(seconds=seconds)))
        return None
    if row.holder != holder and row.until > moment:
        return row.holder
    session.execute(
        update(Lease).where(Lease.name == name).values(holder=holder, until=moment + timedelta(seconds=seconds))
    )
    return None


def is_leased(session: Session, name: str) -> bool:
    row = session.get(Lease, name)
    return row is not None and row.until > now()


def end_lease(session: Session, name: str, holder: str) -> None:
    session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))
