"""When tasks run, what is recorded of them, and that agents outlive the scheduler."""

from __future__ import annotations

import json
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, select, update

import mc_scheduler
import secret_files
from database import StoreUnavailable, reading, writing
from jobs import dispatch_pass, pickup, scheduler, single_flight, trial_merges, watchdog
from jobs.alerts.alert_starter import AlertStarter
from jobs.health.look import Looker
from jobs.landing import Lander
from jobs.program_probes import Prober
from jobs.scheduler import ROOT, Scheduler, run_pickup
from jobs.task_recorder import JobResult
from jobs.trial_merges import TrialMerger
from models import AlertDelivery, Heartbeat, TaskOutcome, TaskRun, Ticket, TicketStatus, Trigger
from redaction import SHAPES
from tests.waiting import wait_until
from tickets.alerts import channels, deliveries
from tickets.operations import health
from tickets.schedule import cron, ledger, tasks
from tickets.schedule.cron import Task, TaskFile
from workers.run import task_process as programs

from .installation import ALICE, Installation
from .test_dying import SLOW_STEP

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)


def build_task(schedule: str, **changes: object) -> Task:
    head = {"schedule": schedule, "command": ["queue_reaper.py"], "timeout": 60, "enabled": True, "description": "x"}
    return Task("x", TaskFile.model_validate(head | changes))


