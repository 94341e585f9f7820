"""The landing of approved tickets (see the steps in `mc_land.py`). None of this runs inside a transaction."""

from __future__ import annotations

import shlex
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import failpoints
from database import Session, StoreUnavailable, reading, writing
from failpoints import Failpoint
from models import Landing, Profile, Project, Run, TaskOutcome, Ticket, Trigger
from tickets.runs import landing_results
from tickets.shared.errors import DomainError
from tickets.workflow import landing
from tickets.workflow.landing import LandingPlan
from workers.host.ports import NoFreePorts
from workers.host.private_dirs import make_private_dir
from workers.repository import checks, git, linked_files, pull_requests
from workers.repository import landing as git_landing
from workers.repository.landing import LandingError, LandingJob, MergeCandidate, MergeConflict
from workers.repository.workspace import WorkspaceError

from . import single_flight, spec_builder, workspaces
from .job_context import JobContext
from .schedule.event_job import EventJob
from .task_recorder import JobResult, run_and_record
from .workspaces import ScratchCheck

TASK = "landing"
SHORT_SHA_LENGTH = 10
STOP_SECONDS = 4.0
RecordResult = Callable[[Session, int, LandingPlan], bool]


class LandingWithdrawn(Exception):
    """The ticket no longer waits for this landing, or the program is stopping."""


class CheckFailed(Exception):
    """The check command fails on the merge result."""

    def __init__(self, outcome: checks.CheckResult) -> None:
        super().__init__(outcome.tail)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class LandingResult:
    """The result of a landing: a sentence for people and the data to record."""

    sentence: str
    data: dict[str, Any]


def make_pass(context: JobContext, give_up: Callable[[], bool] = checks.never_give_up) -> JobResult:
    """Land all pending tickets of this machine, one after the other. A second pass at the same time is `skipped`."""
    counts: Counter[str] = Counter()
    try:
        with single_flight.hold_host_lock(context, TASK):
            workspaces.remove_scratch_leftovers(context, context.settings.landings_dir, TASK)
            with reading(context.engine) as session:
                waiting = landing_results.list_pending(session, context.host)
            for ticket in waiting:
                counts[_land_ticket(context, ticket, give_up)] += 1
    except single_flight.AlreadyRunning as holder:
        return JobResult(TaskOutcome.SKIPPED, {"held_by": str(holder)}, again=True)
    failed, finished = counts["failed"], counts["landed"] + counts["sent_back"]
    outcome = TaskOutcome.WARNING if failed else TaskOutcome.ACTED if finished else TaskOutcome.NOOP
    return JobResult(outcome, dict(counts))


def _land_ticket(context: JobContext, ticket: Ticket, give_up: Callable[[], bool]) -> str:
    """Land one ticket. Its failure must not affect the others, and if it cannot be recorded, the next pass retries."""
    try:
        return _LandingAttempt(context, ticket, give_up).land()
    except StoreUnavailable:
        raise
    except Exception:
        traceback.print_exc()
        return "failed"


def run_pass(
    context: JobContext, trigger: Trigger, *, task: str = TASK, give_up: Callable[[], bool] = checks.never_give_up
) -> JobResult:
    """Land the pending tickets and record the pass."""
    return run_and_record(context.engine, task, trigger, partial(make_pass, context, give_up))


class Lander(EventJob):
    """Lands tickets as soon as they are approved. What cannot be settled is left to the task of each minute."""

    thread_name, log_label = TASK, "landing"
    _tried: frozenset[tuple[int, int]] = frozenset()

    def tick(self) -> bool:
        """Start a pass for new pending tickets. True when there may be more soon, even if the store does not change."""
        if self._thread.is_alive:
            return True
        with reading(self._context.engine) as session:
            waiting = frozenset(
                (ticket.id, plan.key)
                for ticket in landing_results.list_pending(session, self._context.host)
                if (plan := landing.get_plan(ticket))
            )
        if not waiting - self._tried or not self._enabled():
            return False
        self._tried = waiting
        self._thread.start(self._work)
        return True

    def stop(self) -> None:
        """Wait a moment for the running pass. An interrupted landing is restarted by the next pass."""
        self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        if self._make_pass().again:
            self._tried = frozenset()


