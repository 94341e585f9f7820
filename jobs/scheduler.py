"""The scheduler's work: start the tasks that are due, each in a thread and never twice at a time, and record the results.

A task whose command is in `JOBS_BY_COMMAND` runs in its thread. Any other is started as a program.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from database import reading, writing
from models import TaskOutcome, Trigger, now
from tickets.operations import cron, tasks
from tickets.operations.cron import Task, TaskFolder
from tickets.shared import events
from workers.run import task_process as programs
from workers.run.task_process import ProcessResult

from . import housekeeping, landing, pickup, single_flight, spec_builder, watchdog
from .health import canary, look
from .job_context import JobContext
from .operator import follow_up, observe
from .task_recorder import REPEAT, REPEATABLE, JobResult, choose_status

ROOT = Path(__file__).resolve().parent.parent
GRACE_SECONDS = 8.0
"""Enough for a dispatch pass."""
STOP_SECONDS = 4.0
DEFAULT_TIMEOUT_SECONDS = 300.0
"""The timeout of a job whose task has no file any more."""
REPEAT_INTERVAL = timedelta(seconds=30)
"""How long after a failure that may be over in a moment a task is run again."""


@dataclass(frozen=True, slots=True)
class JobCall:
    """One call of a job, with the task it is recorded as. `give_up` returns True when the rest must be left to the next one."""

    context: JobContext
    task: str
    trigger: Trigger
    give_up: Callable[[], bool]


Job = Callable[[JobCall], JobResult]


def run_pickup(call: JobCall) -> JobResult:
    return pickup.run_pass(call.context, call.trigger, task=call.task)


def run_landing(call: JobCall) -> JobResult:
    return landing.run_pass(call.context, call.trigger, task=call.task, give_up=call.give_up)


def run_housekeeping(job: str, call: JobCall) -> JobResult:
    return housekeeping.run_pass(call.context, job, call.trigger, task=call.task)


def run_canary(call: JobCall) -> JobResult:
    work = partial(canary.make_pass, give_up=call.give_up)
    return housekeeping.run_pass(call.context, "canary", call.trigger, task=call.task, work=work)


def check_health(call: JobCall) -> JobResult:
    return look.run_pass(call.context, call.trigger, task=call.task)


def run_operator(call: JobCall) -> JobResult:
    return observe.run_pass(call.context, call.trigger, task=call.task)


def run_follow_up(call: JobCall) -> JobResult:
    return follow_up.run_pass(call.context, call.trigger, task=call.task)


JOBS_BY_COMMAND: dict[tuple[str, ...], Job] = {
    ("mc_pickup.py",): run_pickup,
    ("mc_land.py",): run_landing,
    ("queue_reaper.py",): partial(run_housekeeping, "queue-reaper"),
    ("queue_reaper.py", "--canary"): run_canary,
    ("mc_health.py",): check_health,
    ("mc_operator.py",): run_operator,
    ("mc_operator.py", "--follow-up"): run_follow_up,
}
"""Commands that the scheduler runs as jobs, since starting a program each minute takes longer than the work."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule at one moment: all tasks, the enabled ones, and the problems of the files."""

    tasks: dict[str, Task]
    enabled: set[str]
    problems: list[str]


