"""The job `orchestrator-board-sweep`: what disagrees on the board becomes an inbox item, and evidence is verified again.

1. File an item for each ticket whose state and facts disagree, once.
2. See whether the base branches still have what was merged into them.
3. Run the check of a few done tickets again at the commit that it passed on, the newest first, in a scratch work tree.

It moves no ticket: by its kind of actor it may file items and nothing else.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from database import reading, writing
from jobs import spec_builder, workspaces
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from jobs.workspaces import ScratchCheck
from models import ActorKind, Profile, Project, TaskOutcome
from redaction import Redaction
from tickets.loops import board_sweep
from tickets.loops.board_sweep import DoneWork
from tickets.operations import inbox_items
from tickets.operations.inbox_items import NewItem
from tickets.shared import display_names, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from workers.host.ports import NoFreePorts
from workers.host.private_dirs import make_private_dir
from workers.repository import checks, git, worktrees
from workers.repository.checks import CheckResult
from workers.repository.linked_files import LinkRefused
from workers.repository.workspace import WorkspaceError

TASK = "orchestrator-board-sweep"
SWEEP = Actor(ActorKind.SERVICE, TASK)
MAX_CHECKS = 3
"""Done tickets whose check one pass runs again. With all set-ups and time-outs they stay below the time-out of the task."""
SHORT_SHA_LENGTH = 10
MAX_PROBLEM_BYTES = 500
CANNOT_CHECK = (git.GitError, WorkspaceError, LinkRefused, NoFreePorts, OSError)


class RecheckSkipped(Exception):
    """The evidence cannot be verified again, as what it was verified on is gone."""


@dataclass(slots=True)
class SweepCounts:
    """The counts of a pass. `skipped` and `problems` have the reason by ticket, the problems without secrets."""

    redaction: Redaction
    filed: list[str] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def add_problem(self, subject: str, problem: object) -> None:
        self.problems[subject] = self.redaction.clean_text(str(problem), MAX_PROBLEM_BYTES)

    def summarize(self) -> dict[str, Any]:
        values = {"filed": self.filed, "verified": self.verified, "skipped": self.skipped, "problems": self.problems}
        return {name: value for name, value in values.items() if value}

    @property
    def outcome(self) -> TaskOutcome:
        if self.problems:
            return TaskOutcome.WARNING
        if self.filed or self.verified:
            return TaskOutcome.ACTED
        return TaskOutcome.SKIPPED if self.skipped else TaskOutcome.NOOP


def make_pass(context: JobContext, give_up: Callable[[], bool] = checks.never_give_up) -> JobResult:
    """Sweep the board. Skipped while dispatch is paused, as somebody works on the machine then."""
    with reading(context.engine) as session:
        pause = runtime_flags.get_pause_reason(session)
        findings = [] if pause else board_sweep.list_findings(session)
    if pause:
        return JobResult(TaskOutcome.SKIPPED, {"reason": f"dispatch is paused: {pause}"})
    counts = SweepCounts(spec_builder.build_redaction(context.settings, None))
    for item in findings:
        _file_item(context, item, counts)
    _check_base_branches(context, counts)
    workspaces.remove_scratch_leftovers(context, context.settings.sweeps_dir, TASK)
    _recheck_evidence(context, counts, give_up)
    return JobResult(counts.outcome, counts.summarize())


def _file_item(context: JobContext, item: NewItem, counts: SweepCounts) -> bool:
    """File an item. False, with a problem noted, when the inbox is full."""
    try:
        with writing(context.engine) as session:
            inbox_items.file_item(session, item, SWEEP)
    except ConflictError as error:
        counts.add_problem("inbox", error)
        return False
    counts.filed.append(item.ticket or item.title)
    return True


def _check_base_branches(context: JobContext, counts: SweepCounts) -> None:
    """File an item for each landing that its base branch has not, or has no longer."""
    with reading(context.engine) as session:
        candidates = board_sweep.list_unmerged_candidates(session, context.host)
    for work in candidates:
        try:
            is_merged = _is_on_base(work)
        except RecheckSkipped as reason:
            counts.skipped[work.ticket.identifier] = str(reason)
        except CANNOT_CHECK as error:
            counts.add_problem(work.ticket.identifier, error)
        else:
            if not is_merged:
                _file_item(context, _describe_unmerged(work), counts)


def _is_on_base(work: DoneWork) -> bool:
    repository, base = _require_repository(work), work.base or ""
    head = git.resolve_branch(repository, base)
    if head is None:
        raise RecheckSkipped(f"its base branch {base} is gone")
    is_present = work.landed is not None and git.resolve_revision(repository, work.landed) is not None
    return is_present and git.is_merged(repository, work.landed or "", head)


def _describe_unmerged(work: DoneWork) -> NewItem:
    title = f"{work.ticket.identifier} is done, but {work.base} does not have its work"
    commit = (work.landed or work.commit)[:SHORT_SHA_LENGTH]
    body = (
        f"It was landed as {commit}, which is not on {work.base} now. Land it again, or record why it was taken back."
    )
    return NewItem(kind=board_sweep.UNMERGED, title=title, body=body, ticket=work.ticket.identifier)


def _recheck_evidence(context: JobContext, counts: SweepCounts, give_up: Callable[[], bool]) -> None:
    """Verify the evidence of a few done tickets again. One whose commit is gone does not count as one of them."""
    with reading(context.engine) as session:
        candidates = board_sweep.list_recheck_candidates(session, context.host)
    check_count = 0
    for work in candidates:
        check_count += _recheck(context, work, counts, give_up)
        if check_count >= MAX_CHECKS:
            return
        if give_up():
            counts.add_problem("sweep", "it was stopped before its end")
            return


def _recheck(context: JobContext, work: DoneWork, counts: SweepCounts, give_up: Callable[[], bool]) -> bool:
    """Verify the evidence of one ticket again, record it, and return whether a check was run, which may take long.

    One that was stopped or could not be filed is due again.
    """
    identifier = work.ticket.identifier
    try:
        result = _run_check(context, work, give_up)
    except RecheckSkipped as reason:
        counts.skipped[identifier] = str(reason)
        _record(context, work, "skipped", f"{reason}, so it is skipped")
        return False
    except CANNOT_CHECK as error:
        counts.add_problem(identifier, error)
        _record(context, work, "skipped", "its check could not be run")
        return True
    if result.has_passed:
        counts.verified.append(identifier)
        _record(context, work, "held", "it holds")
    elif not give_up() and _file_item(context, _describe_failure(work, result, counts.redaction), counts):
        counts.verified.append(identifier)
        _record(context, work, "failed", "its check does not pass")
    return True


def _record(context: JobContext, work: DoneWork, result: str, detail: str) -> None:
    with writing(context.engine) as session:
        board_sweep.record_recheck(session, work, result, detail, SWEEP)


def _run_check(context: JobContext, work: DoneWork, give_up: Callable[[], bool]) -> CheckResult:
    """Run the project's check at the verified commit. Raises `RecheckSkipped`, and what keeps a check from running."""
    repository = _require_repository(work)
    if git.resolve_revision(repository, work.commit) is None:
        raise RecheckSkipped(f"its commit {work.commit[:SHORT_SHA_LENGTH]} is gone")
    with reading(context.engine) as session:
        project = session.get(Project, work.ticket.project_id) if work.ticket.project_id else None
        profile = session.get(Profile, work.run.profile) if work.run.profile else None
    if project is None or not project.check_command:
        raise RecheckSkipped("its project has no check command any more")
    scratch = context.settings.sweeps_dir / work.ticket.identifier
    make_private_dir(scratch.parent)
    name = workspaces.format_scratch_name(TASK, work.ticket.identifier)
    redaction = spec_builder.build_redaction(context.settings, profile)
    with worktrees.check_out_detached(repository, scratch, work.commit):
        return ScratchCheck(context, project, profile, work.run.id, scratch, name, redaction, give_up).run()


def _require_repository(work: DoneWork) -> Path:
    repository = Path(work.run.repository or "")
    if not git.is_repository(repository):
        raise RecheckSkipped(f"its repository {repository} is gone")
    return repository


def _describe_failure(work: DoneWork, result: CheckResult, redaction: Redaction) -> NewItem:
    command, commit = redaction.clean_text(shlex.join(result.argv)), work.commit[:SHORT_SHA_LENGTH]
    ending = f"exit {result.exit_code}" if result.exit_code is not None else "it was ended"
    title = f"{work.ticket.identifier} is done, but its check does not pass any more"
    output = f"\n\n{display_names.format_code_block(result.tail)}" if result.tail else ""
    body = f"`{command}` at {commit}: {'timed out' if result.timed_out else ending}. It passed before.{output}"
    return NewItem(kind=board_sweep.EVIDENCE, title=title, body=body, ticket=work.ticket.identifier)
