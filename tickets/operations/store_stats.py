"""Size of the store, measured by a scheduled task, since counting rows is too slow for a page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Base, Ticket, now
from store_files import database_sizes
from tickets.schedule import tasks

CHECK = "store"


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Rows by table, tickets by state, and bytes by part, at one time."""

    rows: dict[str, int]
    tickets: dict[str, int]
    sizes: dict[str, int]
    at: datetime


def measure_store(session: Session) -> StoreStats:
    """Count all rows, on a snapshot that blocks nobody (slow on a large store)."""
    tables = sorted(Base.metadata.tables.items())
    rows = {name: session.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables}
    by_state = session.execute(select(Ticket.status, func.count()).group_by(Ticket.status))
    tickets = {status.value: count for status, count in by_state}
    return StoreStats(rows, tickets, database_sizes(session), now())


def save_stats(session: Session, stats: StoreStats) -> None:
    facts = asdict(stats)
    facts.pop("at")
    tasks.record_heartbeat(session, CHECK, "ok", summary=facts)


def load_last(session: Session) -> StoreStats | None:
    """Load the last measurement, or None before the first."""
    beat = tasks.load_heartbeats(session).get(CHECK)
    return StoreStats(**tasks.read_summary(beat), at=beat.ts) if beat else None
