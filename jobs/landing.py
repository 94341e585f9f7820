"""Landing what was approved: see the steps in `mc_land.py`. Nothing of this is done inside a transaction."""

from __future__ import annotations

import shlex
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from database import Session, StoreUnavailable, reading, writing
from models import Landing, Profile, Project, Run, TaskOutcome, Ticket, Trigger
from tickets.runs import landing_results
from tickets.shared.errors import DomainError
from tickets.workflow import landing
from tickets.workflow.landing import Plan
from workers.contract.agent_events import plain
from workers.contract.redaction import Redaction
from workers.contract.spec import marker
from workers.host import processes
from workers.host.private_dirs import make_private
from workers.repository import checks, git, linked_files, pull_requests, worktrees
from workers.repository import landing as runway
from workers.repository.landing import Conflict, Job, LandingError, Prepared
from workers.repository.workspace import WorkspaceError, set_up

from . import single_flight, spec_builder
from .job_context import JobContext
from .reconcile import NOBODY
from .task_recorder import Done, recorded

TASK = "landing"
SHORT = 10
STOP_SECONDS = 4.0
Settle = Callable[[Session, int, Plan], bool]


class Withdrawn(Exception):
    """The ticket does not wait for this landing any more, or the door is to stop."""


class CheckFailed(Exception):
    """The check command does not pass on the result."""

    def __init__(self, outcome: checks.Outcome) -> None:
        super().__init__(outcome.tail)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Result:
    """What was landed, in a sentence, and what is kept of it."""

    said: str
    data: dict[str, Any]


def make_pass(bench: JobContext, give_up: Callable[[], bool] = checks.never) -> Done:
    """Land everything that waits for it on this machine, one after the other; a second pass at the same time is `skipped`."""
    counted: Counter[str] = Counter()
    try:
        with single_flight.alone_here(bench, TASK):
            _sweep(bench)
            with reading(bench.engine) as session:
                waiting = landing_results.wanted(session, bench.host)
            for ticket in waiting:
                counted[_tried(bench, ticket, give_up)] += 1
    except single_flight.Held as held:
        return Done(TaskOutcome.SKIPPED, {"held_by": str(held)}, again=True)
    failed, moved = counted["failed"], counted["landed"] + counted["sent_back"]
    outcome = TaskOutcome.WARNING if failed else TaskOutcome.ACTED if moved else TaskOutcome.NOOP
    return Done(outcome, dict(counted))


def _tried(bench: JobContext, ticket: Ticket, give_up: Callable[[], bool]) -> str:
    """The trouble of one ticket is no other's: what cannot even be told of it is left for the next pass."""
    try:
        return _Attempt(bench, ticket, give_up).land()
    except StoreUnavailable:
        raise
    except Exception:
        traceback.print_exc()
        return "failed"


def _sweep(bench: JobContext) -> None:
    """End the checks and remove the work trees of a door that was killed."""
    folder = bench.settings.landings_dir
    for left in folder.iterdir() if folder.is_dir() else ():
        processes.stop(NOBODY, marker(bench.settings.instance, f"{TASK}-{left.name}"), 0)
    worktrees.sweep(folder)


def run_pass(
    bench: JobContext, trigger: Trigger, *, task: str = TASK, give_up: Callable[[], bool] = checks.never
) -> Done:
    """Land what waits for it and record that."""
    return recorded(bench.engine, task, TASK, trigger, partial(make_pass, bench, give_up))