class Scheduler:
    """Starts due tasks. `started_at` counts as the last run of clock tasks that never ran. `log` takes a line for people."""

    def __init__(self, context: JobContext, folder: Path, started_at: datetime, log: Callable[[str], None]) -> None:
        self._context = context
        self._files = TaskFolder(folder)
        self._started = started_at
        self._offset = cron.choose_offset(context.settings.instance)
        self._log = log
        self._redaction = spec_builder.build_redaction(context.settings, None)
        self._running: dict[str, threading.Thread] = {}
        self._ending = threading.Event()
        self._stopping = threading.Event()
        self._told: list[str] = []
        self._decided: dict[str, bool] = {}
        self._next: dict[str, tuple[Task, datetime, datetime]] = {}
        self._repeat_times: dict[str, datetime] = {}
        with reading(context.engine) as session:
            self._last = {name: row.started for name, row in tasks.load_latest(session).items()}
            self._cursor = events.get_last_id(session)

    def load_schedule(self) -> Schedule:
        """Load the task files and their settings from the store. A problem is logged when it first appears."""
        with reading(self._context.engine) as session:
            self._decided = tasks.load_decisions(session)
        return self._build_schedule()

    def _build_schedule(self) -> Schedule:
        """Build the schedule with the settings that were read last."""
        tasks_by_name, problems = self._files.load()
        enabled = {name for name, task in tasks_by_name.items() if self._decided.get(name, task.head.enabled)}
        problems = [*problems, *cron.find_duplicates(tasks_by_name, enabled)]
        for problem in problems:
            if problem not in self._told:
                self._log(f"tasks/{problem}")
        self._told = problems
        return Schedule(tasks_by_name, enabled, problems)

    def tick(self, moment: datetime, *, is_changed: bool = True) -> list[str]:
        """Start due and requested tasks that are not running already, and return their names.

        A running task is due again when it has ended. Without `is_changed` the store is not read.
        """
        self._running = {name: thread for name, thread in self._running.items() if thread.is_alive()}
        schedule = self.load_schedule() if is_changed else self._build_schedule()
        due = {name: Trigger.TIMER for name in schedule.enabled if self._is_due(schedule, name, moment)}
        if is_changed:
            due |= dict.fromkeys(self._list_requested() & schedule.tasks.keys(), Trigger.OPERATOR)
        due_names = sorted(due.keys() - self._running.keys())
        for name in due_names:
            self._last[name] = moment
            self._repeat_times.pop(name, None)
            arguments = (schedule.tasks[name], due[name])
            self._running[name] = threading.Thread(target=self._work, args=arguments, name=f"task {name}")
            self._running[name].start()
        return due_names

    def _list_requested(self) -> set[str]:
        """List the tasks requested since the last call."""
        with reading(self._context.engine) as session:
            self._cursor, names = tasks.list_requested(session, self._cursor)
        return names

    @property
    def running(self) -> list[str]:
        return sorted(name for name, thread in self._running.items() if thread.is_alive())

    def wait(self) -> None:
        """Wait until every started task has ended."""
        for thread in self._running.values():
            thread.join()

    def stop(self) -> None:
        """Let running tasks end, then stop them. Agents stay alive in tmux. A landing is interrupted at once."""
        self._ending.set()
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in self._running.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stopping.set()
        for thread in self._running.values():
            thread.join(STOP_SECONDS)

    def run_now(self, name: str, trigger: Trigger = Trigger.OPERATOR) -> TaskOutcome:
        """Run one task now in this thread, enabled or not. `KeyError` for an unknown one."""
        return self._run(self.load_schedule().tasks[name], trigger).outcome

    def _is_due(self, schedule: Schedule, name: str, moment: datetime) -> bool:
        """Return True when a task is due.

        An interval task is due at once the first time, so that a new board shows its health, and when the clock was
        set back to before its last run. For another task a run later than the present time counts as one of now, so
        that it does not wait until then.
        """
        if name in self._repeat_times:
            return not moment < self._repeat_times[name] <= moment + REPEAT_INTERVAL
        last = self._last.get(name)
        if schedule.tasks[name].is_interval and (last is None or last > moment):
            return True
        last = self._last[name] = min(last or self._started, moment)
        return self._next_after(schedule.tasks[name], last) <= moment

    def _next_after(self, task: Task, last: datetime) -> datetime:
        """Find the next time of a task, cached as it is needed each second."""
        entry = self._next.get(task.name)
        if entry is None or entry[:2] != (task, last):
            next_time = cron.find_next_time(task, last, self._context.settings.zone, self._offset)
            entry = (task, last, next_time)
            self._next[task.name] = entry
        return entry[2]

    def _work(self, task: Task, trigger: Trigger) -> None:
        """Run a task in its thread, and log every failure. One that could not be run or recorded is due again."""
        try:
            result = self._run(task, trigger)
            outcome = result.outcome
            if result.again and outcome in REPEATABLE:
                self._repeat_times[task.name] = now() + REPEAT_INTERVAL
            if outcome in (TaskOutcome.FAILED, TaskOutcome.WARNING):
                self._log(f"task {task.name}: {outcome.value}")
        except Exception as error:
            self._last.pop(task.name, None)
            self._log(f"task {task.name} could not be run or recorded: {type(error).__name__}: {error}")

    def _run(self, task: Task, trigger: Trigger) -> JobResult:
        job = JOBS_BY_COMMAND.get(tuple(task.head.command))
        try:
            with single_flight.hold_host_lock(self._context, f"task-{task.name}"):
                if job:
                    return self.run_job(task.name, job, trigger)
                return self._run_program(task, trigger)
        except single_flight.AlreadyRunning:
            return JobResult(TaskOutcome.SKIPPED)

    def _run_program(self, task: Task, trigger: Trigger) -> JobResult:
        started_at = now()
        argv = [sys.executable, str(ROOT / task.head.command[0]), *task.head.command[1:], "--trigger", trigger.value]
        log = self._context.settings.logs_dir / "tasks" / f"{task.name}.log"
        process_result = programs.run(argv, ROOT, task.head.timeout, log, self._stopping, self._redaction)
        summary = process_result.summary or {}
        return JobResult(self._record(task, trigger, started_at, process_result), summary, again=REPEAT in summary)

    def run_enabled(self, name: str, job: Job, trigger: Trigger) -> JobResult:
        """Run a job as its task, at once and in this thread, unless the task is disabled."""
        return self.run_job(name, job, trigger) if name in self.load_schedule().enabled else JobResult(TaskOutcome.NOOP)

    def run_job(self, name: str, job: Job, trigger: Trigger) -> JobResult:
        """Run a job in this thread as the task `name`. One that exceeds the task's timeout ends this process."""
        seconds, started_at = self.get_timeout(name), now()
        report = partial(self._report_overdue, name, trigger, started_at, seconds)
        with watchdog.limit_duration(seconds, report):
            return job(JobCall(self._context, name, trigger, self._ending.is_set))

    def get_timeout(self, name: str) -> float:
        """Return the seconds that a run of the task may take."""
        task = self._files.load()[0].get(name)
        return task.head.timeout if task else DEFAULT_TIMEOUT_SECONDS

    def _report_overdue(self, name: str, trigger: Trigger, started_at: datetime, seconds: float) -> None:
        error = f"task {name} takes longer than {seconds:g} seconds: the scheduler ends itself, to be started again"
        self._log(error)
        summary = {"error": error}
        with writing(self._context.engine) as session:
            tasks.record_run(session, name, trigger, TaskOutcome.FAILED, started_at, summary=summary)
            tasks.record_heartbeat(session, name, "failed", summary=summary)

    def _record(self, task: Task, trigger: Trigger, started_at: datetime, process_result: ProcessResult) -> TaskOutcome:
        """Complete the row that the program itself wrote, or write one from its exit."""
        summary = process_result.summary or {}
        outcome = determine_outcome(process_result)
        with writing(self._context.engine) as session:
            if isinstance(summary.get("task_run"), int) and tasks.complete_run(
                session, summary["task_run"], process_result.code, process_result.tail
            ):
                return outcome
            facts = {**summary, **({"error": process_result.cut} if process_result.cut else {})}
            if not self._stopping.is_set():
                detail = facts or {"error": f"{task.head.command[0]} ended with exit code {process_result.code}"}
                tasks.record_heartbeat(session, task.name, choose_status(outcome), summary=detail)
            tasks.record_run(
                session,
                task.name,
                trigger,
                outcome,
                started_at,
                exit_code=process_result.code,
                summary=facts,
                output_tail=process_result.tail,
            )
        return outcome


def determine_outcome(process_result: ProcessResult) -> TaskOutcome:
    """Determine a program's outcome from its summary and its exit. Without a summary it is never a success."""
    if process_result.cut or process_result.code != 0:
        return TaskOutcome.FAILED
    text = str((process_result.summary or {}).get("outcome"))
    return TaskOutcome(text) if text in [outcome.value for outcome in TaskOutcome] else TaskOutcome.WARNING
