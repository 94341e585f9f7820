"""Facts about the installation that a person may flip, the epoch of the stream, and leases between hosts."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from database import fetch_rows, once_per_session
from models import Lease, Switch, now

from . import events
from .actors import Actor

PAUSE = "maintenance_pause"
EPOCH = "stream_epoch"
ALL = select(Switch.name, Switch.value)


def read(session: Session, name: str) -> str | None:
    return _all(session).get(name)


@once_per_session
def _all(session: Session) -> dict[str, str]:
    return {row.name: row.value for row in fetch_rows(session, ALL)}


def write(session: Session, name: str, value: str | None, actor: Actor) -> None:
    """Set a switch, or clear it with None."""
    session.execute(delete(Switch).where(Switch.name == name))
    if value is not None:
        session.add(Switch(name=name, value=value, changed_by=actor.name))
    events.append(session, None, "switch_changed", {"switch": name, "value": value}, actor)


def epoch(session: Session) -> str:
    """The epoch of the event log, which a store has from its migration; a restored copy gets a new one."""
    known = read(session, EPOCH)
    assert known is not None, "the first migration gives the store its epoch"
    return known


def paused(session: Session) -> str | None:
    """The reason of the maintenance pause, or None while work goes on."""
    return read(session, PAUSE)


def lease(session: Session, name: str, holder: str, seconds: int) -> str | None:
    """Take or renew a lease; None when it is ours now, else who holds it."""
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


def end_lease(session: Session, name: str, holder: str) -> None:
    session.execute(delete(Lease).where(Lease.name == name, Lease.holder == holder))
