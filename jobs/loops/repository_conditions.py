"""Repositories of projects that need attention: uncommitted changes that were left, and base branches behind their remote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from database import reading
from jobs import repositories
from jobs.job_context import JobContext
from jobs.task_recorder import describe_error
from models import Project, format_clock, now
from tickets.loops.conditions import Condition, Observation, format_title
from tickets.operations.health_check import format_count
from tickets.operations.incidents import OPERATOR_PREFIX
from tickets.team import projects
from workers.repository import checkouts
from workers.repository.checkouts import CheckoutState
from workers.repository.git import GitError, GitFailed

OBSERVE_SECONDS = 60.0
"""Time after which no further repository is observed in a pass."""


def find_neglected(context: JobContext) -> Observation:
    """Find the repositories on this machine in which a run would start from an unusable or old state."""
    prefix = f"{OPERATOR_PREFIX}repository:{context.host}:"
    with reading(context.engine) as session:
        local_projects = [row for row in projects.list_projects(session) if _is_local(context, row)]
    conditions, problems, unknown = [], [], []
    deadline = time.monotonic() + OBSERVE_SECONDS
    for project in local_projects:
        try:
            conditions += _examine(context, project, f"{prefix}{project.slug}:", deadline)
        except (GitError, OSError, TimeoutError) as error:
            problems.append(f"The repository of {project.slug} was not observed: {describe_error(error)}")
            unknown.append(f"{prefix}{project.slug}:")
    return Observation(prefix, conditions, problems=problems, unknown=tuple(unknown))


def _is_local(context: JobContext, project: Project) -> bool:
    """Return whether this machine should have a repository. Other hosts of a shared store may have what it lacks."""
    return Path(project.folder).is_dir() or context.engine.dialect.name == "sqlite"


def _examine(context: JobContext, project: Project, prefix: str, deadline: float) -> list[Condition]:
    """Examine one repository. One in which no run can start is described by that alone."""
    if time.monotonic() > deadline:
        raise TimeoutError(f"the others took {OBSERVE_SECONDS:g} seconds")
    try:
        state = checkouts.observe_checkout(Path(project.folder), project.base_branch)
    except GitFailed:
        if problem := repositories.find_problem(project):
            return [_describe_problem(project, problem, prefix)]
        raise
    if problem := repositories.find_problem(project):
        return [_describe_problem(project, problem, prefix)]
    return list(_describe_state(context, project, state, prefix))


def _describe_problem(project: Project, problem: str, prefix: str) -> Condition:
    title = format_title(f"No run can start in the repository of {project.slug}: {problem}")
    return Condition(f"{prefix}problem", title, f"See its folder {project.folder}.")


def _describe_state(context: JobContext, project: Project, state: CheckoutState, prefix: str) -> Iterator[Condition]:
    cutoff = now() - timedelta(hours=context.settings.operator.dirty_hours)
    if state.edited and state.edited < cutoff:
        changes = format_count(state.dirty, "uncommitted change")
        title = f"The checkout of {project.slug} has {changes} since {format_clock(state.edited)}"
        advice = f"Commit or discard what is in {project.folder}. Runs do not see it."
        yield Condition(f"{prefix}dirty", title, advice, since=state.edited)
    if state.behind:
        position = f"is {format_count(state.behind, 'commit')} behind {state.upstream}"
        position = f"{position} and {format_count(state.ahead, 'commit')} ahead of it" if state.ahead else position
        advice = f"Bring {project.base_branch} up to date in {project.folder}, as runs start from it."
        yield Condition(f"{prefix}behind", format_title(f"{project.base_branch} of {project.slug} {position}"), advice)
