"""A simulated day: scripted people and agents work on a real store, the loops of the control room run at their times.

The clock is simulated and moved minute by minute. Dispatch decides and claims, reports are applied, the scheduler runs the
loops and keeps its ledger, and alerts are sent by mail, as they are on a board; only the processes of the agents are left out,
and their wrappers' reports are scripted. At the end each scenario's state, moves, alerts, inbox items and comments are
compared with what its file says, and the whole board with what must be true of it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from database import reading, writing
from jobs import job_context, wake
from jobs.scheduler import Scheduler
from models import ActorKind, InboxItem, Run, TaskSlot, Ticket
from tickets.lifecycle import transitions
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.shared.inputs import NewTicket

from . import day_alerts, day_board, day_checks, day_outcome
from .day_agents import DayAgents
from .day_alerts import DayAlerts
from .day_clock import DayClock, simulate_clock
from .scenarios import Progress, Reaction, Scenario

DAY_MINUTES = 24 * 60
ACTORS = {name: Actor.human(name) for name in day_board.PEOPLE} | {
    "orchestrator": Actor(ActorKind.ORCHESTRATOR, "orchestrator")
}


@dataclass(slots=True)
class DayResult:
    """The figures of a day and every problem."""

    scenarios: int
    minutes: int
    runs: int = 0
    alerts: int = 0
    items: int = 0
    slots: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def format(self) -> list[str]:
        return [
            f"{self.scenarios} scenarios in {self.minutes} simulated minutes, played in {self.seconds:.0f} seconds",
            f"{self.runs} runs, {self.alerts} alerts, {self.items} inbox items, {self.slots} slots of tasks",
            *(self.problems or ["every scenario ended as its file says"]),
        ]

    def to_json(self) -> dict[str, Any]:
        return {"passed": not self.problems, **asdict(self)}


class Day:
    """A board in a folder of its own, and the scenarios that are played on it."""

    def __init__(self, folder: Path, scenarios: Sequence[Scenario], first_minute: int = 0) -> None:
        self.board = day_board.open_board(folder)
        self.task_folder = day_board.link_tasks(folder / "tasks")
        self.clock = DayClock(first_minute)
        self.context = job_context.build_context(self.board.settings, self.board.engine)
        self.scenarios = [Progress(scenario) for scenario in scenarios]
        self.agents = DayAgents(self.context, self.clock, self.scenarios)
        self.alerts = DayAlerts(self.context, self.clock)
        self.log: list[str] = []
        with writing(self.board.engine) as session:
            day_board.add_channel(session, self.context, self.alerts.server.port)
            day_board.add_user_tasks(session, self.context, scenarios)

    def play(self, end: int = DAY_MINUTES) -> DayResult:
        """Play until a minute of the day."""
        began = time.monotonic()
        with simulate_clock(self.clock):
            loops = Scheduler(self.context, self.task_folder, self.clock.start, self.log.append)
            last = self.clock.start
            while self.clock.minute < end:
                last = self.clock.moment
                self._play_minute(loops)
                self.clock.advance()
            result = self._build_result([*self._check_board(loops, last), *self.log, *self.alerts.problems])
        result.seconds = time.monotonic() - began
        return result

    def close(self) -> None:
        self.alerts.close()
        self.board.close()

    def _play_minute(self, loops: Scheduler) -> None:
        for progress in self.scenarios:
            if progress.scenario.minute == self.clock.minute and not progress.scenario.schedule:
                self._create_ticket(progress)
        loops.tick(self.clock.moment)
        loops.wait()
        self._find_scheduled_tickets()
        wake.wake_due(self.context)
        self.agents.start_runs()
        self.agents.work_runs()
        for progress in self.scenarios:
            self._react(progress)
        self.alerts.tick()

    # ------------------------------------------------------------------------------------------------------- tickets

    def _create_ticket(self, progress: Progress) -> None:
        facts = {"title": progress.scenario.about, "project": "web", **self._resolve(progress.scenario.ticket)}
        facts["project"] = facts["project"] or None
        with writing(self.board.engine) as session:
            body = NewTicket.model_validate(facts)
            progress.ticket_id = transitions.create_ticket(session, body, ACTORS["alice"]).id

    def _find_scheduled_tickets(self) -> None:
        """Find the tickets that tasks have created in this minute."""
        for progress in self.scenarios:
            if progress.scenario.schedule and progress.scenario.minute == self.clock.minute:
                created = select(TaskSlot.ticket_id).where(TaskSlot.task == progress.scenario.name)
                with reading(self.board.engine) as session:
                    progress.ticket_id = session.scalar(created)

    def _resolve(self, value: Any) -> Any:
        """Replace each name of a scenario by the identifier of its ticket."""
        if isinstance(value, dict):
            return {key: self._resolve(part) for key, part in value.items()}
        if isinstance(value, list):
            return [self._resolve(part) for part in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        [progress] = [progress for progress in self.scenarios if progress.scenario.name == value[1:]]
        with reading(self.board.engine) as session:
            return session.get_one(Ticket, progress.ticket_id).identifier

    def _react(self, progress: Progress) -> None:
        if progress.ticket_id is None or progress.reactions == len(progress.scenario.reactions):
            return
        reaction = progress.scenario.reactions[progress.reactions]
        with reading(self.board.engine) as session:
            ticket = lookup.get_ticket(session, progress.ticket_id)
            waited = (self.clock.moment - ticket.moved).total_seconds() / 60
        if ticket.status.value == reaction.when and waited >= reaction.after:
            progress.reactions += 1
            self._make_move(progress, ticket.id, reaction)

    def _make_move(self, progress: Progress, ticket_id: int, reaction: Reaction) -> None:
        try:
            with writing(self.board.engine) as session:
                transitions.transition(session, ticket_id, reaction.move, ACTORS[reaction.by], **reaction.facts)
            answer = "accepted"
        except DomainError as error:
            answer = f"refused: {error}"
        if answer.startswith("refused") != reaction.refused:
            progress.add_problem(f"{reaction.move} was {answer}")

    # ---------------------------------------------------------------------------------------------------------- result

    def _check_board(self, loops: Scheduler, last: datetime) -> list[str]:
        """List every difference from the files, and everything that must not be at the end of a day."""
        schedule = loops.load_schedule()
        span = (self.context.settings.zone, self.clock.start, last)
        problems = [*schedule.problems, *day_alerts.list_repeated(self.alerts.server.mails)]
        with reading(self.board.engine) as session:
            for progress in self.scenarios:
                problems += day_outcome.list_differences(session, progress, self.alerts.received)
            for task in schedule.tasks.values():
                problems += day_checks.list_slot_problems(session, task, *span)
            problems += day_checks.list_failed_tasks(session)
            problems += day_checks.list_open_items(session, self.scenarios)
            problems += day_checks.list_open_runs(session)
            problems += day_checks.list_other_problems(session, self.scenarios, self.alerts.received)
        return problems

    def _build_result(self, problems: list[str]) -> DayResult:
        minutes = int((self.clock.moment - self.clock.start).total_seconds() // 60)
        result = DayResult(len(self.scenarios), minutes, problems=problems)
        result.alerts = len(self.alerts.received)
        with reading(self.board.engine) as session:
            counts = (func.count(Run.id), func.count(InboxItem.id), func.sum(TaskSlot.count))
            result.runs, result.items, result.slots = (session.scalar(select(count)) or 0 for count in counts)
        return result


def play_day(scenarios: Sequence[Scenario], first_minute: int = 0, end: int = DAY_MINUTES) -> DayResult:
    """Play a day on a new board, or the minutes of it from the first one to before the end."""
    with tempfile.TemporaryDirectory(prefix="mc-day-", ignore_cleanup_errors=True) as folder:
        day = Day(Path(folder), scenarios, first_minute)
        try:
            return day.play(end)
        finally:
            day.close()
