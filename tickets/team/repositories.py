"""Repositories of projects as each host last observed them, and people's requests for their slots."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import StringConstraints
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import Project, RepositoryState, SlotAction, SlotRequest, ago, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid
from tickets.shared.inputs import Body, Line
from tickets.shared.rights import Act

from . import projects

MAX_PROBLEM_AGE = timedelta(minutes=10)
"""A problem is confirmed by each pass of its host, so an older one is that of a host that has gone."""
OPEN_PROBLEMS = select(RepositoryState.project_id, RepositoryState.host, RepositoryState.problem).where(
    RepositoryState.problem != "", RepositoryState.checked > ago(MAX_PROBLEM_AGE)
)
SLOT_PATTERN = r"^pool-[1-9][0-9]{0,3}(\.[0-9]{8}T[0-9]{6,12})?$"
RESULT_EVENTS = {
    SlotAction.SET_ASIDE: "slot_set_aside",
    SlotAction.CLEAN: "slot_cleaned",
    SlotAction.DELETE: "slot_deleted",
}


class NewSlotRequest(Body):
    """A request for one slot of a project on one host."""

    host: Line
    slot: Annotated[str, StringConstraints(pattern=SLOT_PATTERN)]
    action: SlotAction


def find_problems(session: Session, host: str | None = None) -> dict[int, str]:
    """Find the problems that keep runs from starting on a host, or on any, by project."""
    return {
        project: f"{problem} ({observer})"
        for project, observer, problem in fetch_rows(session, OPEN_PROBLEMS)
        if host in (None, observer)
    }


def list_states(session: Session, project_id: int) -> list[RepositoryState]:
    """List the observations of a project's repository, by host."""
    query = select(RepositoryState).where(RepositoryState.project_id == project_id)
    return list(session.scalars(query.order_by(RepositoryState.host)))


def list_problem_projects(session: Session, host: str) -> list[Project]:
    """List the projects with which a host had a problem when it last looked, the longest not examined first."""
    query = select(Project).join(RepositoryState, RepositoryState.project_id == Project.id)
    query = query.where(RepositoryState.host == host, RepositoryState.problem != "")
    return list(session.scalars(query.order_by(RepositoryState.checked)))


def record_state(session: Session, project_id: int, host: str, **facts: Any) -> None:
    """Record facts of a repository: `problem`, `notes` or `slots`."""
    state = session.get(RepositoryState, (project_id, host))
    if state is None:
        state = RepositoryState(project_id=project_id, host=host)
        session.add(state)
    for name, value in {**facts, "checked": now()}.items():
        setattr(state, name, value)


def request_slot(session: Session, slug: str, body: NewSlotRequest, actor: Actor) -> SlotRequest:
    """Request an action on a slot. The host carries it out within seconds. Raises `Invalid`, `ConflictError`."""
    rights.require(actor, Act.ADMINISTER)
    project = projects.get_project(session, slug)
    if ("." in body.slot) != (body.action is SlotAction.DELETE):
        raise Invalid(
            "A slot in use can be set aside or cleaned, and one that was set aside can be deleted.", field="action"
        )
    state = session.get(RepositoryState, (project.id, body.host))
    if state is None or body.slot not in {slot["name"] for slot in state.slots}:
        raise Invalid(f"{body.host} has no slot {body.slot} of {slug}. Read the page again.", field="slot")
    if _is_requested(session, project, body):
        raise ConflictError(f"Something was already requested for {body.slot}. Wait for it.", field="slot")
    request = SlotRequest(project_id=project.id, author=actor.name, **body.model_dump())
    session.add(request)
    session.flush()
    facts = {"project": slug, "host": body.host, "slot": body.slot, "action": body.action.value}
    events.append(session, None, "slot_requested", facts, actor)
    return request


def _is_requested(session: Session, project: Project, body: NewSlotRequest) -> bool:
    query = select(SlotRequest.id).where(
        SlotRequest.project_id == project.id, SlotRequest.host == body.host, SlotRequest.slot == body.slot
    )
    return session.scalar(query) is not None


def list_requested_slots(session: Session, project_id: int) -> set[tuple[str, str]]:
    """List the slots with an open request, as (host, slot)."""
    query = select(SlotRequest.host, SlotRequest.slot).where(SlotRequest.project_id == project_id)
    return {(host, slot) for host, slot in session.execute(query)}


def list_requests(session: Session, host: str, limit: int = 20) -> Sequence[tuple[SlotRequest, Project]]:
    """List the open requests of a host with their projects, oldest first."""
    query = select(SlotRequest, Project).join(Project, Project.id == SlotRequest.project_id)
    query = query.where(SlotRequest.host == host).order_by(SlotRequest.id).limit(limit)
    return [(request, project) for request, project in session.execute(query)]


def record_request_result(session: Session, request: SlotRequest, project: Project, detail: str, *, done: bool) -> None:
    """Record the result of a request, and delete the request."""
    kind = RESULT_EVENTS[request.action] if done else "slot_request_failed"
    facts = {"project": project.slug, "host": request.host, "slot": request.slot, "detail": detail}
    events.append(session, None, kind, facts, Actor.system("housekeeping"))
    session.execute(delete(SlotRequest).where(SlotRequest.id == request.id))
