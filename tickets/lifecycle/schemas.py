"""Rows as the JSON that programs see: one function for each kind, a constant number of queries however many rows.

Field names are the columns' names; moments are ISO 8601 UTC; `project` is its slug and `ticket` an identifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import Project, Ticket, TicketTag, UtcTime, format_timestamp
from tickets.shared.ticket_fields import LandingJson, TicketJson
from tickets.workflow import landing

KEYS = tuple(TicketJson.__annotations__)
COLUMNS = [name for name in KEYS if name in Ticket.__table__.columns]
MOMENTS = [name for name in COLUMNS if isinstance(Ticket.__table__.columns[name].type, UtcTime)]
read_columns = attrgetter(*COLUMNS)


def format_moment(moment: datetime | None) -> str | None:
    return format_timestamp(moment) if moment else None


def build_ticket_json(session: Session, tickets: Sequence[Ticket]) -> list[TicketJson]:
    """The tickets in the order given; two queries more, for tags and project names."""
    tags = load_tags(session, [ticket.id for ticket in tickets])
    slugs = _load_slugs(session, {ticket.project_id for ticket in tickets if ticket.project_id})
    return [_build_ticket(ticket, tags.get(ticket.id, []), slugs.get(ticket.project_id or 0)) for ticket in tickets]


TAGS = (
    select(TicketTag.ticket_id, TicketTag.tag)
    .where(in_ids(TicketTag.ticket_id, "tickets"))
    .order_by(TicketTag.ticket_id, TicketTag.tag)
)


def load_tags(session: Session, ticket_ids: Sequence[int]) -> dict[int, list[str]]:
    """The tags of each of these tickets in alphabetical order; one without any is absent."""
    tags_by_ticket: dict[int, list[str]] = {}
    for ticket_id, tag in fetch_rows(session, TAGS, tickets=ticket_ids):
        tags_by_ticket.setdefault(ticket_id, []).append(tag.value)
    return tags_by_ticket


def _load_slugs(session: Session, project_ids: set[int]) -> dict[int, str]:
    rows = session.execute(select(Project.id, Project.slug).where(Project.id.in_(project_ids))) if project_ids else ()
    return {number: slug for number, slug in rows}  # noqa: C416 - rows are not pairs to mypy


def _build_ticket(ticket: Ticket, tags: list[str], project: str | None) -> TicketJson:
    """The columns under their names, but for those that are shown in another form than they are kept in."""
    view = dict.fromkeys(KEYS) | dict(zip(COLUMNS, read_columns(ticket), strict=True))
    view |= {name: format_moment(view[name]) for name in MOMENTS}
    view |= {
        "status": ticket.status.value,
        "priority": ticket.priority.label,
        "project": project,
        "tags": tags,
        "gate": ticket.gate.value,
        "landing": _build_landing(ticket),
        "last_seq": ticket.event_seq,
    }
    return cast(TicketJson, view)


def _build_landing(ticket: Ticket) -> LandingJson | None:
    plan = landing.get_plan(ticket)
    if plan is None or ticket.landing is None:
        return None
    return {
        "state": ticket.landing.value,
        "policy": plan.policy.value,
        "by": plan.by,
        "since": format_timestamp(plan.since),
        "branch": plan.branch,
        "commit": plan.commit,
        "base": plan.base,
        "reason": plan.reason,
    }
