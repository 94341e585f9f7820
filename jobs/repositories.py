"""Repositories of projects on this machine: problems that hold tickets, slots, and people's requests for slots."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from database import reading, writing
from models import Project, SlotAction, SlotRequest, format_timestamp
from redaction import SHAPES
from settings import Settings
from tickets.runs import claims
from tickets.team import projects, repositories
from workers.repository import old_slots, workspace
from workers.repository.git import GitError
from workers.repository.old_slots import OldSlot
from workers.repository.workspace import WorkspaceError

from . import single_flight, workspaces
from .job_context import JobContext

CONFIRM_SECONDS = 5.0
WAY_OUT = "Its tickets start automatically once that is resolved."


def confirm_problems(context: JobContext) -> bool:
    """Examine the repositories with a problem again, the longest not examined first. True when one is settled.

    A repository in which git hangs takes up its whole time limit, so after `CONFIRM_SECONDS` the rest is left to the
    next pass.
    """
    with reading(context.engine) as session:
        suspects = repositories.list_problem_projects(session, context.host)
    deadline, are_settled = time.monotonic() + CONFIRM_SECONDS, False
    for project in suspects:
        if time.monotonic() > deadline:
            break
        problem = find_problem(project)
        _record_problem(context, project, problem)
        are_settled |= not problem
    return are_settled


def record_new_problems(context: JobContext, project_ids: Iterable[int | None]) -> bool:
    """Examine the repositories of projects that are about to get a run. True when one has a problem."""
    candidate_ids = set(project_ids)
    with reading(context.engine) as session:
        candidates = [project for project in projects.list_all_projects(session) if project.id in candidate_ids]
    problems = [(project, problem) for project in candidates if (problem := find_problem(project))]
    for project, problem in problems:
        _record_problem(context, project, problem)
    return bool(problems)


def find_problem(project: Project) -> str:
    """Return why no run can start in a project's repository, empty when one can."""
    try:
        workspace.find_start(Path(project.folder), project.base_branch)
    except (WorkspaceError, GitError) as error:
        return SHAPES.clean_text(f"{str(error).rstrip('.')}. {WAY_OUT}")
    return ""


def describe_slots(settings: Settings, project: Project) -> list[dict[str, Any]]:
    """Describe the slots of a project for its page, with those that were set aside."""
    pool = settings.worktrees_dir / project.slug
    slots = [
        {"name": path.name, "state": record.state, "branch": record.branch, "holder": record.holder}
        for path, record in workspace.list_slots(pool).items()
    ]
    return slots + [_describe_old_slot(slot) for slot in old_slots.list_old_slots(pool)]


def _describe_old_slot(slot: OldSlot) -> dict[str, Any]:
    record = slot.record
    facts = {"reason": record.reason, "problem": record.problem, "place": str(slot.path)}
    since = format_timestamp(datetime.fromtimestamp(record.since, UTC))
    return {"name": slot.path.name, "state": "set_aside", "branch": record.branch, "since": since, **facts}


def record_slots(context: JobContext) -> None:
    """Store the slots of all projects for their pages."""
    with reading(context.engine) as session:
        present = projects.list_projects(session)
    described = {project.id: describe_slots(context.settings, project) for project in present}
    with writing(context.engine) as session:
        for project_id, slots in described.items():
            repositories.record_state(session, project_id, context.host, slots=slots)


def answer_requests(context: JobContext) -> int:
    """Carry out the requests for slots of this machine, and return their number. Only one program does it at a time."""
    try:
        with single_flight.hold_host_lock(context, "slots"):
            with reading(context.engine) as session:
                requests = repositories.list_requests(session, context.host)
            for request, project in requests:
                _answer_request(context, request, project)
            return len(requests)
    except single_flight.AlreadyRunning:
        return 0


def remove_old_slots(context: JobContext, days: int) -> int:
    """Remove the slots that were set aside so many days ago and whose work is saved. Returns their number."""
    pools = [pool for pool in context.settings.worktrees_dir.iterdir() if pool.is_dir()]
    results = [problem for pool in pools for _, problem in old_slots.remove_expired(pool, days)]
    record_slots(context)
    return results.count(None)


def _record_problem(context: JobContext, project: Project, problem: str) -> None:
    with writing(context.engine) as session:
        repositories.record_state(session, project.id, context.host, problem=problem)


def _answer_request(context: JobContext, request: SlotRequest, project: Project) -> None:
    try:
        detail, done = _carry_out(context, request, project), True
    except (WorkspaceError, GitError, OSError) as error:
        detail, done = SHAPES.clean_text(str(error)), False
    slots = describe_slots(context.settings, project)
    with writing(context.engine) as session:
        repositories.record_request_result(session, request, project, detail, done=done)
        repositories.record_state(session, project.id, context.host, slots=slots)


def _carry_out(context: JobContext, request: SlotRequest, project: Project) -> str:
    """Carry out a request. Returns a sentence for people."""
    pool = context.settings.worktrees_dir / project.slug
    folder, path = Path(project.folder), pool / request.slot
    if request.action is SlotAction.DELETE:
        for old_slot in old_slots.list_old_slots(pool):
            if old_slot.path == path:
                old_slots.remove_old_slot(old_slot, unsaved=True)
        return "It was deleted with what was in it."
    with reading(context.engine) as session:
        holders = {workspaces.format_holder(run.id) for run in claims.list_live(session)}
    if request.action is SlotAction.SET_ASIDE:
        place = workspace.set_aside(folder, path, holders)
        return f"It is now {place.path}." if place else "There was nothing in its place."
    saved_ref = workspace.discard(folder, path, holders)
    return f"Its work is saved as {saved_ref}." if saved_ref else "It had no work that is not committed."
