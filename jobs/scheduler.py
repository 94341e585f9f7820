"""The scheduler's work: start what is due, each task one at a time and in a thread of its own, and record what it came to.

A task whose command is a job of this process (`JOBS`) is run in its thread; any other is started as a program.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

from database import reading, writing
from models import TaskOutcome, Trigger, now
from tickets.operations import tasks
from tickets.shared import events
from workers.run import task_process as programs
from workers.run.task_process import Ended

from . import cron, landing, pickup, single_flight, watchdog
from .cron import Task
from .job_context import JobContext
from .task_recorder import Done

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 8.0
"""Enough for a dispatch pass."""
STOP_SECONDS = 4.0
TIMEOUT_SECONDS = 300.0
"""For a job whose task has no file any more."""


@dataclass(frozen=True, slots=True)
class JobCall:
    """One call of a job: the task it is recorded as, and `give_up` to ask whether it should leave the rest to the next."""

    bench: JobContext
    task: str
    trigger: Trigger
    give_up: Callable[[], bool]


Job = Callable[[JobCall], Done]


def pick_up(call: JobCall) -> Done:
    return pickup.run_pass(call.bench, call.trigger, task=call.task)


def land(call: JobCall) -> Done:
    return landing.run_pass(call.bench, call.trigger, task=call.task, give_up=call.give_up)


JOBS: dict[tuple[str, ...], Job] = {("mc_pickup.py",): pick_up, ("mc_land.py",): land}
"""Commands of tasks that the scheduler carries out itself: to start a program each minute takes longer than its work."""


@dataclass(frozen=True, slots=True)
class Table:
    """What is to be run at one moment: the tasks, which are enabled, and what is wrong."""

    tasks: dict[str, Task]
    enabled: set[str]
    problems: list[str]


class Scheduler:
    """`started` stands for the last run of those that go by the clock and have never run. `log` takes a line for people."""

    def __init__(self, bench: JobContext, folder: Path, started: datetime, log: Callable[[str], None]) -> None:
        self._bench = bench
        self._folder = folder
        self._started = started
        self._log = log
        self._running: dict[str, threading.Thread] = {}
        self._ending = threading.Event()
        self._stopping = threading.Event()
        self._told: list[str] = []
        self._state: list[tuple[str, int]] | None = None
        self._content: tuple[dict[str, Task], list[str]] = ({}, [])
        self._decided: dict[str, bool] = {}
        self._next: dict[str, tuple[Task, datetime, datetime]] = {}
        with reading(bench.engine) as session:
            self._last = {name: row.started for name, row in tasks.latest(session).items()}
            self._cursor = events.last_id(session)

    def table(self) -> Table:
        """Read files and decisions; a problem is logged when it appears."""
        with reading(self._bench.engine) as session:
            self._decided = tasks.decisions(session)
        return self._table()

    def _table(self) -> Table:
        """As `table`, by the decisions that were last read."""
        found, problems = self._files()
        enabled = {name for name, task in found.items() if self._decided.get(name, task.head.enabled)}
        problems = [*problems, *cron.doubled(found, enabled)]
        for problem in problems:
            if problem not in self._told:
                self._log(f"tasks/{problem}")
        self._told = problems
        return Table(found, enabled, problems)

    def _files(self) -> tuple[dict[str, Task], list[str]]:
        """The folder's content, read again when a file has changed."""
        state = [(path.name, path.stat().st_mtime_ns) for path in sorted(self._folder.glob("*.md"))]
        if state != self._state:
            self._state, self._content = state, cron.load(self._folder)
        return self._content

    def tick(self, moment: datetime, *, changed: bool = True) -> list[str]:
        """Start what is due and what people asked for, where it is not running already; the names of these tasks.

        One that runs is due again when it has ended. Where nothing has `changed` since the last tick, the store is not read.
        """
        self._running = {name: thread for name, thread in self._running.items() if thread.is_alive()}
        table = self.table() if changed else self._table()
        due = {name: Trigger.TIMER for name in table.enabled if self._is_due(table, name, moment)}
        if changed:
            due |= dict.fromkeys(self._asked() & table.tasks.keys(), Trigger.OPERATOR)
        started = sorted(due.keys() - self._running.keys())
        for name in started:
            self._last[name] = moment
            given = (table.tasks[name], due[name])
            self._running[name] = threading.Thread(target=self._work, args=given, name=f"task {name}")
            self._running[name].start()
        return started

    def _asked(self) -> set[str]:
        """The tasks that were asked for since the last look."""
        with reading(self._bench.engine) as session:
            self._cursor, asked = tasks.requested(session, self._cursor)
        return asked

    @property
    def running(self) -> list[str]:
        return sorted(name for name, thread in self._running.items() if thread.is_alive())

    def wait(self) -> None:
        """Until every started task has ended."""
        for thread in self._running.values():
            thread.join()

    def stop(self) -> None:
        """Let what runs end, then make it; agents that a pass has started live on in tmux. A landing is cut off at once."""
        self._ending.set()
        deadline = time.monotonic() + PATIENCE_SECONDS
        for thread in self._running.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        for thread in self._running.values():
            thread.join(STOP_SECONDS)

    def run_now(self, name: str, trigger: Trigger = Trigger.OPERATOR) -> TaskOutcome:
        """Run one task here and now, enabled or not. Raises `KeyError` for an unknown one."""
        return self._run(self.table().tasks[name], trigger)

    def _is_due(self, table: Table, name: str, moment: datetime) -> bool:
        """What goes by elapsed time runs at once the first time: a new board can say whether it works.

        Where the clock was set back, a run that lies ahead of it counts as one of now: nothing waits until it is past.
        """
        if name not in self._last and table.tasks[name].recurs:
            return True
        last = self._last[name] = min(self._last.get(name, self._started), moment)
        return self._next_after(table.tasks[name], last) <= moment

    def _next_after(self, task: Task, last: datetime) -> datetime:
        """Worked out once for each run of a task: it is asked for each second."""
        known = self._next.get(task.name)
        if known is None or known[:2] != (task, last):
            known = (task, last, cron.next_after(task, last, self._bench.settings.zone))
            self._next[task.name] = known
        return known[2]

    def _work(self, task: Task, trigger: Trigger) -> None:
        """The body of a task's thread: nothing that goes wrong in it stays unsaid."""
        try:
            outcome = self._run(task, trigger)
            if outcome in (TaskOutcome.FAILED, TaskOutcome.WARNING):
                self._log(f"task {task.name}: {outcome.value}")
        except Exception as error:
            self._log(f"task {task.name} could not be run or recorded: {type(error).__name__}: {error}")

    def _run(self, task: Task, trigger: Trigger) -> TaskOutcome:
        job = JOBS.get(tuple(task.head.command))
        try:
            with single_flight.alone_here(self._bench, f"task-{task.name}"):
                if job:
                    return self.run_job(task.name, job, trigger).outcome
                return self._run_program(task, trigger)
        except single_flight.Held:
            return TaskOutcome.SKIPPED

    def _run_program(self, task: Task, trigger: Trigger) -> TaskOutcome:
        started = now()
        argv = [sys.executable, str(ROOT / task.head.command[0]), *task.head.command[1:], "--trigger", trigger.value]
        log = self._bench.settings.logs_dir / "tasks" / f"{task.name}.log"
        ended = programs.run(argv, ROOT, task.head.timeout, log, self._stopping)
        return self._record(task, trigger, started, ended)

    def run_enabled(self, name: str, job: Job, trigger: Trigger) -> Done:
        """Run a job as its task, at once and in this thread, unless the task is disabled."""
        return self.run_job(name, job, trigger) if name in self.table().enabled else Done(TaskOutcome.NOOP)

    def run_job(self, name: str, job: Job, trigger: Trigger) -> Done:
        """Run a job in this thread as the task `name`. One that outlives the task's time-out ends this process."""
        seconds, started = self.timeout(name), now()
        report = partial(self._report_overdue, name, trigger, started, seconds)
        with watchdog.limit_duration(seconds, report):
            return job(JobCall(self._bench, name, trigger, self._ending.is_set))

    def timeout(self, name: str) -> float:
        """The seconds that a run of the task may take."""
        task = self._files()[0].get(name)
        return task.head.timeout if task else TIMEOUT_SECONDS

    def _report_overdue(self, name: str, trigger: Trigger, started: datetime, seconds: float) -> None:
        error = f"task {name} takes longer than {seconds:g} seconds: the scheduler ends itself, to be started again"
        self._log(error)
        summary = {"error": error}
        with writing(self._bench.engine) as session:
            tasks.record(session, name, trigger, TaskOutcome.FAILED, started, summary=summary)
            tasks.beat(session, "scheduler", "failed", json.dumps(summary))

    def _record(self, task: Task, trigger: Trigger, started: datetime, ended: Ended) -> TaskOutcome:
        """Complete the row that the program itself wrote; where it wrote none, its end is what there is to tell."""
        said = ended.summary or {}
        outcome = outcome_of(ended)
        with writing(self._bench.engine) as session:
            if isinstance(said.get("task_run"), int) and tasks.complete(
                session, said["task_run"], ended.code, ended.tail
            ):
                return outcome
            facts = {**said, **({"error": ended.cut} if ended.cut else {})}
            tasks.record(
                session,
                task.name,
                trigger,
                outcome,
                started,
                exit_code=ended.code,
                summary=facts,
                output_tail=ended.tail,
            )
        return outcome


def outcome_of(ended: Ended) -> TaskOutcome:
    """What a program says of itself, unless its end belies it. One that says nothing is never taken for a success."""
    if ended.cut or ended.code != 0:
        return TaskOutcome.FAILED
    said = str((ended.summary or {}).get("outcome"))
    return TaskOutcome(said) if said in [each.value for each in TaskOutcome] else TaskOutcome.WARNING
