"""When tasks run, what is recorded of them, and that agents outlive the scheduler."""

from __future__ import annotations

import json
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import event, select

import mc_scheduler
from database import reading, writing
from jobs import cron, dispatch_pass, pickup, scheduler, single_flight, watchdog
from jobs.cron import Task, TaskFile
from jobs.landing import Lander
from jobs.program_probes import Prober
from jobs.scheduler import ROOT, Scheduler, pick_up
from jobs.task_recorder import Done
from models import TaskOutcome, TaskRun, TicketStatus, Trigger
from tests.waiting import wait_until
from tickets.operations import tasks
from workers.run import task_process as programs

from .house import ALICE, House
from .test_dying import SLOW_STEP

BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)


def task(schedule: str, **changes: object) -> Task:
    head = {"schedule": schedule, "command": ["queue_reaper.py"], "timeout": 60, "enabled": True, "description": "x"}
    return Task("x", TaskFile.model_validate(head | changes))


def write_task(folder: Path, name: str, **changes: object) -> None:
    folder.mkdir(exist_ok=True)
    """By default a task that the scheduler runs itself, which takes no program's start."""
    head = {"schedule": "* * * * *", "command": ["mc_land.py"], "timeout": 60, "enabled": True} | changes
    head.setdefault("description", f"The task {name}.")
    lines = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
    (folder / f"{name}.md").write_text("\n".join(["---", *lines, "---", "Words for people.", ""]))


