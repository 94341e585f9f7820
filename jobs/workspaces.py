"""The workspaces and ports of runs: a worktree of the project or a folder, and their release after the run."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from database import reading, writing
from models import Profile, Project, Run
from redaction import Redaction
from settings import Settings
from tickets.runs import claims
from tickets.runs.claims import RunClaim
from tickets.shared import events
from tickets.shared.actors import Actor
from workers.contract import spec as specs
from workers.contract.spec import InvalidSpec, format_marker
from workers.host import memory_limit, ports, processes
from workers.repository import checks, linked_files, submodules, workspace, worktrees
from workers.repository.workspace import Workspace, run_set_up
from workers.run import teardown

from . import spec_builder
from .job_context import JobContext
from .reconcile import NO_PROCESS

SCRATCH = "scratch"
HOLDER_PREFIX = "run-"
MAX_RELEASE_SECONDS = 90.0
"""The time in a pass after which no further tear-down command is started."""


def prepare_workspace(
    settings: Settings, claim: RunClaim, project: Project | None, previous_run: Run | None
) -> Workspace:
    """Prepare a workspace on the ticket's branch with the project's files and submodules. Raises `WorkspaceError`, `LinkRefused`.

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
        folder, project.base_branch, branch, pool, project.max_runs, format_holder(claim.run.id)
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


@dataclass(frozen=True, slots=True)
class ScratchCheck:
    """The check command of a project in a scratch work tree, with the preparation and the limits of a run's own check.

    `name` is that of its processes, ports and logs: nothing in its environment can act as the operator. `run_id` is the run
    whose work is checked, and `profile` the one that it had.
    """

    context: JobContext
    project: Project
    profile: Profile | None
    run_id: int
    scratch: Path
    name: str
    redaction: Redaction
    give_up: Callable[[], bool] = checks.never_give_up

    def run(self) -> checks.CheckResult:
        """Run set-up, check and tear-down command. Raises `WorkspaceError`, `LinkRefused`, `NoFreePorts`, OSError."""
        try:
            variables = reserve_variables(self.context, self.name, self.project)
            environment = spec_builder.build_environment(self.context.settings, self.profile, self.name) | variables
            return self._check(environment)
        finally:
            ports.release_ports(self.context.settings.ports_dir, self.name)

    def _check(self, environment: dict[str, str]) -> checks.CheckResult:
        project, timeout = self.project, self.context.settings.limits.check_seconds
        linked_files.add_files(Path(project.folder), self.scratch, project.copy_files, project.link_files)
        submodules.initialise_submodules(self.scratch, "HEAD")
        try:
            if project.setup_command:
                run_set_up(self.scratch, project.setup_command, environment, timeout, self.redaction)
            return self._run(project.check_command or [], environment, timeout)
        finally:
            self._tear_down(environment)

    def _tear_down(self, environment: dict[str, str]) -> None:
        """Run the tear-down command. A failure is logged, as it does not affect the result."""
        if not self.project.teardown_command:
            return
        outcome = self._run(self.project.teardown_command, environment, teardown.TEARDOWN_SECONDS, "-teardown")
        if not outcome.has_passed:
            print(f"{self.name}: {teardown.describe_failure(outcome)}", file=sys.stderr)

    def _run(
        self, argv: Sequence[str], environment: dict[str, str], timeout: float, suffix: str = ""
    ) -> checks.CheckResult:
        limit = spec_builder.format_memory_limit(self.profile) if self.profile else None
        outcome = checks.run(
            [*memory_limit.build_prefix(self.run_id, limit), *argv],
            cwd=self.scratch,
            env=environment,
            marker=format_marker(self.context.settings.instance, self.name),
            log=self.context.settings.logs_dir / f"{self.name}{suffix}.log",
            timeout=timeout,
            redaction=self.redaction,
            give_up=self.give_up,
        )
        return replace(outcome, argv=tuple(argv))


def remove_scratch_leftovers(context: JobContext, folder: Path, task: str) -> None:
    """Kill the checks and remove the work trees of a program that was killed, whose scratch work trees are in `folder`."""
    for leftover in folder.iterdir() if folder.is_dir() else ():
        name = format_scratch_name(task, leftover.name)
        processes.stop(NO_PROCESS, format_marker(context.settings.instance, name), 0)
        ports.release_ports(context.settings.ports_dir, name)
    worktrees.remove_scratch_worktrees(folder)


def format_scratch_name(task: str, identifier: str) -> str:
    """Format the name of a task's check of a ticket."""
    return f"{task}-{identifier}"