class Lander:
    """Lands what waits for it in a thread of its own, as a push or a check may take long; `tick` looks what there is.

    `work` makes and records a pass. What could not be settled is left to the task of each minute; where that is disabled,
    nothing is landed.
    """

    def __init__(
        self, bench: JobContext, work: Callable[[], Done], enabled: Callable[[], bool], log: Callable[[str], None]
    ) -> None:
        self._bench = bench
        self._make_pass = work
        self._enabled = enabled
        self._log = log
        self._thread = threading.Thread()
        self._tried: set[tuple[int, int]] = set()

    def tick(self) -> bool:
        """Start what there is to do; whether there may be more soon, even where the store does not change."""
        if self._thread.is_alive():
            return True
        with reading(self._bench.engine) as session:
            waiting = {
                (ticket.id, plan.key)
                for ticket in landing_results.wanted(session, self._bench.host)
                if (plan := landing.of(ticket))
            }
        if not waiting - self._tried or not self._enabled():
            return False
        self._tried = waiting
        self._thread = threading.Thread(target=self._work, name="landing", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Wait a moment for the pass that runs; what is cut off is begun again by the next one."""
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _work(self) -> None:
        try:
            if self._make_pass().again:
                self._tried.clear()
        except Exception as error:  # the thread has nobody else to tell
            self._log(f"landing: {type(error).__name__}: {error}")


class _Attempt:
    """The landing of one ticket."""

    def __init__(self, bench: JobContext, ticket: Ticket, give_up: Callable[[], bool]) -> None:
        plan = landing.of(ticket)
        assert plan is not None, "a ticket that waits to be landed has its plan"
        self._bench, self._ticket, self._plan, self._give_up = bench, ticket, plan, give_up
        self._tested: dict[str, Any] | None = None
        self._redaction = Redaction(spec_builder.secrets_in(bench.settings.ambient.environment))
        self._scratch = bench.settings.landings_dir / ticket.identifier
        self._job = Job(
            repository=Path(plan.repository),
            base=plan.base,
            branch=plan.branch,
            commit=plan.commit,
            identifier=ticket.identifier,
            title=ticket.title,
            key=plan.key,
        )

    def land(self) -> str:
        """What came of it: landed, sent_back, failed or withdrawn. Whatever goes wrong is told to a person, once."""
        try:
            result = self._do()
        except Withdrawn:
            return "withdrawn"
        except Conflict as error:
            return self._settle("sent_back", partial(landing_results.conflicts, files=error.files))
        except CheckFailed as error:
            return self._settle("sent_back", self._account(error.outcome))
        except LandingError as error:
            return self._fail(str(error))
        except (git.GitError, WorkspaceError, linked_files.LinkRefused, OSError) as error:
            return self._fail(f"{str(error).rstrip('.')}. Settle that, then approve again.")
        except Exception as error:
            traceback.print_tb(error.__traceback__)
            print(f"{self._ticket.identifier}: {type(error).__name__}: {error}", file=sys.stderr)
            return self._fail(f"Something went wrong that should not ({type(error).__name__}). Approve again.")
        return self._succeed(result)

    def _do(self) -> Result:
        if not self._is_wanted():
            raise Withdrawn
        if self._plan.policy in (Landing.MERGE, Landing.SQUASH):
            return self._onto_base()
        remote = runway.push(self._job)
        if self._plan.policy is Landing.PUSH:
            return Result(f"Pushed {self._plan.branch} to {remote}.", {"commit": self._plan.commit, "remote": remote})
        address = pull_requests.open_request(self._job, remote)
        said = f"Opened a pull request for {self._plan.branch} onto {self._plan.base}."
        return Result(said, {"commit": self._plan.commit, "remote": remote, "address": address})

    def _onto_base(self) -> Result:
        squash = self._plan.policy is Landing.SQUASH
        make_private(self._scratch.parent)
        made = runway.onto_base(self._job, self._scratch, squash=squash, look=self._look)
        verb = "Squashed onto" if squash else "Merged into"
        said = f"{verb} {self._plan.base} as {made.commit[:SHORT]}."
        if made.already:
            said = f"{self._plan.base} had it already, at {made.commit[:SHORT]}."
        return Result(said, {"commit": made.commit, "check": self._tested})

    def _is_wanted(self) -> bool:
        with reading(self._bench.engine) as session:
            return landing_results.is_wanted(session, self._ticket.id, self._plan)

    # The result, before the base branch moves

    def _look(self, made: Prepared) -> None:
        """The check command must pass, where the files are not those it has passed on; then, is it still wanted?"""
        if self._plan.waived is None and not made.tested:
            self._check()
        if self._give_up() or not self._is_wanted():
            raise Withdrawn

    def _check(self) -> None:
        with reading(self._bench.engine) as session:
            project = session.get(Project, self._ticket.project_id) if self._ticket.project_id else None
            run = session.get(Run, self._plan.run)
            profile = session.get(Profile, run.profile) if run and run.profile else None
        if project is None or not project.check_command:
            return
        environment = self._environment(profile)
        timeout = self._bench.settings.limits.check_seconds
        linked_files.link_files(Path(project.folder), self._scratch, project.link_files)
        if project.setup_command:
            set_up(self._scratch, project.setup_command, environment, timeout)
        outcome = self._run(project.check_command, environment, timeout)
        if outcome.exit_code is None and not outcome.timed_out:
            raise Withdrawn
        if not outcome.passed:
            raise CheckFailed(outcome)
        self._tested = outcome.as_json() | {"tail": self._redaction.text(outcome.tail)}

    def _environment(self, profile: Profile | None) -> dict[str, str]:
        """That of the ticket's runs, with a marker of its own: what acts under it is no operator."""
        return spec_builder.environment_of(self._bench.settings, profile, self._name)

    @property
    def _name(self) -> str:
        return f"{TASK}-{self._ticket.identifier}"

    def _run(self, argv: list[str], environment: dict[str, str], timeout: float) -> checks.Outcome:
        return checks.run(
            argv,
            cwd=self._scratch,
            env=environment,
            marker=marker(self._bench.settings.instance, self._name),
            log=self._bench.settings.logs_dir / f"{self._name}.log",
            timeout=timeout,
            give_up=lambda: self._give_up() or not self._is_wanted(),
        )

    def _account(self, outcome: checks.Outcome) -> Settle:
        ending = "timed out" if outcome.timed_out else f"exit {outcome.exit_code}"
        command, tail = shlex.join(outcome.argv), self._redaction.text(outcome.tail)
        return partial(landing_results.check_failed, command=command, ending=ending, tail=tail)

    # What came of it

    def _succeed(self, result: Result) -> str:
        try:
            with writing(self._bench.engine) as session:
                counted = landing_results.succeed(session, self._ticket.id, self._plan, result.said, result.data)
        except DomainError as error:
            return self._fail(f"{result.said} The ticket cannot be completed all the same: {error.message}")
        if self._plan.policy in (Landing.MERGE, Landing.SQUASH):
            runway.forget(self._job)
        return "landed" if counted else "withdrawn"

    def _fail(self, reason: str) -> str:
        said = plain(self._redaction.text(runway.without_credentials(reason)))
        return self._settle("failed", partial(landing_results.fail, reason=said))

    def _settle(self, came: str, settle: Settle) -> str:
        with writing(self._bench.engine) as session:
            return came if settle(session, self._ticket.id, self._plan) else "withdrawn"
