"""From a claimed ticket to a wrapper in tmux.

Every failure before the wrapper is started gives the ticket back with its reason. What follows an ambiguous answer is
settled by observation at the next pass: never a ticket in progress with nothing running, never one in todo whose agent
runs.
"""

from __future__ import annotations

from pathlib import Path

from database import reading, writing
from models import Failure, Project, Run
from tickets.runs import claims, forks, prompt, reports
from tickets.runs.claims import RunClaim
from tickets.shared import lookup
from workers.contract.spec import RunSpec
from workers.host import memory_limit
from workers.host.private_dirs import FolderUnsafe, make_private, set_aside
from workers.repository.workspace import PoolFull, Workspace
from workers.run import launch, lock

from . import spec_builder, workspaces
from .job_context import JobContext


class Occupied(Exception):
    """The folder of a new run is in use."""


def start(bench: JobContext, claim: RunClaim) -> bool:
    """Start the run of a claim; False when it is proven that it did not start, and the ticket has its consequence."""
    run_dir = bench.run_dir(claim.run.id)
    try:
        _clear(run_dir)
    except (Occupied, FolderUnsafe, OSError) as error:
        _give_back(bench, claim, error)
        return False
    try:
        spec = _prepare(bench, claim)
        pane = launch.start(
            bench.tmux, run_dir, spec, memory_limit.prefix(spec.run_id, spec_builder.memory_of(claim.profile))
        )
    except Exception as error:
        if launch.revoke(run_dir) and not lock.was_started(run_dir):
            _give_back(bench, claim, error)
            return False
        return True
    with writing(bench.engine) as session:
        claims.prepared(session, claim.run.id, tmux_target=pane or f"mc-{spec.identifier}")
    return True


def _clear(run_dir: Path) -> None:
    """An empty folder for a run that was opened just now. One of its number that is there is older than a restored store."""
    if run_dir.is_dir() and lock.is_held(run_dir):
        raise Occupied(f"{run_dir} belongs to a run that this store does not know, and that still works: stop it.")
    set_aside(run_dir)
    make_private(run_dir)


def _prepare(bench: JobContext, claim: RunClaim) -> RunSpec:
    """Workspace, spec and prompt: everything but the start."""
    with reading(bench.engine) as session:
        project = session.get(Project, claim.ticket.project_id) if claim.ticket.project_id else None
        before = claims.last_placed(session, claim.ticket.id)
    place = _place(bench, claim, project, before)
    spec = spec_builder.spec_of(bench.settings, claim, project, place)
    facts = {"workspace": spec.workspace, "repository": spec.repository, "branch": spec.branch}
    talk = {"conversation_id": spec.conversation_id, "config_dir": spec.config_dir, "forks": spec.forks}
    with writing(bench.engine) as session:
        claims.prepared(session, claim.run.id, base_sha=spec.base_sha, resumes=spec.resume, **facts, **talk)
        run = lookup.get_run(session, claim.run.id)
        forks.tell_missed(session, run)
        words = prompt.compose(session, claim.ticket, run)
    launch.write(bench.run_dir(claim.run.id), spec, words)
    return spec


def _place(bench: JobContext, claim: RunClaim, project: Project | None, before: Run | None) -> Workspace:
    """A workspace; a run that has ended since this pass began may still hold the slot that its end has made free."""
    try:
        return workspaces.prepare(bench.settings, claim, project, before)
    except PoolFull:
        workspaces.release_spent(bench)
        return workspaces.prepare(bench.settings, claim, project, before)


def _give_back(bench: JobContext, claim: RunClaim, error: Exception) -> None:
    reason = f"The run could not be started: {str(error) or type(error).__name__}"
    with writing(bench.engine) as session:
        reports.start_failed(session, claim.run.id, Failure.ENVIRONMENT, reason[:2000], bench.retry)
