"""Facts about the installation that a person may flip, the epoch of the stream, and leases between hosts."""

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
FLAGS = select(Switch.name, Switch.value)


def get_flag(session: Session, name: str) -> str | None:
    return _load_flags(session).get(name)


@once_per_session
def _load_flags(session: Session) -> dict[str, str]:
    return {row.name: row.value for row in fetch_rows(session, FLAGS)}


def set_flag(session: Session, name: str, value: str | None, actor: Actor) -> None:
    """Set a switch, or clear it with None."""
    rights.require(actor, Act.ADMINISTER)
    session.execute(delete(Switch).where(Switch.name == name))
    if value is not None:
        session.add(Switch(name=name, value=value, changed_by=actor.name))
    events.append(session, None, "switch_changed", {"switch": name, "value": value}, actor)


def get_epoch(session: Session) -> str:
    """The epoch of the event log, which a store has from its migration; a restored copy gets a new one."""
    epoch_value = get_flag(session, EPOCH)
    assert epoch_value is not None, "the first migration gives the store its epoch"
    return epoch_value


def get_pause_reason(session: Session) -> str | None:
    """The reason of the maintenance pause, or None while work goes on."""
    return get_flag(session, PAUSE)


def take_lease(session: Session, name: str, holder: str, seconds: int) -> str | None:
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