class Shop:
    """A scheduler over a folder of the test's own, with what it said."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.folder = folder
        self.said: list[str] = []
        self.scheduler = Scheduler(house.bench, folder, NOON, self.said.append)

    def tick(self, moment: datetime) -> list[str]:
        started = self.scheduler.tick(moment)
        self.scheduler.wait()
        return started

    def history(self, name: str | None = None) -> list[TaskRun]:
        with reading(self.house.engine) as session:
            return tasks.history(session, name)


@pytest.fixture
def shop(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name, value in house.environment.items():
        monkeypatch.setenv(name, value)
    return Shop(house, tmp_path / "tasks")


# When


def test_a_clock_that_was_set_back_holds_no_task_up(shop: Shop) -> None:
    """A task that had run by a wrong clock was not due again before the right one had caught up, be it a year."""
    write_task(shop.folder, "often")
    assert shop.tick(NOON + timedelta(days=365)) == ["often"]
    assert shop.tick(NOON) == []
    assert shop.tick(NOON + timedelta(minutes=1)) == ["often"]


def times(schedule: str, start: str, count: int) -> list[str]:
    moment, found = datetime.fromisoformat(start).replace(tzinfo=BERLIN), []
    for _ in range(count):
        moment = cron.next_after(task(schedule), moment, BERLIN)
        found.append(moment.isoformat(timespec="minutes"))
    return found


def test_a_time_that_the_clocks_skip_runs_once_right_after() -> None:
    assert times("30 2 * * *", "2026-03-28T12:00", 2) == ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]


def test_a_time_that_the_clocks_double_runs_once() -> None:
    assert times("30 2 * * *", "2026-10-24T12:00", 2) == ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]


def test_a_task_of_every_half_hour_goes_by_elapsed_time_through_a_clock_change() -> None:
    found = times("*/30 * * * *", "2026-10-25T01:50", 5)
    assert found == [
        f"2026-10-25T{each}" for each in ("02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00", "03:00+01:00")
    ]


def test_a_task_runs_when_it_is_due_and_not_before(shop: Shop) -> None:
    write_task(shop.folder, "reap", schedule="5 * * * *")

    assert shop.tick(NOON + timedelta(minutes=4)) == []
    assert shop.tick(NOON + timedelta(minutes=5)) == ["reap"]
    assert shop.tick(NOON + timedelta(minutes=6)) == []


def test_what_goes_by_elapsed_time_runs_at_once_the_first_time_and_then_when_it_is_due(shop: Shop) -> None:
    write_task(shop.folder, "queue-reaper", schedule="*/10 * * * *")
    write_task(shop.folder, "backup", schedule="20 3 * * *", command=["queue_reaper.py", "--backup"])

    assert shop.tick(NOON) == ["queue-reaper"]
    assert shop.tick(NOON + timedelta(minutes=9)) == []
    assert Shop(shop.house, shop.folder).tick(NOON + timedelta(minutes=9)) == []


@pytest.mark.parametrize(
    ("schedule", "recurs"),
    [("* * * * *", True), ("*/5 * * * *", True), ("5 * * * *", False), ("*/30 2 * * *", False), ("* * * * 0", False)],
)
def test_what_has_an_hour_or_a_day_goes_by_the_clock(schedule: str, recurs: bool) -> None:
    assert task(schedule).recurs is recurs


def test_a_task_that_a_person_asked_for_runs_once_enabled_or_not(shop: Shop) -> None:
    write_task(shop.folder, "reap", schedule="5 * * * *", enabled=False)
    with writing(shop.house.engine) as session:
        tasks.request_run(session, "reap", ALICE)
        tasks.request_run(session, "nothing", ALICE)

    assert shop.tick(NOON) == ["reap"]
    assert shop.tick(NOON) == []
    assert [run.trigger for run in shop.history()] == [Trigger.OPERATOR]


def test_runs_missed_while_it_was_down_are_made_up_for_by_one(shop: Shop) -> None:
    write_task(shop.folder, "reap", schedule="*/5 * * * *")
    with writing(shop.house.engine) as session:
        tasks.record(session, "reap", Trigger.TIMER, TaskOutcome.NOOP, NOON - timedelta(days=3))
    again = Shop(shop.house, shop.folder)

    assert again.tick(NOON) == ["reap"]
    assert again.tick(NOON + timedelta(seconds=5)) == []


def test_a_disabled_task_does_not_run_until_somebody_enables_it(shop: Shop) -> None:
    write_task(shop.folder, "off", enabled=False)
    write_task(shop.folder, "on", command=["queue_reaper.py", "--backup"])
    with writing(shop.house.engine) as session:
        tasks.disable(session, "on", ALICE)
    assert shop.tick(NOON + timedelta(minutes=1)) == []

    with writing(shop.house.engine) as session:
        tasks.enable(session, "off", ALICE)

    assert shop.tick(NOON + timedelta(minutes=2)) == ["off"]


def test_a_task_is_never_at_work_twice(shop: Shop) -> None:
    write_task(shop.folder, "reap")
    with single_flight.alone_here(shop.house.bench, "task-reap"):
        assert shop.scheduler.run_now("reap") is TaskOutcome.SKIPPED
    assert shop.history() == []


def test_a_tick_reads_the_store_only_where_it_has_changed(shop: Shop) -> None:
    write_task(shop.folder, "reap", enabled=False)
    bench, log = shop.house.bench, shop.said.append
    lander = Lander(bench, lambda: Done(TaskOutcome.NOOP), lambda: True, log)
    ticker = mc_scheduler.Ticker(bench, shop.scheduler, Prober(bench, log), lander)
    for _ in range(3):  # the first beats, which is a change of its own
        ticker.tick()
    statements: list[str] = []
    event.listen(shop.house.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))

    ticker.tick()
    assert statements == []

    with writing(shop.house.engine) as session:
        tasks.request_run(session, "reap", ALICE)
    ticker.tick()
    shop.scheduler.wait()
    assert [run.task for run in shop.history()] == ["reap"]


# What is recorded


def test_a_run_has_one_row_with_its_real_outcome_and_its_output(shop: Shop) -> None:
    write_task(shop.folder, "queue-reaper", command=["queue_reaper.py"])

    shop.tick(NOON + timedelta(minutes=1))

    [row] = shop.history()
    assert (row.task, row.trigger, row.outcome, row.exit_code) == ("queue-reaper", Trigger.TIMER, TaskOutcome.NOOP, 0)
    assert '"outcome": "noop"' in row.output_tail and row.ended


def test_a_skipped_run_is_recorded_as_skipped(shop: Shop) -> None:
    write_task(shop.folder, "ticket-pickup", command=["mc_pickup.py"])
    with single_flight.alone(shop.house.bench, "pickup"):
        shop.tick(NOON + timedelta(minutes=1))

    [row] = shop.history("ticket-pickup")
    assert (row.outcome, row.exit_code) == (TaskOutcome.SKIPPED, 0)


def test_a_run_that_fails_or_takes_too_long_is_a_failure(shop: Shop) -> None:
    write_task(shop.folder, "wrong", command=["queue_reaper.py", "--no-such-option"])
    write_task(shop.folder, "slow", command=["queue_reaper.py"], timeout=0.01)

    shop.tick(NOON + timedelta(minutes=1))

    found = {row.task: row for row in shop.history()}
    assert {name: row.outcome for name, row in found.items()} == dict.fromkeys(("wrong", "slow"), TaskOutcome.FAILED)
    assert found["wrong"].exit_code == 2 and "no-such-option" in found["wrong"].output_tail
    assert "longer than 0.01 seconds" in (found["slow"].summary or {})["error"]
    assert sorted(shop.said) == ["task slow: failed", "task wrong: failed"]


@pytest.mark.parametrize(("name", "command"), [("fetch", "mc_pickup.py"), ("landing", "mc_land.py")])
def test_a_job_of_the_scheduler_runs_in_its_own_process_and_is_recorded_as_the_task(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setattr(programs, "run", None)  # whoever starts a program fails
    write_task(shop.folder, name, command=[command])

    shop.tick(NOON + timedelta(minutes=1))

    [row] = shop.history()
    assert (row.task, row.trigger, row.outcome, row.exit_code) == (name, Trigger.TIMER, TaskOutcome.NOOP, 0)
    assert row.ended and (row.summary or {})["task"] == name


def test_a_job_that_breaks_off_is_a_failure_that_says_where(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch_pass, "settle", lambda *_: 1 / 0)
    write_task(shop.folder, "ticket-pickup", command=["mc_pickup.py"])

    shop.tick(NOON + timedelta(minutes=1))

    [row] = shop.history()
    assert (row.outcome, row.exit_code) == (TaskOutcome.FAILED, 1)
    assert "passes.py" in row.output_tail and "ZeroDivisionError" in row.output_tail
    assert shop.said == ["task ticket-pickup: failed"]


def test_a_pass_that_outlives_its_time_out_is_reported_and_ends_the_process(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    given_up = threading.Event()

    def end(code: int) -> None:
        ended.append(code)
        given_up.set()

    monkeypatch.setattr(watchdog, "end_process", end)
    monkeypatch.setattr(watchdog, "REPORT_SECONDS", 60)
    monkeypatch.setattr(dispatch_pass, "settle", lambda *_: given_up.wait(90))
    write_task(shop.folder, "ticket-pickup", command=["mc_pickup.py"], timeout=0.2)

    shop.tick(NOON + timedelta(minutes=1))

    assert ended == [watchdog.EXIT_CODE]
    late = next(row for row in shop.history() if row.outcome is TaskOutcome.FAILED)
    assert (late.task, late.trigger) == ("ticket-pickup", Trigger.TIMER)
    assert "longer than 0.2 seconds" in (late.summary or {})["error"] and "longer than 0.2 seconds" in shop.said[0]
    with reading(shop.house.engine) as session:
        beat = tasks.heartbeats(session)["scheduler"]
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
    ("code", "cut", "summary", "outcome"),
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
    code: int, cut: str | None, summary: dict[str, str] | None, outcome: TaskOutcome
) -> None:
    assert scheduler.outcome_of(programs.Ended(code, cut, "", summary)) is outcome


def test_a_program_that_will_not_end_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TERM_SECONDS", 0.3)
    script = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )

    ended = programs.run([sys.executable, "-c", script], tmp_path, 1, tmp_path / "log", threading.Event())

    assert (ended.code, ended.cut, ended.tail) == (-signal.SIGKILL, "it took longer than 1 seconds", "deaf\n")


# Files


def test_a_bad_task_file_is_named_and_stops_no_other(shop: Shop) -> None:
    write_task(shop.folder, "good")
    write_task(shop.folder, "never", schedule="61 * * * *")
    write_task(shop.folder, "foreign", command=["rm", "-rf"])
    write_task(shop.folder, "odd", colour="red")
    (shop.folder / "torn.md").write_text("---\nschedule: [\n---\n")

    assert shop.tick(NOON + timedelta(minutes=1)) == ["good"]

    assert [line.split(":")[0] for line in shop.said] == [f"tasks/{n}.md" for n in ("foreign", "never", "odd", "torn")]
    shop.tick(NOON + timedelta(minutes=2))
    assert len(shop.said) == 4, "each is told once"


def test_two_enabled_tasks_with_the_same_command_are_a_warning(shop: Shop) -> None:
    for name in ("one", "two"):
        write_task(shop.folder, name)

    assert shop.scheduler.table().problems == ["one and two run the same command"]


def test_the_shipped_tasks_are_good() -> None:
    found, problems = cron.load(ROOT / "tasks")

    assert problems == []
    assert {"ticket-pickup", "queue-reaper", "retention", "backup"} <= found.keys()
    assert all((ROOT / each.head.command[0]).exists() for each in found.values() if each.head.enabled)


# The service


def test_the_service_starts_a_ticket_at_once_and_its_agents_outlive_it(open_house: House) -> None:
    service = open_house.door("mc_scheduler.py")
    wait_until(lambda: "scheduler" in beats(open_house), timeout=60, what="the scheduler's heartbeat")

    ticket_id = open_house.ticket(SLOW_STEP)
    wait_until(lambda: open_house.runs(ticket_id), what="the run, before the next minute's pass")
    run = open_house.until_running(ticket_id)

    service.send_signal(signal.SIGTERM)

    assert service.wait(60) == 0
    assert open_house.wrapper_lives(run)
    assert open_house.get(ticket_id).status is TicketStatus.IN_PROGRESS


def beats(house: House) -> dict[str, object]:
    with reading(house.engine) as session:
        return dict(tasks.heartbeats(session))


def test_there_is_one_scheduler_in_a_home(house: House) -> None:
    with single_flight.alone_here(house.bench, "scheduler"):
        done = house.run_door("mc_scheduler.py", "--once")

    assert done.returncode == 1 and "another scheduler is at work" in done.stderr


def test_one_task_can_be_run_by_hand(house: House) -> None:
    done = house.run_door("mc_scheduler.py", "--run", "backup")
    unknown = house.run_door("mc_scheduler.py", "--run", "nonsense")

    assert (done.returncode, json.loads(done.stdout)) == (0, {"task": "backup", "outcome": "acted"})
    with reading(house.engine) as session:
        [row] = session.scalars(select(TaskRun))
    assert (row.task, row.trigger) == ("backup", Trigger.OPERATOR)
    assert unknown.returncode == 1 and "there is no task nonsense" in unknown.stderr


def test_events_start_nothing_while_the_pickup_task_is_disabled(shop: Shop) -> None:
    write_task(shop.folder, "ticket-pickup", command=["mc_pickup.py"], enabled=False)
    ticket_id = shop.house.ticket("true")

    assert shop.scheduler.run_enabled(pickup.TASK, pick_up, Trigger.EVENT).outcome is TaskOutcome.NOOP
    assert shop.house.runs() == []

    write_task(shop.folder, "ticket-pickup", command=["mc_pickup.py"], enabled=True)
    assert shop.scheduler.run_enabled(pickup.TASK, pick_up, Trigger.EVENT).outcome is TaskOutcome.ACTED
    assert len(shop.house.runs(ticket_id)) == 1
