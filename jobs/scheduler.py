"""The scheduler's work: start the tasks that are due, each in a thread and never twice at a time, and record the results.

A task whose command is in `JOBS_BY_COMMAND` runs in its thread, and so does one with a ticket. Any other command is started
as a program. Each slot of a task gets its row in the ledger.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from database import reading, writing
from models import MissReason, TaskOutcome, Trigger, now
from tickets.schedule import cron, slot_plan, tasks, ticket_tasks
from tickets.schedule.cron import DEFAULT_TIMEOUT_SECONDS, Task, TaskFolder
from tickets.schedule.slot_plan import Causes, SlotPlan
from tickets.shared import events
from workers.run import task_process as programs
from workers.run.task_process import ProcessResult

from . import housekeeping, landing, pickup, single_flight, spec_builder, watchdog
from .evidence import live_routes
from .health import canary, look
from .job_context import JobContext
from .loops import auto_review, board_sweep, follow_up, operator_pass, triage
from .schedule.task_ledger import RunningSlot, TaskLedger
from .task_recorder import REPEATABLE, JobResult, choose_status, run_and_record

ROOT = Path(__file__).resolve().parent.parent
GRACE_SECONDS = 8.0
"""Enough for a dispatch pass."""
STOP_SECONDS = 4.0
SLEEP_LIMIT = timedelta(seconds=30)
"""Time between two ticks from which on the machine counts as asleep in between."""
MAX_SLEEPS = 16
REPEAT_INTERVAL = timedelta(seconds=30)
"""How long after a failure that may be over in a moment a task is run again."""
MAX_PROMPT_REPEATS = 10
"""Repetitions in a row after which the wait is doubled for each further one, as the obstacle lasts."""
MAX_REPEAT_WAIT = timedelta(hours=1)


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


def run_board_sweep(call: JobCall) -> JobResult:
    work = partial(board_sweep.make_pass, give_up=call.give_up)
    return housekeeping.run_pass(call.context, board_sweep.TASK, call.trigger, task=call.task, work=work)


def check_health(call: JobCall) -> JobResult:
    return look.run_pass(call.context, call.trigger, task=call.task)


run_live_routes = partial(run_housekeeping, live_routes.TASK)


def run_operator(call: JobCall) -> JobResult:
    return operator_pass.run_pass(call.context, call.trigger, task=call.task)


def run_follow_up(call: JobCall) -> JobResult:
    return follow_up.run_pass(call.context, call.trigger, task=call.task)


JOBS_BY_COMMAND: dict[tuple[str, ...], Job] = {
    ("mc_pickup.py",): run_pickup,
    ("mc_land.py",): run_landing,
    ("queue_reaper.py",): partial(run_housekeeping, "queue-reaper"),
    ("queue_reaper.py", "--canary"): run_canary,
    ("queue_reaper.py", "--inbox-drain"): partial(run_housekeeping, "inbox-drain"),
    ("queue_reaper.py", "--orchestrator-board-sweep"): run_board_sweep,
    ("queue_reaper.py", "--triage-untriaged"): partial(run_housekeeping, triage.TASK),
    ("queue_reaper.py", "--live-routes"): run_live_routes,
    ("queue_reaper.py", "--mc-auto-review"): partial(run_housekeeping, auto_review.TASK),
    ("mc_health.py",): check_health,
    ("mc_operator.py",): run_operator,
    ("mc_operator.py", "--follow-up"): run_follow_up,
}
"""Commands that the scheduler runs as jobs: those of each minute, and those with checks that must end with it."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """The schedule at one moment: all tasks, the enabled ones, and the problems of the files."""

    tasks: dict[str, Task]
    enabled: set[str]
    problems: list[str]


class Scheduler:
    """Starts due tasks of a folder and of the home.

    `started_at` counts as the last slot of clock tasks that never ran. `log` takes a line for people.
    """

    def __init__(self, context: JobContext, folder: Path, started_at: datetime, log: Callable[[str], None]) -> None:
        self._context = context
        self._files = TaskFolder(folder, context.settings.tasks_dir)
        self._ledger = TaskLedger(context, log)
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
        self._repeat_counts: Counter[str] = Counter()
        self._last: dict[str, datetime] = {}
        self._ended: dict[str, datetime] = {}
        self._sleeps: deque[tuple[datetime, datetime]] = deque(maxlen=MAX_SLEEPS)
        self._ticked = started_at
        with reading(context.engine) as session:
            self._former = {name: row.started for name, row in tasks.load_latest(session).items()}
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
        self._note_sleep(moment)
        self._ledger.write_pending()
        self._running = {name: thread for name, thread in self._running.items() if thread.is_alive()}
        schedule = self.load_schedule() if is_changed else self._build_schedule()
        due = {name: (Trigger.TIMER, time) for name, time in self._plan(schedule, moment).items()}
        if is_changed:
            requested = self._list_requested() & schedule.tasks.keys()
            due |= {name: due.get(name, (Trigger.OPERATOR, moment)) for name in requested}
        due_names = sorted(due.keys() - self._running.keys())
        for name in due_names:
            self._repeat_times.pop(name, None)
            arguments = (schedule.tasks[name], *due[name])
            self._running[name] = threading.Thread(target=self._work, args=arguments, name=f"task {name}")
            self._running[name].start()
        return due_names

    def _note_sleep(self, moment: datetime) -> None:
        """Note that no tick was made for a while: the machine was asleep, or its clock was set."""
        if moment - self._ticked > SLEEP_LIMIT:
            self._sleeps.append((self._ticked, moment))
        self._ticked = moment

    def close_interrupted(self) -> None:
        """Mark the slots that an earlier scheduler of this home left open. Only its only scheduler may call this."""
        self._ledger.close_interrupted()

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
        return self._run(self.load_schedule().tasks[name], trigger, now()).outcome

    def _plan(self, schedule: Schedule, moment: datetime) -> dict[str, datetime]:
        """Find the slots to run for by task, and record those that were missed. A running task has to end first."""
        due: dict[str, datetime] = {}
        for name, task in schedule.tasks.items():
            if name in self._running:
                continue
            plan = self._plan_task(task, name in schedule.enabled, moment)
            self._ledger.record_missed(task, plan.missed)
            if plan.missed:
                self._last[name] = plan.missed[-1].last
            if plan.due:
                due[name] = self._last[name] = plan.due
        return due

    def _plan_task(self, task: Task, is_enabled: bool, moment: datetime) -> SlotPlan:
        """Plan the slots of a task, and its repetition after a failure where none of them is due."""
        plan = self._plan_slots(task, is_enabled, moment)
        if plan.due or not is_enabled or not self._is_repetition_due(task.name, moment):
            return plan
        return replace(plan, due=moment)

    def _is_repetition_due(self, name: str, moment: datetime) -> bool:
        """Return whether a task is to be repeated, also when the clock was set back meanwhile."""
        time = self._repeat_times.get(name)
        return time is not None and not moment < time <= moment + MAX_REPEAT_WAIT

    def _plan_slots(self, task: Task, is_enabled: bool, moment: datetime) -> SlotPlan:
        """Plan the slots of a task.

        A shipped interval task is due at once the first time, so that a new board shows its health, and when the clock
        was set back to before its last run. For another task a slot later than the present time counts as one of now, so
        that it does not wait until then.
        """
        last = self._find_cursor(task)
        if is_enabled and task.is_interval and task.is_shipped and (last is None or last > moment):
            return SlotPlan(moment)
        change_time = cron.BEGINNING if task.is_shipped else task.added
        if change_time > self._started:
            last = max(last or change_time, change_time)  # the slots of the line before are in the ledger
        last = self._last[task.name] = min(last or self._started, moment)
        if self._next_after(task, last) > moment:
            return SlotPlan()
        ended = self._ended.get(task.name)
        causes = Causes(self._started, tuple(self._sleeps), ended, is_enabled, change_time)
        return slot_plan.plan_slots(task, last, moment, self._context.settings.zone, self._offset, causes)

    def _find_cursor(self, task: Task) -> datetime | None:
        """Find the last slot of a task in the ledger, before there was one its last run, or when a person added it.

        A person's task whose slots are too old for the ledger begins where that would begin.
        """
        if task.name not in self._last:
            last = self._ledger.find_last_slot(task.name) or self._former.get(task.name)
            if last or not task.is_shipped:
                oldest = self._started - timedelta(days=self._context.settings.retention.task_runs)
                self._last[task.name] = last or max(task.added, oldest)
        return self._last.get(task.name)

    def _next_after(self, task: Task, last: datetime) -> datetime:
        """Find the next time of a task, cached as it is needed each second."""
        entry = self._next.get(task.name)
        if entry is None or entry[:2] != (task, last):
            next_time = cron.find_next_time(task, last, self._context.settings.zone, self._offset)
            entry = (task, last, next_time)
            self._next[task.name] = entry
        return entry[2]

    def _work(self, task: Task, trigger: Trigger, due: datetime) -> None:
        """Run a task in its thread, and log every failure. One that could not be run or recorded is repeated."""
        try:
            result = self._run(task, trigger, due)
            outcome = result.outcome
            if result.again and outcome in REPEATABLE:
                self._repeat_later(task.name)
            else:
                self._repeat_counts.pop(task.name, None)
            if outcome in (TaskOutcome.FAILED, TaskOutcome.WARNING):
                self._log(f"task {task.name}: {outcome.value}")
        except Exception as error:
            if trigger is Trigger.TIMER:
                self._repeat_later(task.name)
            self._log(f"task {task.name} could not be run or recorded: {type(error).__name__}: {error}")
        finally:
            self._ended[task.name] = self._ticked

    def _repeat_later(self, name: str) -> None:
        """Have a task repeated in a moment, and ever more seldom while it meets the same obstacle."""
        self._repeat_counts[name] += 1
        doublings = min(max(0, self._repeat_counts[name] - MAX_PROMPT_REPEATS), MAX_PROMPT_REPEATS)
        self._repeat_times[name] = now() + min(REPEAT_INTERVAL * 2**doublings, MAX_REPEAT_WAIT)

    def _run(self, task: Task, trigger: Trigger, due: datetime) -> JobResult:
        """Run a task for a slot, and record in the ledger that it started and how it ended."""
        slot = self._ledger.begin_slot(task, trigger, due)
        result = JobResult(TaskOutcome.FAILED)
        try:
            result = self._run_alone(task, trigger, slot)
        finally:
            self._ledger.end_slot(slot, result.outcome, result.reason)
        return result

    def _run_alone(self, task: Task, trigger: Trigger, slot: RunningSlot) -> JobResult:
        """Run a task unless another process does."""
        job = JOBS_BY_COMMAND.get(tuple(task.command))
        try:
            with single_flight.hold_host_lock(self._context, f"task-{task.name}"):
                if job:
                    return self.run_job(task.name, job, trigger)
                return (
                    self._create_ticket(task, trigger, slot) if task.head.ticket else self._run_program(task, trigger)
                )
        except single_flight.AlreadyRunning:
            return JobResult(TaskOutcome.SKIPPED, reason=MissReason.STILL_RUNNING)

    def _create_ticket(self, task: Task, trigger: Trigger, slot: RunningSlot) -> JobResult:
        """Create the ticket of a slot, which the same transaction records in the ledger, so that it is created once."""

        def work() -> JobResult:
            if slot.id is None or not slot.is_stored:
                return JobResult(TaskOutcome.FAILED, {"error": "The ledger could not be written."}, again=True)
            with writing(self._context.engine) as session:
                created = ticket_tasks.create_ticket(session, task, slot.id)
            facts = {"ticket": created.ticket, "reason" if created.reason else "error": created.problem}
            summary = {name: value for name, value in facts.items() if value}
            return JobResult(created.outcome, summary, reason=created.reason)

        return run_and_record(self._context.engine, task.name, trigger, work)

    def _run_program(self, task: Task, trigger: Trigger) -> JobResult:
        started_at = now()
        process_result = self._run_process(task, trigger)
        summary = process_result.summary or {}
        return JobResult(
            self._record(task, trigger, started_at, process_result), summary, again=tasks.REPEAT in summary
        )

    def _run_process(self, task: Task, trigger: Trigger) -> ProcessResult:
        """Run a program of Mission Control as this process would, and a person's command as a probe is run."""
        settings, environment = self._context.settings, None
        argv, folder = [*task.command], ROOT
        if task.is_program:
            argv = [sys.executable, str(ROOT / argv[0]), *argv[1:], "--trigger", trigger.value]
        else:
            folder, environment = settings.home, settings.agent_environment()
        log = settings.logs_dir / "tasks" / f"{task.name}.log"
        try:
            return programs.run(argv, folder, task.head.timeout, log, self._stopping, self._redaction, environment)
        except OSError as error:
            if task.is_program:
                raise
            return ProcessResult(-1, f"it could not be started: {error.strerror or error}", "", None)

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
        outcome = determine_outcome(process_result, trust_exit_code=task.head.trust_exit_code)
        with writing(self._context.engine) as session:
            if isinstance(summary.get("task_run"), int) and tasks.complete_run(
                session, summary["task_run"], process_result.code, process_result.tail
            ):
                return outcome
            facts = {**summary, **({"error": process_result.cut} if process_result.cut else {})}
            if not self._stopping.is_set():
                detail = facts or {"error": describe_exit(task, process_result.code)}
                tasks.record_outcome(session, task.name, choose_status(outcome), detail)
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


def describe_exit(task: Task, code: int) -> str:
    """Describe the end of a program that said nothing of its outcome."""
    text = f"{task.command[0]} ended with exit code {code}"
    return text if code else f"{text} and without a line of JSON that states its outcome"


def determine_outcome(process_result: ProcessResult, *, trust_exit_code: bool = False) -> TaskOutcome:
    """Determine a program's outcome from its summary and its exit.

    Without a summary it is never a success, unless a person has decided that exit code 0 of this command is one.
    """
    if process_result.cut or process_result.code != 0:
        return TaskOutcome.FAILED
    if process_result.summary is None and trust_exit_code:
        return TaskOutcome.ACTED
    text = str((process_result.summary or {}).get("outcome"))
    return TaskOutcome(text) if text in [outcome.value for outcome in TaskOutcome] else TaskOutcome.WARNING
