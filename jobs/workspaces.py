"""Where runs work: a worktree of their project, or a folder of their own, and giving back what no run needs any more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from database import reading
from models import Project, Run
from settings import Settings
from tickets.runs import claims
from tickets.runs.claims import RunClaim
from workers.repository import linked_files, workspace
from workers.repository.workspace import Workspace

from .job_context import JobContext

SCRATCH = "scratch"


def prepare(settings: Settings, claim: RunClaim, project: Project | None, before: Run | None) -> Workspace:
    """A workspace on the ticket's branch, with the project's files linked in; raises `WorkspaceError`, `LinkRefused`.

    `before` is the ticket's last run that had a workspace: its branch and its base are kept, whatever the title is now.
    """
    ticket = claim.ticket
    if project is None:
        return workspace.scratch(settings.worktrees_dir / SCRATCH, ticket.identifier)
    folder, pool = Path(project.folder), settings.worktrees_dir / project.slug
    branch = before.branch if before and before.branch else workspace.branch_name(ticket.identifier, ticket.title)
    place = workspace.acquire(folder, project.base_branch, branch, pool, project.max_runs, _holder(claim.run.id))
    linked_files.link_files(folder, place.path, project.link_files)
    if before and before.base_sha and before.repository == str(place.repository):
        return replace(place, base_sha=before.base_sha)
    return place


def release_spent(bench: JobContext) -> int:
    """Free the slots whose run has ended; their content waits for the ticket's next run.

    A run ends with its wrapper's report, which comes after the last look at the workspace, or proven dead.
    """
    holders = {
        path: holder
        for pool in bench.settings.worktrees_dir.iterdir()
        if pool.is_dir() and pool.name != SCRATCH
        for path, holder in workspace.held(pool).items()
    }
    if not holders:
        return 0
    with reading(bench.engine) as session:
        working = {_holder(run.id) for run in claims.live(session)}
    spent = {path: holder for path, holder in holders.items() if holder and holder not in working}
    for path, holder in spent.items():
        workspace.release(path, holder)
    return len(spent)


def _holder(run_id: int) -> str:
    return f"run-{run_id}"
