"""A simulated day: scripted people and agents work on a real store, the loops of the control room run at their times.

The clock is simulated and moved minute by minute. Dispatch decides and claims, reports are applied, and every loop runs, as
they do on a board; only the processes of the agents are left out, and their wrappers' reports are scripted. At the end each
scenario's state, moves, alerts and inbox items are compared with what its file says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from bench.installation import BENCH_ACTOR, Installation
from database import reading, writing
from jobs import job_context, wake
from models import ActorKind, AgentKind, Gate, InboxItem, Run, Ticket, TicketEvent
from protocol import Failure
from tickets.dispatch import dispatch_plan
from tickets.lifecycle import transitions
from tickets.runs import claims, heartbeat, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.shared.inputs import NewTicket
from tickets.team import agents, projects
from tickets.team.agents import NewAgent
from tickets.team.projects import NewProject

from .day_clock import DayClock, simulate_clock
from .scenarios import Reaction, Scenario, Step

HOST = "simulated"
AGENTS = ("alpha", "beta", "gamma")
PROJECTS = {"web": Gate.NONE, "api": Gate.PERSON}
DAY_MINUTES = 24 * 60
SILENCE_MINUTES = 20
PEOPLE = ("alice", "bob")
ACTORS = {name: Actor.human(name) for name in PEOPLE} | {"orchestrator": Actor(ActorKind.ORCHESTRATOR, "orchestrator")}
_SETTINGS = {"MC_MAX_WORKERS": 12, "MC_RETRY_LIMIT": 3, "MC_RETRY_BACKOFF_SECONDS": 60}


@dataclass(slots=True)
class LiveRun:
    """A run at work: what its agent does, and when it ends."""

    run_id: int
    step: Step
    ends: int


@dataclass(slots=True)
class Actors:
    """The state of one scenario: its ticket, and how far its agent and its people have come."""

    scenario: Scenario
    ticket_id: int | None = None
    steps: int = 0
    reactions: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one scenario, in the words of its file."""

    status: str
    runs: int
    moves: list[str]
    alerts: list[str]
    inbox: list[str]


