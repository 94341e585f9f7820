"""JSON of tickets for programs, built with a constant number of queries for any number of rows.

Fields are named as the columns. Times are ISO 8601 UTC, `project` is the slug and `ticket` an identifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session
from typing_extensions import TypedDict

from database import fetch_rows, in_ids
from models import Project, Ticket, TicketTag, format_timestamp
from tickets.workflow import landing


class LandingJson(TypedDict):
    """A pending landing, or a failed one with its reason."""

    state: str
    policy: str
    by: str
    since: str
    branch: str
    commit: str
    base: str
    reason: str | None


class TicketJson(TypedDict):
    id: int
    identifier: str
    title: str
    description: str
    status: str
    priority: str
    assigned_to: str | None
    requester: str
    campaign_owner: str | None
    project: str | None
    tags: list[str]
    phase: str | None
    gate: str
    resume: bool
    not_before: str | None
    wake: dict[str, Any] | None
    block: dict[str, Any] | None
    landing: LandingJson | None
    expected_check_in: str | None
    failure_reason: str | None
    attempts: int
    acceptance: list[dict[str, Any]]
    archived: bool
    version: int
    last_seq: int
    created: str
    updated: str
    moved: str
    closed: str | None


def format_moment(moment: datetime | None) -> str | None:
    return format_timestamp(moment) if moment else None


def build_ticket_json(session: Session, tickets: Sequence[Ticket]) -> list[TicketJson]:
    """Build the JSON of these tickets in the order given, with one query for tags and one for project names."""
    tags = load_tags(session, [ticket.id for ticket in tickets])
    slugs = _load_slugs(session, {ticket.project_id for ticket in tickets if ticket.project_id})
    return [_build_ticket(ticket, tags.get(ticket.id, []), slugs.get(ticket.project_id or 0)) for ticket in tickets]


TAGS = (
    select(TicketTag.ticket_id, TicketTag.tag)
    .where(in_ids(TicketTag.ticket_id, "tickets"))
    .order_by(TicketTag.ticket_id, TicketTag.tag)
)


def load_tags(session: Session, ticket_ids: Sequence[int]) -> dict[int, list[str]]:
    """Load the tags of each of these tickets in alphabetical order, without tickets that have none."""
    tags_by_ticket: dict[int, list[str]] = {}
    for ticket_id, tag in fetch_rows(session, TAGS, tickets=ticket_ids):
        tags_by_ticket.setdefault(ticket_id, []).append(tag.value)
    return tags_by_ticket


def _load_slugs(session: Session, project_ids: set[int]) -> dict[int, str]:
    rows = session.execute(select(Project.id, Project.slug).where(Project.id.in_(project_ids))) if project_ids else ()
    return {number: slug for number, slug in rows}  # noqa: C416 - rows are not pairs to mypy


def _build_ticket(ticket: Ticket, tags: list[str], project: str | None) -> TicketJson:
    return {
        "id": ticket.id,
        "identifier": ticket.identifier,
        "title": ticket.title,
        "description": ticket.description,
        "status": ticket.status.value,
        "priority": ticket.priority.label,
        "assigned_to": ticket.assigned_to,
        "requester": ticket.requester,
        "campaign_owner": ticket.campaign_owner,
        "project": project,
        "tags": tags,
        "phase": ticket.phase,
        "gate": ticket.gate.value,
        "resume": ticket.resume,
        "not_before": format_moment(ticket.not_before),
        "wake": ticket.wake,
        "block": ticket.block,
        "landing": _build_landing(ticket),
        "expected_check_in": format_moment(ticket.expected_check_in),
        "failure_reason": ticket.failure_reason,
        "attempts": ticket.attempts,
        "acceptance": ticket.acceptance,
        "archived": ticket.archived,
        "version": ticket.version,
        "last_seq": ticket.event_seq,
        "created": format_timestamp(ticket.created),
        "updated": format_timestamp(ticket.updated),
        "moved": format_timestamp(ticket.moved),
        "closed": format_moment(ticket.closed),
    }


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