class _LandingAttempt:
    """The landing of one ticket."""

    def __init__(self, context: JobContext, ticket: Ticket, give_up: Callable[[], bool]) -> None:
        plan = landing.get_plan(ticket)
        assert plan is not None, "a ticket that waits to be landed has its plan"
        self._context, self._ticket, self._plan, self._give_up = context, ticket, plan, give_up
        self._tested: dict[str, Any] | None = None
        self._scratch = context.settings.landings_dir / ticket.identifier
        with reading(context.engine) as session:
            self._project = session.get(Project, ticket.project_id) if ticket.project_id else None
            run = session.get(Run, plan.run)
            self._profile = session.get(Profile, run.profile) if run and run.profile else None
        self._redaction = spec_builder.build_redaction(context.settings, self._profile)
        self._job = LandingJob(
            repository=Path(plan.repository),
            base=plan.base,
            branch=plan.branch,
            commit=plan.commit,
            identifier=ticket.identifier,
            title=ticket.title,
            key=plan.key,
            address=self._project.push_address if self._project else None,
            sign=self._project is not None and self._project.sign_landings,
        )

    def land(self) -> str:
        """Land the ticket and return the result: landed, sent_back, failed or withdrawn. A failure is recorded for people once."""
        try:
            result = self._carry_out()
        except LandingWithdrawn:
            return "withdrawn"
        except MergeConflict as error:
            return self._settle("sent_back", partial(landing_results.send_back_conflicts, files=error.files))
        except CheckFailed as error:
            return self._settle("sent_back", self._describe_check(error.outcome))
        except LandingError as error:
            return self._fail(str(error))
        except (git.GitError, WorkspaceError, linked_files.LinkRefused, NoFreePorts, OSError) as error:
            return self._fail(f"{str(error).rstrip('.')}. Resolve that, then approve again.")
        except Exception as error:
            traceback.print_tb(error.__traceback__)
            print(f"{self._ticket.identifier}: {type(error).__name__}: {error}", file=sys.stderr)
            return self._fail(f"Something went wrong unexpectedly ({type(error).__name__}). Approve again.")
        return self._succeed(result)

    def _carry_out(self) -> LandingResult:
        if not self._is_wanted():
            raise LandingWithdrawn
        if self._plan.policy in (Landing.MERGE, Landing.SQUASH):
            return self._land_on_base()
        remote, note = git_landing.push_branch(self._job), git_landing.describe_upload(self._job)
        facts = {"commit": self._plan.commit, "remote": remote}
        if self._plan.policy is Landing.PUSH:
            return LandingResult(f"Pushed {self._plan.branch} to {remote}.{note}", facts)
        address = pull_requests.open_pull_request(self._job)
        sentence = f"Opened a pull request for {self._plan.branch} onto {self._plan.base}.{note}"
        return LandingResult(sentence, facts | {"address": address})

    def _land_on_base(self) -> LandingResult:
        squash = self._plan.policy is Landing.SQUASH
        make_private_dir(self._scratch.parent)
        result = git_landing.merge_onto_base(self._job, self._scratch, squash=squash, look=self._verify)
        verb = "Squashed onto" if squash else "Merged into"
        sentence = f"{verb} {self._plan.base} as {result.commit[:SHORT_SHA_LENGTH]}."
        if result.already:
            sentence = f"{self._plan.base} already had it, at {result.commit[:SHORT_SHA_LENGTH]}."
        return LandingResult(sentence + result.note, {"commit": result.commit, "check": self._tested})

    def _is_wanted(self) -> bool:
        with reading(self._context.engine) as session:
            return landing_results.is_awaited(session, self._ticket.id, self._plan)

    # Checks before the base branch moves

    def _verify(self, candidate: MergeCandidate) -> None:
        """Require that the check command passes when the files differ from the tested ones, and that the landing is still wanted."""
        if self._plan.waived is None and not candidate.tested:
            self._check()
        if self._give_up() or not self._is_wanted():
            raise LandingWithdrawn

    def _check(self) -> None:
        project = self._project
        if project is None or not project.check_command:
            return
        outcome = ScratchCheck(
            self._context,
            project,
            self._profile,
            self._plan.run,
            self._scratch,
            workspaces.format_scratch_name(TASK, self._ticket.identifier),
            self._redaction,
            lambda: self._give_up() or not self._is_wanted(),
        ).run()
        if outcome.exit_code is None and not outcome.timed_out:
            raise LandingWithdrawn
        if not outcome.has_passed:
            raise CheckFailed(outcome)
        self._tested = outcome.as_json()

    def _describe_check(self, outcome: checks.CheckResult) -> RecordResult:
        ending = "timed out" if outcome.timed_out else f"exit {outcome.exit_code}"
        command = self._redaction.clean_text(shlex.join(outcome.argv))
        return partial(landing_results.send_back_failed_check, command=command, ending=ending, tail=outcome.tail)

    # Results

    def _succeed(self, result: LandingResult) -> str:
        failpoints.kill_at(Failpoint.MERGED)
        try:
            with writing(self._context.engine) as session:
                is_recorded = landing_results.record_success(
                    session, self._ticket.id, self._plan, self._redaction.clean_text(result.sentence), result.data
                )
        except DomainError as error:
            return self._fail(f"{result.sentence} The ticket still cannot be completed: {error.message}")
        if self._plan.policy in (Landing.MERGE, Landing.SQUASH):
            git_landing.delete_references(self._job)
        return "landed" if is_recorded else "withdrawn"

    def _fail(self, reason: str) -> str:
        text = self._redaction.clean_text(git_landing.strip_credentials(reason))
        return self._settle("failed", partial(landing_results.record_failure, reason=text))

    def _settle(self, result: str, record: RecordResult) -> str:
        with writing(self._context.engine) as session:
            return result if record(session, self._ticket.id, self._plan) else "withdrawn"
