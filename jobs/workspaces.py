"""The workspaces of runs: a worktree of the project or a folder, and their release after the run."""

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


def prepare_workspace(
    settings: Settings, claim: RunClaim, project: Project | None, previous_run: Run | None
) -> Workspace:
    """Prepare a workspace on the ticket's branch with linked files. Raises `WorkspaceError`, `LinkRefused`.

    `previous_run` is the ticket's last run with a workspace: its branch and its base stay, even if the title has
    changed.
    """
    ticket = claim.ticket
    if project is None:
        return workspace.make_scratch_folder(settings.worktrees_dir / SCRATCH, ticket.identifier)
    folder, pool = Path(project.folder), settings.worktrees_dir / project.slug
    branch = (
        previous_run.branch
        if previous_run and previous_run.branch
        else workspace.format_branch_name(ticket.identifier, ticket.title)
    )
    run_workspace = workspace.acquire(
        folder, project.base_branch, branch, pool, project.max_runs, _format_holder(claim.run.id)
    )
    linked_files.link_files(folder, run_workspace.path, project.link_files)
    if previous_run and previous_run.base_sha and previous_run.repository == str(run_workspace.repository):
        return replace(run_workspace, base_sha=previous_run.base_sha)
    return run_workspace


def release_ended_slots(context: JobContext) -> int:
    """Release the slots whose run has ended. Their content stays for the ticket's next run.

    A run ends with its wrapper's report, after the last access to the workspace, or when it is proven dead.
    """
    holders = {
        path: holder
        for pool in context.settings.worktrees_dir.iterdir()
        if pool.is_dir() and pool.name != SCRATCH
        for path, holder in workspace.list_held_slots(pool).items()
    }
    if not holders:
        return 0
    with reading(context.engine) as session:
        live_holders = {_format_holder(run.id) for run in claims.list_live(session)}
    ended_slots = {path: holder for path, holder in holders.items() if holder and holder not in live_holders}
    for path, holder in ended_slots.items():
        workspace.release(path, holder)
    return len(ended_slots)


def _format_holder(run_id: int) -> str:
    return f"run-{run_id}"
