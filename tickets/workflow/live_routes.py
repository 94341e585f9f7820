"""Live routes: addresses of a running result, which a job fetches for a ticket and whose answer is recorded as a fact.

A request is a fact whose status is not known yet. Only hosts that the project lists are fetched, which the fetcher judges
(`workers/host/fetcher.py`); here a project without any is refused at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlalchemy import func, or_, select, update
from sqlalchemy.orm import Session

from models import Evidence, EvidenceSource, EvidenceStatus, Project, Run, Ticket, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.shared.inputs import Body

KIND = "live_route"
MAX_CHECKS = 100
"""Fetched addresses of one ticket."""
MAX_PENDING = 20
"""Addresses that one pass fetches."""
OBSERVER = Actor.system("live-routes")
IS_PENDING = Evidence.kind == KIND, Evidence.status == EvidenceStatus.UNKNOWN


class CheckRoute(Body):
    """A request to fetch an address of the ticket's running result. It is shown to all, so it may hold no log-in."""

    url: Annotated[str, StringConstraints(max_length=2000, pattern=r"^https?://[!-.0->A-\[\]-~]+(?:[/?][!-~]*)?$")]


@dataclass(frozen=True, slots=True)
class PendingRoute:
    """A requested address, with the hosts that its project allows."""

    id: int
    url: str
    live_hosts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RouteResult:
    """The answer of an address: status and hash of its content, or the problem why there is none."""

    status: int | None = None
    sha256: str | None = None
    size: int = 0
    problem: str = ""

    @property
    def is_ok(self) -> bool:
        return self.status is not None and 200 <= self.status < 300


def request_check(session: Session, ticket: Ticket, body: CheckRoute, actor: Actor) -> Evidence:
    """Request that an address is fetched. One that is requested already is not requested twice."""
    rights.require_writer(actor)
    rights.require_own_ticket(actor, ticket.id)
    if not may_request(session, ticket):
        raise Invalid(
            "The project lists no hosts for live routes. A person adds the host under Settings, Projects, Live hosts.",
            field="url",
        )
    own = Evidence.ticket_id == ticket.id, Evidence.kind == KIND
    if (session.scalar(select(func.count()).where(*own)) or 0) >= MAX_CHECKS:
        raise Invalid(f"At most {MAX_CHECKS} addresses are fetched for one ticket.", field="url")
    pending = session.scalars(select(Evidence).where(*own, Evidence.status == EvidenceStatus.UNKNOWN))
    return next((row for row in pending if _get_url(row) == body.url), None) or _add_request(
        session, ticket, body, actor
    )


def may_request(session: Session, ticket: Ticket) -> bool:
    """Return whether the ticket's project lists hosts for live routes."""
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    return project is not None and bool(project.live_hosts)


def _add_request(session: Session, ticket: Ticket, body: CheckRoute, actor: Actor) -> Evidence:
    row = Evidence(
        ticket_id=ticket.id,
        run_id=actor.run_id,
        kind=KIND,
        source=EvidenceSource.FACT,
        status=EvidenceStatus.UNKNOWN,
        summary=f"{body.url}: not fetched yet",
        data={"url": body.url},
        author=actor.name,
    )
    session.add(row)
    session.flush()
    events.append(session, ticket.id, "route_requested", {"url": body.url}, actor)
    return row


def _get_url(row: Evidence) -> str:
    return str((row.data or {}).get("url", ""))


def list_checks(session: Session, ticket_id: int) -> list[Evidence]:
    """List the fetched and requested addresses of a ticket, newest first."""
    own = Evidence.ticket_id == ticket_id, Evidence.kind == KIND
    return list(session.scalars(select(Evidence).where(*own).order_by(Evidence.id.desc()).limit(MAX_CHECKS)))


def find_newest(session: Session, ticket_id: int, url: str) -> Evidence | None:
    """Find the newest check of an address."""
    return next((row for row in list_checks(session, ticket_id) if _get_url(row) == url), None)


def list_pending(session: Session, host: str) -> list[PendingRoute]:
    """List the requested addresses of runs of this host and of people, oldest first.

    A run's host fetches its addresses, which may be those of a server that the run has started.
    """
    query = (
        select(Evidence.id, Evidence.data, Project.live_hosts)
        .join(Ticket, Ticket.id == Evidence.ticket_id)
        .join(Project, Project.id == Ticket.project_id)
        .outerjoin(Run, Run.id == Evidence.run_id)
        .where(*IS_PENDING, or_(Run.id.is_(None), Run.host == host))
    )
    rows = session.execute(query.order_by(Evidence.id).limit(MAX_PENDING))
    return [PendingRoute(row.id, str((row.data or {}).get("url", "")), tuple(row.live_hosts)) for row in rows]


def record_result(session: Session, route: PendingRoute, result: RouteResult) -> bool:
    """Record the answer of an address. False when it was recorded already."""
    status = EvidenceStatus.OK if result.is_ok else EvidenceStatus.FAILED
    facts: dict[str, Any] = {"url": route.url, "status": result.status, "sha256": result.sha256, "bytes": result.size}
    outcome = result.problem or f"status {result.status}, {result.size:,} bytes"
    values = {
        "status": status,
        "summary": f"{route.url}: {outcome}",
        "data": {**facts, "fetched": now().isoformat(), "problem": result.problem},
    }
    ticket_id = session.scalar(
        update(Evidence).where(Evidence.id == route.id, *IS_PENDING).values(**values).returning(Evidence.ticket_id)
    )
    if ticket_id is None:
        return False
    events.append(session, ticket_id, "route_checked", {"url": route.url, "outcome": outcome}, OBSERVER)
    return True
