"""The workspaces and ports of runs: a worktree of the project or a folder, and their release after the run."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from database import reading, writing
from models import Project, Run
from settings import Settings
from tickets.runs import claims
from tickets.runs.claims import RunClaim
from tickets.shared import events
from tickets.shared.actors import Actor
from workers.contract import spec as specs
from workers.contract.spec import InvalidSpec
from workers.host import ports
from workers.repository import linked_files, submodules, workspace
from workers.repository.workspace import Workspace
from workers.run import teardown

from .job_context import JobContext

SCRATCH = "scratch"
HOLDER_PREFIX = "run-"
MAX_RELEASE_SECONDS = 90.0
"""The time in a pass after which no further tear-down command is started."""


def prepare_workspace(
    settings: Settings, claim: RunClaim, project: Project | None, previous_run: Run | None, commit: str | None = None
) -> Workspace:
    """Prepare a workspace on the ticket's branch with the project's files and submodules. Raises `WorkspaceError`, `LinkRefused`.

    `previous_run` is the ticket's last run with a workspace: its branch and its base stay, even if the title has
    changed. The branch of a review begins at the reviewed `commit`.
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
        folder, project.base_branch, branch, pool, project.max_runs, format_holder(claim.run.id), commit
    )
    linked_files.add_files(
        folder, run_workspace.path, project.copy_files, project.link_files, resumed=run_workspace.resumed
    )
    if not run_workspace.resumed:
        notes = submodules.initialise_submodules(run_workspace.path, run_workspace.base_sha or "HEAD")
        run_workspace = replace(run_workspace, notes=notes)
    if previous_run and previous_run.base_sha and previous_run.repository == str(run_workspace.repository):
        return replace(run_workspace, base_sha=previous_run.base_sha)
    return run_workspace


def release_ended_slots(context: JobContext) -> int:
    """Release the slots and ports whose run has ended. The content of a slot stays for the ticket's next run.

    A run ends with its wrapper's report, after the last access to the workspace, or when it is proven dead.
    """
    holders = {
        path: holder
        for pool in context.settings.worktrees_dir.iterdir()
        if pool.is_dir() and pool.name != SCRATCH
        for path, holder in workspace.list_held_slots(pool).items()
    }
    port_holders = ports.list_holders(context.settings.ports_dir)
    if not holders and not port_holders:
        return 0
    with reading(context.engine) as session:
        live_holders = {format_holder(run.id) for run in claims.list_live(session)}
    ended_slots = {path: holder for path, holder in holders.items() if holder and holder not in live_holders}
    deadline = time.monotonic() + MAX_RELEASE_SECONDS
    for path, holder in ended_slots.items():
        if time.monotonic() < deadline:  # the next pass releases the others
            _tear_down(context, holder)
            workspace.release(path, holder)
    for holder in port_holders - live_holders:
        if holder.startswith(HOLDER_PREFIX):
            ports.release_ports(context.settings.ports_dir, holder)
    return len(ended_slots)


def reserve_variables(context: JobContext, holder: str, project: Project | None) -> dict[str, str]:
    """Reserve the project's ports for a holder, and return the variables that agent and commands get.

    Raises `NoFreePorts`.
    """
    slug = f"mc-{holder}-{context.settings.instance}".lower()
    count, offset = (project.ports if project else 0), int(context.settings.instance, 16)
    block = ports.reserve_ports(context.settings.ports_dir, holder, count, offset) if count else range(0)
    return {"MC_RUN_SLUG": slug} | {f"MC_PORT_{index}": str(port) for index, port in enumerate(block, 1)}


def _tear_down(context: JobContext, holder: str) -> None:
    """Run the tear-down command of a run whose wrapper died before it did."""
    run_id = int(holder.removeprefix(HOLDER_PREFIX))
    run_dir = context.run_dir(run_id)
    try:
        problem = teardown.tear_down(run_dir, specs.read_spec(run_dir))
    except (InvalidSpec, OSError):
        return
    if not problem:
        return
    with writing(context.engine) as session:
        run = session.get(Run, run_id)
        if run:  # a store that was restored need not have it
            facts = {"run": run.generation, "reason": problem}
            events.append(session, run.ticket_id, "teardown_failed", facts, Actor.system("housekeeping"))


def format_holder(run_id: int) -> str:
    """Format the name under which a run holds its slot."""
    return f"{HOLDER_PREFIX}{run_id}"