def write_task(folder: Path, name: str, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    """By default a task that the scheduler runs itself, which takes no program's start."""
    head = {"schedule": "* * * * *", "command": ["mc_land.py"], "timeout": 60, "enabled": True} | changes
    head.setdefault("description", f"The task {name}.")
    lines = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
    (folder / f"{name}.md").write_text("\n".join(["---", *lines, "---", "Words for people.", ""]))


class TaskScheduler:
    """A scheduler over a folder of the test's own, with what it said."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self.folder = folder
        self.messages: list[str] = []
        self.scheduler = Scheduler(installation.context, folder, NOON, self.messages.append)

    def tick(self, moment: datetime) -> list[str]:
        names = self.scheduler.tick(moment)
        self.scheduler.wait()
        return names

    def history(self, name: str | None = None) -> list[TaskRun]:
        with reading(self.installation.engine) as session:
            return tasks.list_task_runs(session, name)


@pytest.fixture
def task_scheduler(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskScheduler:
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cron, "choose_offset", lambda _: timedelta())
    return TaskScheduler(installation, tmp_path / "tasks")


# When


def test_a_clock_that_was_set_back_holds_no_task_up(task_scheduler: TaskScheduler) -> None:
    """A task that had run by a wrong clock was not due again before the right one had caught up, be it a year."""
    write_task(task_scheduler.folder, "often")
    write_task(task_scheduler.folder, "hourly", schedule="2 * * * *")
    assert task_scheduler.tick(NOON + timedelta(days=365, minutes=2)) == ["hourly", "often"]
    assert task_scheduler.tick(NOON) == ["often"]
    assert task_scheduler.tick(NOON + timedelta(seconds=20)) == []
    assert task_scheduler.tick(NOON + timedelta(minutes=1)) == ["often"]
    assert task_scheduler.tick(NOON + timedelta(minutes=2)) == ["hourly", "often"]


def list_times(schedule: str, start: str, count: int) -> list[str]:
    moment, texts = datetime.fromisoformat(start).replace(tzinfo=BERLIN), []
    for _ in range(count):
        moment = cron.find_next_time(build_task(schedule), moment, BERLIN)
        texts.append(moment.isoformat(timespec="minutes"))
    return texts


def test_a_time_that_the_clocks_skip_runs_once_right_after() -> None:
    assert list_times("30 2 * * *", "2026-03-28T12:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_a_time_that_the_clocks_double_runs_once() -> None:
    assert list_times("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_a_task_of_every_half_hour_goes_by_elapsed_time_through_a_clock_change() -> None:
    texts = list_times("*/30 * * * *", "2026-10-25T01:50", 5)
    assert texts == [
        f"2026-10-25T{clock_time}"
        for clock_time in ("02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00", "03:00+01:00")
    ]


def test_a_task_runs_when_it_is_due_and_not_before(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "reap", schedule="5 * * * *")

    assert task_scheduler.tick(NOON + timedelta(minutes=4)) == []
    assert task_scheduler.tick(NOON + timedelta(minutes=5)) == ["reap"]
    assert task_scheduler.tick(NOON + timedelta(minutes=6)) == []


def test_each_home_starts_its_tasks_at_a_second_of_its_own(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: the programs of all instances of a machine started at second 0."""
    assert cron.choose_offset("0000002a") == timedelta(seconds=42) == cron.choose_offset("00000066")
    monkeypatch.setattr(cron, "choose_offset", lambda _: timedelta(seconds=42))
    task_scheduler = TaskScheduler(installation, tmp_path / "tasks")
    write_task(task_scheduler.folder, "reap", schedule="5 * * * *")

    assert task_scheduler.tick(NOON + timedelta(minutes=5)) == []
    assert task_scheduler.tick(NOON + timedelta(minutes=5, seconds=12)) == ["reap"]
    assert task_scheduler.tick(NOON + timedelta(minutes=65)) == []
    assert task_scheduler.tick(NOON + timedelta(minutes=65, seconds=12)) == ["reap"]


def test_what_goes_by_elapsed_time_runs_at_once_the_first_time_and_then_when_it_is_due(
    task_scheduler: TaskScheduler,
) -> None:
    write_task(task_scheduler.folder, "queue-reaper", schedule="*/10 * * * *")
    write_task(task_scheduler.folder, "backup", schedule="20 3 * * *", command=["queue_reaper.py", "--backup"])

    assert task_scheduler.tick(NOON) == ["queue-reaper"]
    assert task_scheduler.tick(NOON + timedelta(minutes=9)) == []
    with writing(task_scheduler.installation.engine) as session:
        session.execute(update(TaskRun).values(started=NOON))
    assert TaskScheduler(task_scheduler.installation, task_scheduler.folder).tick(NOON + timedelta(minutes=9)) == []


@pytest.mark.parametrize(
    ("schedule", "is_interval"),
    [("* * * * *", True), ("*/5 * * * *", True), ("5 * * * *", False), ("*/30 2 * * *", False), ("* * * * 0", False)],
)
def test_what_has_an_hour_or_a_day_goes_by_the_clock(schedule: str, is_interval: bool) -> None:
    assert build_task(schedule).is_interval is is_interval


def test_a_task_that_a_person_asked_for_runs_once_enabled_or_not(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "reap", schedule="5 * * * *", enabled=False)
    with writing(task_scheduler.installation.engine) as session:
        tasks.request_run(session, "reap", ALICE)
        tasks.request_run(session, "nothing", ALICE)

    assert task_scheduler.tick(NOON) == ["reap"]
    assert task_scheduler.tick(NOON) == []
    assert [run.trigger for run in task_scheduler.history()] == [Trigger.OPERATOR]


def test_runs_missed_while_it_was_down_are_made_up_for_by_one(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "reap", schedule="*/5 * * * *")
    with writing(task_scheduler.installation.engine) as session:
        tasks.record_run(session, "reap", Trigger.TIMER, TaskOutcome.NOOP, NOON - timedelta(days=3))
    restarted = TaskScheduler(task_scheduler.installation, task_scheduler.folder)

    assert restarted.tick(NOON) == ["reap"]
    assert restarted.tick(NOON + timedelta(seconds=5)) == []


def test_a_disabled_task_does_not_run_until_somebody_enables_it(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "off", enabled=False)
    write_task(task_scheduler.folder, "on", command=["queue_reaper.py", "--backup"])
    with writing(task_scheduler.installation.engine) as session:
        tasks.disable_task(session, "on", ALICE)
    assert task_scheduler.tick(NOON + timedelta(minutes=1)) == []

    with writing(task_scheduler.installation.engine) as session:
        tasks.enable_task(session, "off", ALICE)

    assert task_scheduler.tick(NOON + timedelta(minutes=2)) == ["off"]


def test_a_task_that_could_not_be_recorded_is_due_again(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that met a locked store was late by its whole interval, and one that could never be recorded ran each second."""
    write_task(task_scheduler.folder, "reap", schedule="*/5 * * * *")
    monkeypatch.setattr(scheduler, "now", lambda: NOON + timedelta(minutes=5))
    assert task_scheduler.tick(NOON) == ["reap"]
    with monkeypatch.context() as patch:
        patch.setattr("jobs.scheduler.single_flight.hold_host_lock", lambda *_: 1 / 0)
        assert task_scheduler.tick(NOON + timedelta(minutes=5)) == ["reap"]
    ticks = [task_scheduler.tick(NOON + timedelta(minutes=5, seconds=seconds)) for seconds in (1, 29, 30, 31)]
    assert ticks == [[], [], ["reap"], []]


def test_a_task_is_never_at_work_twice(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "reap")
    with single_flight.hold_host_lock(task_scheduler.installation.context, "task-reap"):
        assert task_scheduler.scheduler.run_now("reap") is TaskOutcome.SKIPPED
    assert task_scheduler.history() == []


def test_a_tick_reads_the_store_only_where_it_has_changed(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_task(task_scheduler.folder, "reap", enabled=False)
    monkeypatch.setattr(trial_merges, "INTERVAL_SECONDS", 3600.0)
    monkeypatch.setattr(health, "LOOK_SECONDS", 3600.0)  # a first look that takes long makes no second one due
    monkeypatch.setattr(mc_scheduler, "HEARTBEAT_INTERVAL", timedelta(hours=1))
    context, log = task_scheduler.installation.context, task_scheduler.messages.append
    lander = Lander(context, lambda: JobResult(TaskOutcome.NOOP), lambda: True, log)
    looker = Looker(context, log)
    merger = TrialMerger(context, log)
    workers: list[mc_scheduler.Worker] = [Prober(context, log), lander]
    alert_starter = AlertStarter(context, log)
    ticker = mc_scheduler.Ticker(context, task_scheduler.scheduler, workers, looker, merger, alert_starter)
    ticker.tick()
    wait_until(lambda: not looker.is_looking and not merger.is_trying, description="the first look and trial")
    for _ in range(3):  # the first beats, which is a change of its own
        ticker.tick()
    statements: list[str] = []
    event.listen(task_scheduler.installation.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    ticker.tick()
    assert statements == []

    with writing(task_scheduler.installation.engine) as session:
        tasks.request_run(session, "reap", ALICE)
    ticker.tick()
    task_scheduler.scheduler.wait()
    assert [run.task for run in task_scheduler.history()] == ["reap"]

    with writing(task_scheduler.installation.engine) as session:
        kind = channels.get_type("apprise")
        channels.save_channel(session, kind, channels.ChannelRules(), channels.NoOptions(), ALICE)
        delivery_id = deliveries.request_test(session, "apprise", ALICE)
    secret_files.write_channel_secrets(context.settings, "apprise", {})
    ticker.tick()
    wait_until(lambda: not alert_starter.is_busy, description="the end of the channel's pass")
    with reading(task_scheduler.installation.engine) as session:
        assert session.get_one(AlertDelivery, delivery_id).reason == "No Apprise URL is set. Enter one in the settings."


@pytest.mark.parametrize("step", [timedelta(hours=8), -timedelta(hours=8)])
def test_the_scheduler_shows_that_it_is_alive_at_once_after_a_step_of_the_clock(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch, step: timedelta
) -> None:
    """Regression: after a laptop's sleep the board was not working for up to half a minute."""
    task_scheduler.folder.mkdir()
    context, log = task_scheduler.installation.context, task_scheduler.messages.append
    lander = Lander(context, lambda: JobResult(TaskOutcome.NOOP), lambda: True, log)
    looker = Looker(context, log)
    merger = TrialMerger(context, log)
    workers: list[mc_scheduler.Worker] = [Prober(context, log), lander]
    alert_starter = AlertStarter(context, log)
    ticker = mc_scheduler.Ticker(context, task_scheduler.scheduler, workers, looker, merger, alert_starter)
    moments: list[datetime] = []
    heartbeats: list[datetime] = []
    monkeypatch.setattr(mc_scheduler, "now", lambda: moments[-1])
    monkeypatch.setattr(mc_scheduler, "_record_heartbeat", lambda *_: heartbeats.append(moments[-1]))
    for moment in (NOON, NOON + timedelta(seconds=1), NOON + step):
        moments.append(moment)
        ticker.tick()
    assert heartbeats == [NOON, NOON + step]


def test_a_stop_waits_for_no_thread_longer_than_its_supervisor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Regression: a pass that waited for git, or for a locked store, made supervisord kill the scheduler."""
    codes: list[int] = []
    monkeypatch.setattr(watchdog, "end_process", codes.append)
    monkeypatch.setattr(mc_scheduler, "STOP_SECONDS", 0)
    mc_scheduler._limit_stop()
    wait_until(lambda: codes == [0], description="the end of the process")


# The ledger of a person's tasks


class OwnTasks:
    """Tasks of the home, whose files were there from the beginning, and schedulers that are started anew."""

    def __init__(self, installation: Installation, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in installation.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(cron, "choose_offset", lambda _: timedelta())
        self.changed = NOON
        monkeypatch.setattr(cron, "read_added", lambda _: self.changed)
        self.installation, self.folder = installation, folder
        self.own = installation.settings.tasks_dir
        self.messages: list[str] = []

    def write(self, name: str, **changes: object) -> None:
        head = {"command": ["sh", "-c", f": {name}"], "trust_exit_code": True} | changes
        write_task(self.own, name, **{key: value for key, value in head.items() if value is not None})

    def start(self, moment: datetime) -> Scheduler:
        start_time = Scheduler(self.installation.context, self.folder, moment, self.messages.append)
        start_time.close_interrupted()
        return start_time

    def slots(self, name: str) -> list[tuple[int, str]]:
        """The slots of a task, the first due first: how many, and the outcome or the reason without one."""
        with reading(self.installation.engine) as session:
            views = reversed(ledger.list_slots(session, name))
        return [(view.slot.count, str(view.slot.reason or view.slot.outcome)) for view in views]


@pytest.fixture
def own_tasks(installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OwnTasks:
    return OwnTasks(installation, tmp_path / "tasks", monkeypatch)


def test_no_slot_of_a_downtime_is_without_a_row(own_tasks: OwnTasks) -> None:
    for rule in ("skip", "once", "all", "off"):
        own_tasks.write(rule, schedule="0 * * * *", catch_up="once" if rule == "off" else rule, enabled=rule != "off")
    moment = NOON + timedelta(minutes=59, seconds=30)
    for start_time in (NOON, NOON + timedelta(hours=4)):
        running = own_tasks.start(start_time)
        for _ in range(6):
            running.tick(moment)
            running.wait()
        moment += timedelta(hours=3, minutes=10)

    assert {name: own_tasks.slots(name) for name in ("skip", "once", "all", "off")} == {
        "skip": [(1, "acted"), (3, "not_running")],
        "once": [(1, "acted"), (2, "not_running"), (1, "acted")],
        "all": [(1, "acted")] * 4,
        "off": [(4, "disabled")],
    }


def test_slots_during_a_run_and_a_sleep_are_missed_for_that(own_tasks: OwnTasks) -> None:
    gate = own_tasks.folder.parent / "gate"
    own_tasks.write("slow", command=["sh", "-c", f"while [ ! -e {gate} ]; do sleep 0.02; done"])
    running, half = own_tasks.start(NOON), timedelta(seconds=30)
    due = [running.tick(NOON + half * step) for step in range(6)]
    gate.touch()
    running.wait()
    due.append(running.tick(NOON + half * 6))
    running.wait()
    due.append(running.tick(NOON + timedelta(minutes=10)))
    running.wait()

    assert due == [[], ["slow"], [], [], [], [], ["slow"], ["slow"]]
    assert own_tasks.slots("slow") == [
        (1, "acted"),
        (1, "still_running"),
        (1, "acted"),
        (6, "asleep"),
        (1, "acted"),
    ]


def test_a_command_that_does_nothing_half_or_the_wrong_thing_has_not_acted(own_tasks: OwnTasks) -> None:
    def say(outcome: str) -> str:
        return f"""echo '{{"outcome": "{outcome}"}}'"""

    scripts = {
        "nothing": ("true", "warning"),
        "noop": (say("noop"), "noop"),
        "half": (f"{say('acted')}; exit 3", "failed"),
        "wrong": (say("splendid"), "warning"),
        "acted": (say("acted"), "acted"),
    }
    for name, (script, _) in scripts.items():
        own_tasks.write(name, command=["sh", "-c", script], trust_exit_code=False)
    own_tasks.write("missing", command=["/nowhere/program"])
    own_tasks.write("secret", command=["sh", "-c", "env; pwd"])
    running = own_tasks.start(NOON)
    running.tick(NOON + timedelta(seconds=30))
    running.wait()

    outcomes = {name: own_tasks.slots(name)[0][1] for name in (*scripts, "missing")}
    assert outcomes == {name: outcome for name, (_, outcome) in scripts.items()} | {"missing": "failed"}
    with reading(own_tasks.installation.engine) as session:
        [missing] = tasks.list_task_runs(session, "missing")
        [secret] = tasks.list_task_runs(session, "secret")
    assert "could not be started: No such file" in str(missing.summary)
    assert "MC_HOME" not in secret.output_tail and str(own_tasks.installation.settings.home) in secret.output_tail


def test_a_ledger_that_cannot_be_written_is_written_later(own_tasks: OwnTasks, monkeypatch: pytest.MonkeyPatch) -> None:
    own_tasks.write("report")
    running = own_tasks.start(NOON)
    with monkeypatch.context() as fault:
        fault.setattr(ledger, "begin_slot", Mock(side_effect=StoreUnavailable("", None, Exception("is locked"))))
        running.tick(NOON + timedelta(seconds=30))
        running.wait()
        assert own_tasks.slots("report") == []
    running.tick(NOON + timedelta(seconds=31))
    assert own_tasks.slots("report") == [(1, "acted")]
    assert "the ledger of tasks is written later: is locked" in own_tasks.messages


def test_a_slot_that_was_not_committed_creates_no_ticket_before_it_is(own_tasks: OwnTasks) -> None:
    """The ticket was recorded on a number that the store had taken back, and the slot was without one."""
    head = "schedule: '* * * * *'\nticket: {title: Report}\nenabled: true\ndescription: Test"
    own_tasks.own.mkdir(parents=True)
    (own_tasks.own / "report.md").write_text(f"---\n{head}\n---\n")
    running, engine = own_tasks.start(NOON), own_tasks.installation.engine
    task = running.load_schedule().tasks["report"]

    def refuse(_: object) -> None:
        raise StoreUnavailable("COMMIT", None, Exception("disk is full"))

    event.listen(engine, "commit", refuse)
    slot = running._ledger.begin_slot(task, Trigger.TIMER, NOON)
    event.remove(engine, "commit", refuse)
    assert slot.id is not None and not slot.is_stored
    result = running._create_ticket(task, Trigger.TIMER, slot)
    assert (result.outcome, result.again) == (TaskOutcome.FAILED, True)
    with reading(engine) as session:
        assert session.scalars(select(Ticket.id)).all() == []


def test_a_task_that_a_person_changes_is_due_by_its_new_line_alone(own_tasks: OwnTasks) -> None:
    own_tasks.write("report", schedule="0 13 * * *")
    running = own_tasks.start(NOON)
    assert running.tick(NOON + timedelta(hours=1)) == ["report"]
    running.wait()
    own_tasks.changed = NOON + timedelta(hours=3)
    own_tasks.write("report", schedule="0 14 * * *")
    assert running.tick(own_tasks.changed + timedelta(seconds=1)) == []
    assert running.tick(NOON + timedelta(hours=26)) == ["report"]
    running.wait()
    assert own_tasks.slots("report") == [(1, "acted"), (1, "acted")]


def test_a_slot_that_the_ledger_no_longer_holds_is_not_made_up_for(own_tasks: OwnTasks) -> None:
    """A task of each year ran again at a start more than two months later."""
    own_tasks.changed = NOON - timedelta(days=400)
    own_tasks.write("yearly", schedule="0 0 1 1 *")
    own_tasks.write("monthly", schedule="0 0 1 * *")
    running = own_tasks.start(NOON)
    assert running.tick(NOON) == ["monthly"]
    running.wait()
    assert own_tasks.slots("yearly") == []


# What is recorded


def test_a_run_has_one_row_with_its_real_outcome_and_its_output(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "backup", command=["queue_reaper.py", "--backup"])

    task_scheduler.tick(NOON + timedelta(minutes=1))

    [row] = task_scheduler.history()
    assert (row.task, row.trigger, row.outcome, row.exit_code) == ("backup", Trigger.TIMER, TaskOutcome.ACTED, 0)
    assert '"outcome": "acted"' in row.output_tail and row.ended


def test_a_skipped_run_is_recorded_as_skipped(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "ticket-pickup", command=["mc_pickup.py"])
    with single_flight.hold_lease(task_scheduler.installation.context, "pickup"):
        task_scheduler.tick(NOON + timedelta(minutes=1))

    [row] = task_scheduler.history("ticket-pickup")
    assert (row.outcome, row.exit_code) == (TaskOutcome.SKIPPED, 0)


def test_a_run_that_fails_or_takes_too_long_is_a_failure(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "wrong", command=["queue_reaper.py", "--no-such-option"])
    write_task(task_scheduler.folder, "slow", command=["queue_reaper.py", "--retention"], timeout=0.01)

    task_scheduler.tick(NOON + timedelta(minutes=1))

    rows = {row.task: row for row in task_scheduler.history()}
    assert {name: row.outcome for name, row in rows.items()} == dict.fromkeys(("wrong", "slow"), TaskOutcome.FAILED)
    assert rows["wrong"].exit_code == 2 and "no-such-option" in rows["wrong"].output_tail
    assert "longer than 0.01 seconds" in (rows["slow"].summary or {})["error"]
    assert sorted(task_scheduler.messages) == ["task slow: failed", "task wrong: failed"]


@pytest.mark.parametrize(
    ("name", "command"), [("fetch", "mc_pickup.py"), ("landing", "mc_land.py"), ("reap", "queue_reaper.py")]
)
def test_a_job_of_the_scheduler_runs_in_its_own_process_and_is_recorded_as_the_task(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setattr(programs, "run", None)  # whoever starts a program fails
    write_task(task_scheduler.folder, name, command=[command])

    task_scheduler.tick(NOON + timedelta(minutes=1))

    [row] = task_scheduler.history()
    assert (row.task, row.trigger, row.outcome, row.exit_code) == (name, Trigger.TIMER, TaskOutcome.NOOP, 0)
    assert row.ended and (row.summary or {})["task"] == name


def test_a_job_that_breaks_off_is_a_failure_that_says_where(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch_pass, "settle_runs", lambda *_: 1 / 0)
    write_task(task_scheduler.folder, "ticket-pickup", command=["mc_pickup.py"])

    task_scheduler.tick(NOON + timedelta(minutes=1))

    [row] = task_scheduler.history()
    assert (row.outcome, row.exit_code) == (TaskOutcome.FAILED, 1)
    assert "dispatch_pass.py" in row.output_tail and "ZeroDivisionError" in row.output_tail
    assert task_scheduler.messages == ["task ticket-pickup: failed"]


def test_a_warning_that_may_be_over_in_a_moment_is_repeated(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at repositories without git would have been reported for half an hour after git was back."""
    results = [JobResult(TaskOutcome.WARNING, again=True), JobResult(TaskOutcome.WARNING)]
    monkeypatch.setitem(scheduler.JOBS_BY_COMMAND, ("mc_operator.py",), lambda _: results.pop(0))
    write_task(task_scheduler.folder, "operator", schedule="*/30 * * * *", command=["mc_operator.py"])
    monkeypatch.setattr(scheduler, "now", lambda: NOON)
    ticks = [task_scheduler.tick(NOON + timedelta(seconds=seconds)) for seconds in (0, 5, 40, 80)]
    assert ticks == [["operator"], [], ["operator"], []]


def test_repetitions_hide_no_slot_and_become_seldom_while_the_obstacle_lasts(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository that could not be observed had the operator run every 30 seconds for ever."""
    seconds_between: list[float] = []
    moment = last = NOON.replace(second=0) + timedelta(hours=12)
    monkeypatch.setattr(scheduler, "now", lambda: moment)
    obstacle = JobResult(TaskOutcome.WARNING, again=True)
    monkeypatch.setitem(scheduler.JOBS_BY_COMMAND, ("mc_operator.py",), lambda _: obstacle)
    write_task(task_scheduler.folder, "operator", schedule="0 */12 * * *", command=["mc_operator.py"])
    while len(seconds_between) < 19:
        if task_scheduler.tick(moment):
            seconds_between.append((moment - last).total_seconds())
            last = moment
        moment += timedelta(seconds=30)
    assert seconds_between == [0, *[30] * 10, 60, 120, 240, 480, 960, 1920, 3600, 3600]

    write_task(task_scheduler.folder, "minutely", command=["mc_operator.py"])
    start = moment.replace(second=40) + timedelta(minutes=1)
    moment = start
    ticks = [task_scheduler.tick(moment := start + timedelta(seconds=seconds)) for seconds in (0, 20, 25, 49, 50)]
    assert ["minutely" in names for names in ticks] == [True, True, False, False, True]


def test_what_failed_as_the_store_was_locked_is_run_again_in_a_moment(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a lock of minutes the verdict named a failed probe of agents for ten more, until its next time."""
    locked = StoreUnavailable("UPDATE", None, Exception("database is locked"))
    write_task(task_scheduler.folder, "ticket-pickup", schedule="*/10 * * * *", command=["mc_pickup.py"])
    monkeypatch.setattr(scheduler, "now", lambda: NOON)
    with monkeypatch.context() as fault:
        fault.setattr(dispatch_pass, "settle_runs", Mock(side_effect=locked))
        assert task_scheduler.tick(NOON) == ["ticket-pickup"]
    [row] = task_scheduler.history()
    assert row.summary is not None and row.summary["error"] == "The store was not available: database is locked."
    assert task_scheduler.tick(NOON + timedelta(seconds=5)) == []
    assert task_scheduler.tick(NOON + timedelta(seconds=40)) == ["ticket-pickup"]
    assert task_scheduler.tick(NOON + timedelta(seconds=80)) == []
    assert [row.outcome for row in task_scheduler.history()] == [TaskOutcome.NOOP, TaskOutcome.FAILED]


def test_a_pass_that_outlives_its_time_out_is_reported_and_ends_the_process(
    task_scheduler: TaskScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    beats: dict[str, Heartbeat] = {}
    given_up = threading.Event()

    def end(code: int) -> None:
        ended.append(code)
        with reading(task_scheduler.installation.engine) as session:
            beats.update(tasks.load_heartbeats(session))
        given_up.set()

    monkeypatch.setattr(watchdog, "end_process", end)
    monkeypatch.setattr(watchdog, "REPORT_SECONDS", 60)
    monkeypatch.setattr(dispatch_pass, "settle_runs", lambda *_: given_up.wait(90))
    write_task(task_scheduler.folder, "ticket-pickup", command=["mc_pickup.py"], timeout=0.2)

    task_scheduler.tick(NOON + timedelta(minutes=1))

    assert ended == [watchdog.EXIT_CODE]
    late = next(row for row in task_scheduler.history() if row.outcome is TaskOutcome.FAILED)
    assert (late.task, late.trigger) == ("ticket-pickup", Trigger.TIMER)
    assert (
        "longer than 0.2 seconds" in (late.summary or {})["error"]
        and "longer than 0.2 seconds" in task_scheduler.messages[0]
    )
    beat = beats["ticket-pickup"]
    assert beat.status == "failed" and "longer than 0.2 seconds" in beat.detail


def test_a_pass_that_cannot_be_reported_ends_the_process_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    never = threading.Event()
    monkeypatch.setattr(watchdog, "end_process", lambda _code: ended.set())
    monkeypatch.setattr(watchdog, "REPORT_SECONDS", 0.1)

    with watchdog.limit_duration(0.05, lambda: never.wait(30)):
        assert ended.wait(10)
    never.set()


@pytest.mark.parametrize(
    ("code", "abort_reason", "summary", "outcome"),
    [
        (0, None, {"outcome": "acted"}, TaskOutcome.ACTED),
        (0, None, None, TaskOutcome.WARNING),
        (0, None, {"outcome": "splendid"}, TaskOutcome.WARNING),
        (1, None, {"outcome": "acted"}, TaskOutcome.FAILED),
        (-9, None, None, TaskOutcome.FAILED),
        (0, "it took longer", {"outcome": "noop"}, TaskOutcome.FAILED),
    ],
)
def test_an_outcome_is_what_a_program_says_unless_its_end_belies_it(
    code: int, abort_reason: str | None, summary: dict[str, str] | None, outcome: TaskOutcome
) -> None:
    assert scheduler.determine_outcome(programs.ProcessResult(code, abort_reason, "", summary)) is outcome


def test_a_program_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TERM_SECONDS", 0.3)
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )

    ended = programs.run([sys.executable, "-c", script], tmp_path, 1, tmp_path / "log", threading.Event(), SHAPES)

    assert (ended.code, ended.cut, ended.tail) == (-signal.SIGKILL, "it took longer than 1 seconds", "deaf\n")


# Files


def test_a_bad_task_file_is_named_and_stops_no_other(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "good")
    write_task(task_scheduler.folder, "never", schedule="61 * * * *")
    write_task(task_scheduler.folder, "foreign", command=["rm", "-rf"])
    write_task(task_scheduler.folder, "odd", colour="red")
    (task_scheduler.folder / "torn.md").write_text("---\nschedule: [\n---\n")
    (task_scheduler.folder / "gone.md").symlink_to("nowhere")
    (task_scheduler.folder / ".#good.md").symlink_to("somebody@host.1")  # Emacs does while a person edits the file

    assert task_scheduler.tick(NOON + timedelta(minutes=1)) == ["good"]

    assert [line.split(":")[0] for line in task_scheduler.messages] == [
        f"tasks/{n}.md" for n in ("foreign", "gone", "never", "odd", "torn")
    ]
    task_scheduler.tick(NOON + timedelta(minutes=2))
    assert len(task_scheduler.messages) == 5, "each is told once"


def test_two_enabled_tasks_with_the_same_command_are_a_warning(task_scheduler: TaskScheduler) -> None:
    for name in ("one", "two"):
        write_task(task_scheduler.folder, name)

    assert task_scheduler.scheduler.load_schedule().problems == ["one and two run the same command"]


def test_the_shipped_tasks_are_good() -> None:
    tasks_by_name, problems = cron.load_tasks(ROOT / "tasks")

    assert problems == []
    assert {"ticket-pickup", "queue-reaper", "retention", "backup"} <= tasks_by_name.keys()
    assert all((ROOT / entry.command[0]).exists() for entry in tasks_by_name.values() if entry.head.enabled)


# The service


def test_the_service_starts_a_ticket_at_once_and_its_agents_outlive_it(served_installation: Installation) -> None:
    own = served_installation.settings.tasks_dir
    write_task(own, "command", schedule="0 0 1 1 *", command=["echo", '{"outcome": "acted"}'])
    write_task(own, "prompt", schedule="0 0 1 1 *", command=None, ticket={"title": "Read"})
    service = served_installation.start_program("mc_scheduler.py")
    wait_until(
        lambda: "scheduler" in load_heartbeats(served_installation), timeout=60, description="the scheduler's heartbeat"
    )

    with writing(served_installation.engine) as session:
        for name in ("command", "prompt"):
            tasks.run_now(session, name, ALICE)
    for name, facts in (("command", (TaskOutcome.ACTED, None, True)), ("prompt", (TaskOutcome.ACTED, "MC-1", None))):
        wait_until(lambda name=name: has_ended(served_installation, name), description=f"the task {name}")  # type: ignore[misc]
        [view] = load_slots(served_installation, name)
        assert (view.slot.outcome, view.ticket, view.did_work) == facts

    ticket_id = served_installation.ticket(SLOW_STEP)
    wait_until(lambda: served_installation.runs(ticket_id), description="the run, before the next minute's pass")
    run = served_installation.wait_until_running(ticket_id)

    service.send_signal(signal.SIGTERM)

    assert service.wait(60) == 0
    assert served_installation.is_wrapper_alive(run)
    assert served_installation.get(ticket_id).status is TicketStatus.IN_PROGRESS


def load_slots(installation: Installation, name: str) -> list[ledger.SlotView]:
    with reading(installation.engine) as session:
        return ledger.list_slots(session, name)


def has_ended(installation: Installation, name: str) -> bool:
    return any(view.slot.ended for view in load_slots(installation, name))


def load_heartbeats(installation: Installation) -> dict[str, object]:
    with reading(installation.engine) as session:
        return dict(tasks.load_heartbeats(session))


def test_there_is_one_scheduler_in_a_home(installation: Installation) -> None:
    with single_flight.hold_host_lock(installation.context, "scheduler"):
        done = installation.run_program("mc_scheduler.py", "--once")

    assert done.returncode == 1 and "another scheduler is at work" in done.stderr


def test_one_task_can_be_run_by_hand(installation: Installation) -> None:
    done = installation.run_program("mc_scheduler.py", "--run", "backup")
    unknown = installation.run_program("mc_scheduler.py", "--run", "nonsense")

    assert (done.returncode, json.loads(done.stdout)) == (0, {"task": "backup", "outcome": "acted"})
    with reading(installation.engine) as session:
        [row] = session.scalars(select(TaskRun))
    assert (row.task, row.trigger) == ("backup", Trigger.OPERATOR)
    assert unknown.returncode == 1 and "Unknown task nonsense" in unknown.stderr


def test_events_start_nothing_while_the_pickup_task_is_disabled(task_scheduler: TaskScheduler) -> None:
    write_task(task_scheduler.folder, "ticket-pickup", command=["mc_pickup.py"], enabled=False)
    ticket_id = task_scheduler.installation.ticket("true")

    assert task_scheduler.scheduler.run_enabled(pickup.TASK, run_pickup, Trigger.EVENT).outcome is TaskOutcome.NOOP
    assert task_scheduler.installation.runs() == []

    write_task(task_scheduler.folder, "ticket-pickup", command=["mc_pickup.py"], enabled=True)
    assert task_scheduler.scheduler.run_enabled(pickup.TASK, run_pickup, Trigger.EVENT).outcome is TaskOutcome.ACTED
    assert len(task_scheduler.installation.runs(ticket_id)) == 1
