"""The scripted agents of a simulated day: workers, the reviewer and the orchestrator, whose wrappers' reports are made here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from database import reading, writing
from jobs.job_context import JobContext
from models import ActorKind, InboxItem, Project, ReviewVerdict, Run, Ticket, TicketStatus
from protocol import Failure
from tickets.dispatch import dispatch_plan
from tickets.operations import inbox_items
from tickets.operations.inbox_items import Action
from tickets.planning import assessments
from tickets.planning.assessments import NewAssessment
from tickets.runs import claims, heartbeat, reports
from tickets.shared import lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.workflow import code_reviews
from workers.repository import git

from . import day_board
from .day_clock import DayClock
from .scenarios import Progress, ScriptedRun

SILENCE_MINUTES = 20
ORCHESTRATOR_INTERVAL = 60
"""Minutes between two times at which the orchestrator is free for the inbox."""
LEASE_SECONDS = 900
REVIEW_STEP = ScriptedRun(minutes=5, verdict="done", summary="The review is reported.")
INBOX_STEP = ScriptedRun(minutes=1, verdict="done", summary="The inbox is empty.")
LEFT_TO_PEOPLE = {"type": "none", "reason": "A person decides this."}
_ACTIONS: TypeAdapter[Action] = TypeAdapter(Action)


@dataclass(slots=True)
class LiveRun:
    """A run at work: what its agent does, and when it ends."""

    run_id: int
    step: ScriptedRun
    ends: int


class DayAgents:
    """The runs of a day. Each minute `start_runs` claims what dispatch has planned, and `work_runs` lets them go on."""

    def __init__(self, context: JobContext, clock: DayClock, scenarios: Sequence[Progress]) -> None:
        self._context = context
        self._clock = clock
        self._scenarios = scenarios
        self._live: dict[int, LiveRun] = {}

    def start_runs(self) -> None:
        with reading(self._context.engine) as session:
            if session.scalar(select(Ticket.id).where(Ticket.status == TicketStatus.TODO).limit(1)) is None:
                return
            plan = dispatch_plan.plan_dispatch(session, self._context.limits)
            inbox_ticket = runtime_flags.get_inbox_ticket(session)
        for ticket in plan.claim:
            if progress := self._find_progress(ticket.id):
                self._start_step(progress, ticket.id)
            elif ticket.id != inbox_ticket:
                self._claim(ticket.id, REVIEW_STEP)
            elif self._clock.minute % ORCHESTRATOR_INTERVAL == 0:
                self._claim(ticket.id, INBOX_STEP)

    def work_runs(self) -> None:
        for live in list(self._live.values()):
            with writing(self._context.engine) as session:
                self._work_run(session, live)
        if self._clock.minute % ORCHESTRATOR_INTERVAL == 0:
            self._settle_items()

    def _find_progress(self, ticket_id: int | None) -> Progress | None:
        return next((part for part in self._scenarios if part.ticket_id == ticket_id is not None), None)

    # -------------------------------------------------------------------------------------------------------- workers

    def _start_step(self, progress: Progress, ticket_id: int) -> None:
        if progress.steps == len(progress.scenario.steps):
            progress.add_problem("a run would start that the scenario does not expect")
            return
        step = progress.scenario.steps[progress.steps]
        progress.steps += 1
        self._claim(ticket_id, step)

    def _claim(self, ticket_id: int, step: ScriptedRun) -> None:
        with writing(self._context.engine) as session:
            run = claims.claim_ticket(session, ticket_id, self._context.host).run
            if step.review:
                folder = _find_folder(session, run)
                place = {"branch": _name_branch(run), "base_sha": git.resolve_branch(folder, "main")}
                claims.record_workspace(session, run.id, repository=str(folder), **place)
            self._live[run.id] = LiveRun(run.id, step, self._clock.minute + step.minutes)

    def _work_run(self, session: Session, live: LiveRun) -> None:
        run, is_stalled = lookup.get_run(session, live.run_id), live.step.verdict == "stalled"
        if run.stop_code is not None:
            self._report(session, live, "stopped")
        elif is_stalled and self._clock.minute == live.ends + SILENCE_MINUTES:
            self._report(session, live, "timed_out")
        elif not is_stalled and self._clock.minute >= live.ends:
            self._assess(session, run)
            self._report(session, live, live.step.verdict)
        elif not is_stalled or self._clock.minute < live.ends:
            heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="running"))

    def _report(self, session: Session, live: LiveRun, verdict: str) -> None:
        del self._live[live.run_id]
        body: dict[str, Any] = {"verdict": verdict, "summary": live.step.summary}
        if verdict in ("failed", "timed_out"):
            failure = live.step.failure if verdict == "failed" else Failure.TIMEOUT
            body["failure"] = {"class": failure, "message": live.step.summary, "retry_at": live.step.retry_at}
        body["observations"] = _build_observations(session, live)
        report = reports.RunReport.model_validate(body)
        reports.apply_report(session, live.run_id, report, self._context.retry)

    # ------------------------------------------------------------------------------------------- reviewer, orchestrator

    def _assess(self, session: Session, run: Run) -> None:
        """Report the verdict of a reviewer's run, which the last step of the reviewed work states."""
        subject = code_reviews.find_subject(session, run.ticket_id)
        progress = self._find_progress(subject.ticket_id) if subject else None
        if progress is None:
            return
        verdict = ReviewVerdict(progress.scenario.steps[progress.steps - 1].review or "needs_person")
        report = NewAssessment(verdict=verdict, summary=f"The verdict is {verdict.value}.")
        actor = Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id)
        assessments.report_assessment(session, lookup.get_ticket(session, run.ticket_id), report, None, actor)

    def _settle_items(self) -> None:
        """Let the orchestrator's run, if there is one, take every waiting item and settle it, as its tools would."""
        run_id = next((live.run_id for live in self._live.values() if live.step is INBOX_STEP), None)
        actor = Actor(ActorKind.ORCHESTRATOR, day_board.ORCHESTRATOR, run_id)
        while run_id is not None:
            with writing(self._context.engine) as session:
                item = inbox_items.deliver_next(session, actor, LEASE_SECONDS)
            if item is None:
                return
            self._settle_item(item, actor)

    def _settle_item(self, item: InboxItem, actor: Actor) -> None:
        progress = self._find_progress(item.ticket_id)
        action = (progress.scenario.orchestrator if progress else {}).get(item.kind, LEFT_TO_PEOPLE)
        try:
            with writing(self._context.engine) as session:
                if "fail" in action:
                    inbox_items.fail_item(session, item.id, action["fail"], actor)
                else:
                    inbox_items.act_on_item(session, item.id, _ACTIONS.validate_python(action), actor)
        except DomainError as refusal:
            assert progress is not None, refusal.message
            progress.add_problem(f"the action on its item was refused: {refusal.message}")
            with writing(self._context.engine) as session:
                inbox_items.fail_item(session, item.id, refusal.message, actor)