class Day:
    """A board in a folder of its own, with two projects and three agents, and the scenarios that are played on it."""

    def __init__(self, folder: Path, scenarios: Sequence[Scenario]) -> None:
        self.clock = DayClock()
        self.board = Installation(folder / "home", HOME=folder, **_SETTINGS)
        self.context = job_context.build_context(self.board.settings, self.board.engine)
        self.actors = [Actors(scenario) for scenario in scenarios]
        self._live: dict[int, LiveRun] = {}
        self._add_team(folder)

    def _add_team(self, folder: Path) -> None:
        with writing(self.board.engine) as session:
            for name in AGENTS:
                agents.add_agent(session, NewAgent(name=name, runnable=True, profile="script", capacity=6), BENCH_ACTOR)
            for name in PEOPLE:
                agents.add_agent(session, NewAgent(name=name, kind=AgentKind.HUMAN), BENCH_ACTOR)
            for slug, gate in PROJECTS.items():
                (folder / slug).mkdir()
                body = NewProject(slug=slug, name=slug.title(), folder=str(folder / slug), max_runs=8, gate=gate)
                projects.add_project(session, body, BENCH_ACTOR)

    def play(self) -> list[str]:
        """Play the day and return every difference from the scenario files."""
        with simulate_clock(self.clock):
            while self.clock.minute < DAY_MINUTES:
                self._play_minute()
                self.clock.advance()
            return [problem for actors in self.actors for problem in self._compare(actors)]

    def _play_minute(self) -> None:
        for actors in self.actors:
            if actors.scenario.minute == self.clock.minute:
                self._create_ticket(actors)
        wake.wake_due(self.context)
        self._start_runs()
        self._work_runs()
        for actors in self.actors:
            self._react(actors)

    def _create_ticket(self, actors: Actors) -> None:
        facts = {"title": actors.scenario.about, "project": "web", **self._resolve(actors.scenario.ticket)}
        with writing(self.board.engine) as session:
            body = NewTicket.model_validate(facts)
            actors.ticket_id = transitions.create_ticket(session, body, ACTORS["alice"]).id

    def _resolve(self, value: Any) -> Any:
        """Replace each name of a scenario by the identifier of its ticket."""
        if isinstance(value, dict):
            return {key: self._resolve(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolve(part) for part in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        [actors] = [actors for actors in self.actors if actors.scenario.name == value[1:]]
        with reading(self.board.engine) as session:
            return session.get_one(Ticket, actors.ticket_id).identifier

    def _start_runs(self) -> None:
        with reading(self.board.engine) as session:
            plan = dispatch_plan.plan_dispatch(session, self.context.limits)
        by_ticket = {actors.ticket_id: actors for actors in self.actors}
        for ticket in plan.claim:
            if actors := by_ticket.get(ticket.id):
                self._start_run(actors, ticket.id)

    def _start_run(self, actors: Actors, ticket_id: int) -> None:
        if actors.steps == len(actors.scenario.steps):
            problem = f"{actors.scenario.name}: a run would start that the scenario does not expect"
            actors.problems = list(dict.fromkeys([*actors.problems, problem]))
            return
        step = actors.scenario.steps[actors.steps]
        actors.steps += 1
        with writing(self.board.engine) as session:
            run_id = claims.claim_ticket(session, ticket_id, HOST).run.id
        self._live[run_id] = LiveRun(run_id, step, self.clock.minute + step.minutes)

    def _work_runs(self) -> None:
        for live in list(self._live.values()):
            with writing(self.board.engine) as session:
                run = lookup.get_run(session, live.run_id)
                if run.stop_code is not None:
                    self._report(session, live, "stopped")
                elif live.step.verdict != "stalled" or self.clock.minute < live.ends:
                    heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="running"))
                if live.step.verdict == "stalled" and self.clock.minute == live.ends + SILENCE_MINUTES:
                    self._report(session, live, "timed_out")
                elif live.step.verdict != "stalled" and self.clock.minute >= live.ends:
                    self._report(session, live, live.step.verdict)

    def _report(self, session: Session, live: LiveRun, verdict: str) -> None:
        if self._live.pop(live.run_id, None) is None:
            return
        body: dict[str, Any] = {"verdict": verdict, "summary": live.step.summary}
        if verdict in ("failed", "timed_out"):
            failure = live.step.failure if verdict == "failed" else Failure.TIMEOUT
            body["failure"] = {"class": failure, "message": live.step.summary, "retry_at": live.step.retry_at}
        body["observations"] = _build_observations(live)
        report = reports.RunReport.model_validate(body)
        reports.apply_report(session, live.run_id, report, self.context.retry)

    def _react(self, actors: Actors) -> None:
        if actors.ticket_id is None or actors.reactions == len(actors.scenario.reactions):
            return
        reaction = actors.scenario.reactions[actors.reactions]
        with reading(self.board.engine) as session:
            ticket = lookup.get_ticket(session, actors.ticket_id)
            waited = (self.clock.moment - ticket.moved).total_seconds() / 60
        if ticket.status.value == reaction.when and waited >= reaction.after:
            actors.reactions += 1
            self._make_move(actors, ticket.id, reaction)

    def _make_move(self, actors: Actors, ticket_id: int, reaction: Reaction) -> None:
        try:
            with writing(self.board.engine) as session:
                transitions.transition(session, ticket_id, reaction.move, ACTORS[reaction.by], **reaction.facts)
            answer = "accepted"
        except DomainError as error:
            answer = f"refused: {error}"
        if answer.startswith("refused") != reaction.refused:
            actors.problems.append(f"{actors.scenario.name}: {reaction.move} was {answer}")

    # ------------------------------------------------------------------------------------------------------ comparison

    def _compare(self, actors: Actors) -> list[str]:
        name, expected = actors.scenario.name, actors.scenario.expect
        if actors.ticket_id is None:
            return [f"{name}: the ticket was not created"]
        with reading(self.board.engine) as session:
            outcome = _load_outcome(session, actors.ticket_id)
        differences = [
            f"{name}: {part} {getattr(outcome, part)}, expected {getattr(expected, part)}"
            for part in ("status", "runs", "moves", "alerts", "inbox")
            if getattr(outcome, part) != getattr(expected, part)
        ]
        return [*actors.problems, *differences]


def _build_observations(live: LiveRun) -> dict[str, Any]:
    """Build what a wrapper observes of a work tree in which the agent has made its commits."""
    step, sha = live.step, f"{live.run_id:040x}"
    commits = [{"sha": sha, "subject": step.summary} for _ in range(step.commits)]
    observed = {"head_sha": sha, "tree_sha": sha, "commits": commits, "files_changed": step.commits}
    check = {"argv": ["make", "check"], "exit_code": step.check, "seconds": 3.0} if step.check is not None else None
    return observed | {"check": check}


def _load_outcome(session: Session, ticket_id: int) -> Outcome:
    moved = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id, TicketEvent.event_type == "ticket_moved")
    moves = [f"{event.actor} {event.payload_json['move']}" for event in session.scalars(moved.order_by(TicketEvent.id))]
    items = session.scalars(select(InboxItem).where(InboxItem.ticket_id == ticket_id).order_by(InboxItem.id))
    return Outcome(
        status=session.get_one(Ticket, ticket_id).status.value,
        runs=session.scalar(select(func.count()).select_from(Run).where(Run.ticket_id == ticket_id)) or 0,
        moves=moves,
        alerts=[],
        inbox=[_describe_item(item) for item in items],
    )


def _describe_item(item: InboxItem) -> str:
    action = item.action or {}
    return f"{item.kind} {item.state.value} {action.get('move') or action.get('type', '')}".strip()


def play_day(scenarios: Sequence[Scenario]) -> list[str]:
    """Play a day on a new board. Returns every difference from the scenario files."""
    with tempfile.TemporaryDirectory(prefix="mc-day-", ignore_cleanup_errors=True) as folder:
        day = Day(Path(folder), scenarios)
        try:
            return day.play()
        finally:
            day.board.close()