def _name_branch(run: Run) -> str:
    return f"mc/{run.ticket_id}"


def _find_folder(session: Session, run: Run) -> Path:
    project_id = session.get_one(Ticket, run.ticket_id).project_id
    return Path(session.get_one(Project, project_id).folder)


def _build_observations(session: Session, live: LiveRun) -> dict[str, Any]:
    """Build what a wrapper observes of a work tree in which the agent has made its commits."""
    step, run = live.step, lookup.get_run(session, live.run_id)
    sha = _make_commit(_find_folder(session, run), run) if step.review else f"{live.run_id:040x}"
    commits = [{"sha": sha, "subject": step.summary} for _ in range(step.commits)]
    observed = {"head_sha": sha, "tree_sha": sha, "commits": commits, "files_changed": step.commits}
    check = {"argv": ["make", "check"], "exit_code": step.check, "seconds": 3.0} if step.check is not None else None
    return observed | {"check": check}


def _make_commit(folder: Path, run: Run) -> str:
    """Make a commit on the branch of a run, as its agent would in a work tree of its own."""
    branch = _name_branch(run)
    git.check_output(folder, "switch", "--quiet", *([] if git.has_branch(folder, branch) else ["-c"]), branch)
    (folder / "work.txt").write_text(f"The work of run {run.id}.\n")
    sha = day_board.commit(folder, f"Run {run.id}")
    git.check_output(folder, "switch", "--quiet", "main")
    return sha
