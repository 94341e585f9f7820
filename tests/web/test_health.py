"""The verdict: working only while everything that must happen has been seen to happen."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, event, update

import auth
from database import open_engine, reading, writing
from models import (
    AlertDelivery,
    AlertKind,
    AlertState,
    DeliveryState,
    HealthResult,
    HealthStatus,
    Heartbeat,
    QueuedMessage,
    Run,
    RunState,
    Switch,
    Ticket,
    TicketStatus,
    now,
)
from protocol import Outcome
from settings import Settings
from tests.test_landing import pending
from tests.test_locked_store import hold_write_lock
from tickets.lifecycle import transitions
from tickets.operations import health, incidents, local_checks, root_causes, start_grace, store_checks, task_checks
from tickets.operations.health_check import HealthCheck
from tickets.runs import claims, runtime
from tickets.schedule import task_files, tasks
from tickets.shared import lookup, runtime_flags
from tickets.shared.inputs import NewTicket
from tickets.workflow import landing
from web.site import metrics, verdict

from .conftest import SYSTEM, Api

INTERVAL_TASKS = (
    "ticket-pickup",
    "landing",
    "queue-reaper",
    "probe-agents",
    "health-check",
    "canary",
    "inbox-drain",
    "live-routes",
    "mc-auto-review",
    "triage-untriaged",
    "operator",
    "follow-up-sweep",
)
OK, WARNING, FAILED = HealthStatus.OK, HealthStatus.WARNING, HealthStatus.FAILED


@pytest.fixture
def alive(engine: Engine) -> Engine:
    """A store whose tasks have all just run."""
    with writing(engine) as session:
        for name in (tasks.SCHEDULER, *task_files.list_names(task_files.SHIPPED_TASKS)):
            tasks.record_heartbeat(session, name, "ok", '{"claimed": 0}')
    return engine


def examine(store: Engine, home: Path) -> health.HealthReport:
    settings = Settings(home=home)
    with reading(store) as session:
        scheduled = task_checks.check_tasks(session, settings, task_files.SHIPPED_TASKS, just_started=False)
        return health.build_report([*scheduled, *store_checks.check_store(session)])


def make_ticket(store: Engine, **values: Any) -> str:
    with writing(store) as session:
        ticket = transitions.create_ticket(session, NewTicket(title="Write a line", assigned_to="script"), SYSTEM)
        session.execute(update(Ticket).where(Ticket.id == ticket.id).values(**values or {"version": 1}))
        return ticket.identifier


@pytest.mark.both_databases
def test_all_is_well_when_every_program_was_seen(alive: Engine, tmp_path: Path) -> None:
    make_ticket(alive)
    report = examine(alive, tmp_path)
    assert (report.verdict, report.reasons) == ("working", [])
    assert all(check.ok for check in report.checks)


def test_a_silent_scheduler_is_named_and_what_it_explains_is_folded_under_it(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        session.execute(update(Heartbeat).values(ts=now() - timedelta(hours=1)))
        incidents.raise_incident(session, "disk", "The disk is odd")
    report = examine(alive, tmp_path)
    assert report.verdict == "not working"
    assert [cause.check.name for cause in report.causes] == ["scheduler", "incidents"]
    assert report.causes[0].sentence.startswith(
        "The scheduler was last seen 60 min ago, so no scheduled tasks run. Restart"
    )
    assert {check.name for check in report.causes[0].explains} == set(INTERVAL_TASKS)


def test_every_task_is_folded_under_what_keeps_all_of_them_from_running(engine: Engine, tmp_path: Path) -> None:
    """A person's task may be called like a check, and was named beside the scheduler that did not start it."""
    assert set(task_files.list_names(task_files.SHIPPED_TASKS)) == root_causes.TASKS
    settings = Settings(home=tmp_path)
    settings.tasks_dir.mkdir()
    head = "schedule: '*/5 * * * *'\ncommand: [make]\nenabled: true\ndescription: Test"
    (settings.tasks_dir / "disk.md").write_text(f"---\n{head}\n---\n")
    with writing(engine) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "ok")
        tasks.record_heartbeat(session, "disk", "failed", summary={"error": "no rule"})
        checks = task_checks.check_tasks(session, settings, tmp_path / "none", just_started=False)
    [own] = [check for check in checks if not check.ok]
    assert (own.name, own.rank) == ("task disk", 1)
    for cause in ("disk", "settings", "writes", "scheduler", "run-folders"):
        report = health.build_report([HealthCheck(cause, FAILED, "It is wrong."), own])
        assert [(root.check.name, root.explains) for root in report.causes] == [(cause, (own,))]
    report = health.build_report([HealthCheck("git", FAILED, "It is wrong."), own])
    assert len(report.causes) == 2


def test_a_warning_that_has_an_incident_of_its_own_opens_no_second_one(alive: Engine, tmp_path: Path) -> None:
    for summary, count in (({"oversized": 1, tasks.HAS_ENTRY: True}, 0), ({"oversized": 1}, 1)):
        with writing(alive) as session:
            tasks.record_outcome(session, "mc-auto-review", "warning", summary)
        assert len(examine(alive, tmp_path).causes) == count
    with writing(alive) as session:
        tasks.record_outcome(session, "mc-auto-review", "failed", {tasks.HAS_ENTRY: True})
    assert len(examine(alive, tmp_path).causes) == 1, "a failure is always named"


def test_a_warning_explains_no_failure() -> None:
    paused = HealthCheck("disk", WARNING, "Little room.")
    failed_task = HealthCheck("ticket-pickup", FAILED, "It fails.")
    late = HealthCheck("canary", WARNING, "It is late.")
    report = health.build_report([paused, late, failed_task])
    assert [(cause.check, cause.explains) for cause in report.causes] == [(failed_task, ()), (paused, (late,))]


def test_what_a_cause_explained_is_explained_for_a_while_after_it_is_gone() -> None:
    """Regression: tmux was there again, and the pickup that had failed without it was named until its next pass."""
    moment = now()
    tmux = HealthCheck("tmux", OK, "2 panes", since=moment - timedelta(seconds=50))
    pickup = HealthCheck("ticket-pickup", FAILED, "It fails.", since=moment - timedelta(seconds=90))
    backup = HealthCheck("backup", WARNING, "No copy.", since=moment - timedelta(seconds=90))
    report = health.build_report([tmux, pickup, backup])
    assert [(cause.check.name, cause.explains) for cause in report.causes] == [("tmux", (pickup,)), ("backup", ())]
    assert report.verdict == "not working" and tmux in report.checks
    for later in (
        replace(tmux, since=moment - timedelta(minutes=3)),
        replace(tmux, since=moment - timedelta(seconds=88)),
    ):
        assert [cause.check for cause in health.build_report([later, pickup]).causes] == [pickup]


def test_a_failed_pass_says_what_failed(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        tasks.record_heartbeat(session, "ticket-pickup", "failed", '{"error": "tmux gave no answer"}')
        tasks.record_heartbeat(session, "backup", "failed", '{"error": "the disk is full"}')
        tasks.record_heartbeat(session, "scheduler", "warning", '{"problems": ["canary.md has no command"]}')
    report = examine(alive, tmp_path)
    assert report.verdict == "not working"
    assert [cause.check.detail for cause in report.causes] == [
        "The task ticket-pickup reports a problem: tmux gave no answer.",
        "The scheduler reports: canary.md has no command.",
    ]
    assert "The task backup reports a problem: the disk is full." in [
        check.detail for check in report.causes[1].explains
    ]


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("scheduler", '{"running": 5, "problems": 5}'),
        ("scheduler", "[1]"),
        ("landing", '{"held_by": 1, "skipped_since": "x"}'),
        ("landing", '{"held_by": "x", "skipped_since": "2026-01-01T00:00:00", "problems": {"a": 1}}'),
    ],
)
def test_a_heartbeat_of_other_types_is_no_reason_to_check_nothing(
    alive: Engine, tmp_path: Path, name: str, detail: str
) -> None:
    with writing(alive) as session:
        tasks.record_heartbeat(session, name, "failed", detail)
    assert name in [cause.check.name for cause in examine(alive, tmp_path).causes]


def test_a_long_summary_stays_readable(alive: Engine, tmp_path: Path) -> None:
    """Regression: it was cut in the middle of its JSON, so that the scheduler's running tasks counted as late."""
    with writing(alive) as session:
        summary = {"problems": [f"{number}: {'x' * 600}" for number in range(30)], "running": ["probe-agents"]}
        tasks.record_heartbeat(session, "scheduler", "warning", summary=summary)
        late = update(Heartbeat).where(Heartbeat.check == "probe-agents")
        session.execute(late.values(ts=now() - timedelta(minutes=14)))
    [cause] = examine(alive, tmp_path).causes
    assert cause.check.name == "scheduler" and cause.check.detail.startswith("The scheduler reports: 0: xxx")


def test_a_task_counts_from_when_it_was_due(engine: Engine, tmp_path: Path) -> None:
    """A nightly backup is not late all day, and a task that is being run may take its time."""
    moment = now()
    schedules = {"past": moment - timedelta(hours=1), "ahead": moment + timedelta(hours=1)}
    lines = {name: f"{time.minute} {time.hour} * * *" for name, time in schedules.items()} | {"slow": "*/10 * * * *"}
    for name, line in lines.items():
        head = f'schedule: "{line}"\ncommand: [mc_land.py]\ntimeout: 3600\nenabled: true\ndescription: Test'
        (tmp_path / f"{name}.md").write_text(f"---\n{head}\n---\n")

    with writing(engine) as session:
        for name in ("scheduler", *lines):
            tasks.record_heartbeat(session, name, "ok")
        session.execute(update(Heartbeat).where(Heartbeat.check.in_(lines)).values(ts=moment - timedelta(hours=20)))
        checks = task_checks.check_tasks(session, Settings(home=tmp_path), tmp_path, just_started=False)
    assert {check.name for check in checks if not check.ok} == {"past", "slow"}


def test_a_task_that_came_with_an_upgrade_is_not_late_before_it_was_due(engine: Engine, tmp_path: Path) -> None:
    time_of_day = now() - timedelta(hours=2)
    head = f"schedule: '{time_of_day.minute} {time_of_day.hour} * * *'\ncommand: [mc_land.py]\ntimeout: 60"
    (tmp_path / "nightly.md").write_text(f"---\n{head}\nenabled: true\ndescription: Test\n---\n")
    with writing(engine) as session:
        tasks.record_heartbeat(session, "scheduler", "ok")
        since = {"changed": now() - timedelta(days=90)}
        session.execute(update(Switch).where(Switch.name == runtime_flags.EPOCH).values(**since))
        checks = task_checks.check_tasks(session, Settings(home=tmp_path), tmp_path, just_started=False)
    assert [check.detail for check in checks if check.name == "nightly"] == ["has not been due yet"]


def test_a_running_task_may_take_its_timeout(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        ran = {"ts": now() - timedelta(minutes=14)}
        session.execute(update(Heartbeat).where(Heartbeat.check == "probe-agents").values(**ran))
    assert [cause.check.name for cause in examine(alive, tmp_path).causes] == ["probe-agents"]
    with writing(alive) as session:
        tasks.record_heartbeat(session, "scheduler", "ok", '{"running": ["probe-agents"]}')
    assert examine(alive, tmp_path).verdict == "working"


def test_a_timer_counts_its_interval_from_the_end_of_the_last_run(alive: Engine, tmp_path: Path) -> None:
    """Five minutes of `OnUnitInactiveSec` may pass the minute of the task's line by almost five minutes."""
    settings = Settings(home=tmp_path, scheduler=False)
    for age, is_ok in ((295, True), (330, True), (420, False)):
        with writing(alive) as session:
            ran = {"ts": now() - timedelta(seconds=age)}
            session.execute(update(Heartbeat).where(Heartbeat.check == "queue-reaper").values(**ran))
            checks = task_checks.check_tasks(session, settings, task_files.SHIPPED_TASKS, just_started=False)
        assert [check.ok for check in checks if check.name == "queue-reaper"] == [is_ok], age


def test_a_task_that_a_person_disabled_is_named_with_what_is_not_done(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        tasks.disable_task(session, "queue-reaper", SYSTEM)
    [reason] = examine(alive, tmp_path).reasons
    assert reason.startswith("The task queue-reaper was disabled by test, so this does not happen: expire undelivered")
    assert reason.endswith(
        "so this does not happen: expire undelivered messages and clean up dead runs. Enable it on the Tasks page."
    )


def test_a_task_that_is_skipped_for_longer_than_it_may_take_has_not_run(alive: Engine, tmp_path: Path) -> None:
    since = (now() - timedelta(minutes=6)).isoformat()
    with writing(alive) as session:
        tasks.record_heartbeat(session, "ticket-pickup", "ok", f'{{"held_by": "pid 4", "skipped_since": "{since}"}}')
    assert "because pid 4 is doing the same work" in examine(alive, tmp_path).reasons[0]


def test_a_task_that_met_an_obstacle_is_wrong_when_it_meets_it_again(alive: Engine, tmp_path: Path) -> None:
    """It is repeated within 30 seconds, and its failure may be stored only when the obstacle is gone."""
    locked = {"error": "The store was not available: database is locked.", tasks.REPEAT: True}
    with writing(alive) as session:
        tasks.record_outcome(session, "queue-reaper", "failed", locked)
    assert examine(alive, tmp_path).verdict == "working"
    with writing(alive) as session:
        since = {tasks.HINDERED_SINCE: (now() - timedelta(minutes=2)).isoformat()}
        tasks.record_heartbeat(session, "queue-reaper", "failed", summary=locked | since)
        tasks.record_outcome(session, "queue-reaper", "failed", locked)
    assert "database is locked" in examine(alive, tmp_path).reasons[0]


def test_work_that_nobody_lands_degrades(alive: Engine, tmp_path: Path) -> None:
    ticket_id, plan = pending(alive)
    assert examine(alive, tmp_path).verdict == "working"
    then = plan.model_copy(update={"since": now() - timedelta(hours=1)})
    with writing(alive) as session:
        values = landing.build_pending_values(then)
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(**values))
    assert (
        examine(alive, tmp_path)
        .reasons[0]
        .startswith("Approved work has been waiting to land for more than 30 min: MC-1.")
    )


@pytest.mark.both_databases
def test_a_silent_run_and_a_pause_degrade(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        body = NewTicket(title="Write a line", assigned_to="script")
        claims.claim_ticket(session, transitions.create_ticket(session, body, SYSTEM).id, "here")
        heartbeat_time = now() - timedelta(minutes=2)
        session.execute(update(Run).values(state=RunState.RUNNING, heartbeat=heartbeat_time))
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving house", SYSTEM)
    report = examine(alive, tmp_path)
    assert report.verdict == "degraded"
    assert [cause.check.detail for cause in report.causes] == [
        "Dispatch is paused: moving house.",
        "1 live run stopped responding: MC-1.",
    ]


@pytest.mark.both_databases
def test_a_run_that_never_began_on_a_machine_that_is_gone_degrades(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        body = NewTicket(title="Write a line", assigned_to="script")
        claim = claims.claim_ticket(session, transitions.create_ticket(session, body, SYSTEM).id, "gone")
    assert examine(alive, tmp_path).verdict == "working", "a start may take its time"
    with writing(alive) as session:
        session.execute(update(Run).values(started=now() - timedelta(minutes=6)))
    assert [cause.check.name for cause in examine(alive, tmp_path).causes] == ["runs"]
    with reading(alive) as session:
        run = lookup.get_run(session, claim.run.id)
        assert runtime.get_state(run) == "unknown", "the ticket's page says the same"


@pytest.mark.both_databases
def test_messages_check_ins_and_tickets_that_nobody_saw_degrade(alive: Engine, tmp_path: Path) -> None:
    long_ago = now() - timedelta(hours=2)
    make_ticket(alive, expected_check_in=long_ago, status=TicketStatus.NEEDS_INPUT, moved=long_ago)
    with writing(alive) as session:
        values = {"ticket_id": 1, "author": "alice", "body": "Stop", "seq": 1, "changed": 1, "run_id": 1}
        session.add(
            QueuedMessage(uuid="a", state=DeliveryState.EXPIRED, offered=now() - timedelta(minutes=40), **values)
        )
        for kind in (AlertKind.DONE, AlertKind.TEST):
            alert = {"key": kind.value, "kind": kind, "alert": {}, "state": AlertState.FAILED}
            session.add(AlertDelivery(channel=f"by-{kind}", **alert))
    causes = examine(alive, tmp_path).causes
    assert [cause.check.name for cause in causes] == ["messages", "check-ins", "needs-you", "alerts"]
    assert causes[-1].check.detail == "Alerts could not be sent: by-done."
    with writing(alive) as session:
        session.execute(update(AlertDelivery).values(created=now() - store_checks.ALERT_WINDOW))
        session.add(QueuedMessage(uuid="b", state=DeliveryState.QUEUED, offered=now(), **values))
        tasks.record_heartbeat(session, store_checks.VISIT, "ok", "alice")
    assert [cause.check.name for cause in examine(alive, tmp_path).causes] == ["check-ins"]


@pytest.mark.both_databases
def test_it_degrades_when_most_of_the_last_runs_went_wrong(alive: Engine, tmp_path: Path) -> None:
    def add_runs(count: int, outcome: Outcome) -> None:
        for _ in range(count):
            make_ticket(alive)
            with writing(alive) as session:
                ticket_id = session.query(Ticket.id).order_by(Ticket.id.desc()).limit(1).scalar()
                claim = claims.claim_ticket(session, ticket_id, "here")
                values = {"state": RunState.ENDED, "ended": now(), "outcome": outcome}
                session.execute(update(Run).where(Run.id == claim.run.id).values(**values))

    add_runs(9, Outcome.FAILED)
    assert examine(alive, tmp_path).verdict == "working", "nine runs prove nothing"
    add_runs(1, Outcome.STOPPED)
    assert examine(alive, tmp_path).verdict == "working", "a stopped run is nobody's fault"
    add_runs(1, Outcome.DONE)
    assert (
        examine(alive, tmp_path).causes[0].check.detail == "9 of the last 10 runs failed or left their ticket blocked."
    )
    with writing(alive) as session:
        session.execute(update(Run).values(ended=now() - timedelta(days=2)))
    assert examine(alive, tmp_path).verdict == "working", "of another day"


def test_a_sign_of_life_from_the_future_is_none(alive: Engine, tmp_path: Path) -> None:
    """The clock was wrong, was set back, and pickup has died since."""
    with writing(alive) as session:
        values = {"ts": now() + timedelta(days=1)}
        session.execute(update(Heartbeat).where(Heartbeat.check == "ticket-pickup").values(**values))
    assert examine(alive, tmp_path).verdict == "not working"


def test_the_checks_read_no_run_that_has_ended_but_the_last(alive: Engine, tmp_path: Path) -> None:
    """They are made every few seconds: their cost must not grow with the runs there have ever been."""
    calls: list[tuple[str, Any]] = []
    event.listen(alive, "before_cursor_execute", lambda *told: calls.append((str(told[2]), told[3])))
    examine(alive, tmp_path)
    about_runs = [call for call in calls if "JOIN runs" in call[0] or "FROM runs" in call[0]]
    assert len(about_runs) == 3, "the silent ones, the last ones, and the busy agents"
    with alive.connect() as connection:
        for statement, values in about_runs:
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all())
            assert "SCAN runs'" not in plan or " LIMIT " in statement, statement


def test_an_open_incident_degrades(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        incidents.raise_incident(session, "disk-full", "The disk is full")
        incidents.raise_incident(session, f"{incidents.CHECK_PREFIX}disk", "The disk is full, says its check")
    assert examine(alive, tmp_path).reasons == ["The disk is full. See the Incidents page."]


def test_a_full_disk_means_not_working(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _home: type("Usage", (), {"free": 1 << 20}))
    assert local_checks.check_disk(tmp_path).status is FAILED


# Stored results


def save_results(engine: Engine, *checks: HealthCheck, host: str = "here") -> dict[str, HealthResult]:
    with writing(engine) as session:
        return {row.name: row for row in health.store_results(session, host, checks)}


def move_back(engine: Engine, span: timedelta) -> None:
    """Let all results be of an earlier time."""
    with writing(engine) as session:
        for row in session.query(HealthResult):
            row.seen, row.since = row.seen - span, row.since - span
            row.right_since = row.right_since - span if row.right_since else None


@pytest.mark.both_databases
def test_a_fault_is_reported_at_once_and_until_it_has_been_gone_for_a_while(engine: Engine) -> None:
    right, wrong = HealthCheck("tmux", OK, "2 panes"), HealthCheck("tmux", FAILED, "tmux is gone.", "Install tmux.")
    assert save_results(engine, right)["tmux"].status is OK
    assert save_results(engine, wrong)["tmux"].status is FAILED
    move_back(engine, timedelta(minutes=5))
    assert (row := save_results(engine, right)["tmux"]).status is FAILED and row.detail == "tmux is gone."
    move_back(engine, timedelta(seconds=20))
    assert save_results(engine, right)["tmux"].status is FAILED
    assert save_results(engine, wrong)["tmux"].right_since is None, "it flickers, and stays wrong"
    save_results(engine, right)
    move_back(engine, timedelta(seconds=31))
    assert (row := save_results(engine, right)["tmux"]).status is OK
    assert now() - row.since < timedelta(seconds=30), "the status began now"
    assert save_results(engine) == {} and save_results(engine, right)["tmux"].right_since is None


@pytest.mark.both_databases
def test_old_results_prove_nothing_and_a_host_that_is_gone_is_forgotten(engine: Engine) -> None:
    def load() -> health.HealthReport:
        with reading(engine) as session:
            return health.build_report(health.load_results(session))

    assert load().causes[0].check.detail == "Health checks are not running."
    save_results(engine, HealthCheck("tmux", OK, "2 panes"))
    assert load().verdict == "working"
    move_back(engine, timedelta(minutes=3))
    save_results(engine, HealthCheck("tmux", OK, "1 pane"), host="there")
    save_results(engine, HealthCheck("dispatch", OK, "not paused"), host="")
    [cause] = load().causes
    assert "The health checks on here last ran 3 min ago" in cause.check.detail
    assert "there: 1 pane" in [check.detail for check in load().checks]
    save_results(engine, HealthCheck("tmux", FAILED, "tmux is gone."))
    move_back(engine, timedelta(days=2))
    save_results(engine, HealthCheck("tmux", OK, "1 pane"), host="there")
    assert load().verdict == "working"
    assert [check.detail for check in load().checks if check.name == "tmux"] == ["1 pane"]


# What a web process adds


@pytest.fixture
def observer(app: Flask, monkeypatch: pytest.MonkeyPatch) -> verdict.Observer:
    monkeypatch.setattr(start_grace, "START_SECONDS", 0.0)
    monkeypatch.setattr(verdict, "PROBE_SECONDS", 0.0)
    monkeypatch.setattr(verdict, "RECENT_LOOK", timedelta(0))
    metrics.OVERDUE.set(0)
    instance: auth.Instance = app.extensions["mission_control"]
    with writing(instance.engine) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "ok")
    return verdict.Observer(instance)


def build(observer: verdict.Observer, engine: Engine) -> health.HealthReport:
    with reading(engine) as session:
        return observer.build_report(session)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_lock_of_another_program_is_named_with_its_process(
    observer: verdict.Observer, engine: Engine, url: str
) -> None:
    save_results(engine, HealthCheck("scheduler", OK, "seen"))
    move_back(engine, timedelta(minutes=3))
    with hold_write_lock(Path(url.removeprefix("sqlite:///"))) as pid:
        [cause] = build(observer, engine).causes
    assert f"Process {pid} (" in cause.check.detail and f"kill {pid}" in cause.check.remedy
    assert cause.check.name == "writes"
    assert [check.name for check in cause.explains] == ["check-age"]
    assert [cause.check.name for cause in build(observer, engine).causes] == ["check-age"]


def test_the_first_minute_of_a_process_waits_for_the_first_look(
    observer: verdict.Observer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_results(engine, HealthCheck("scheduler", OK, "seen"))
    move_back(engine, timedelta(minutes=3))
    assert build(observer, engine).verdict == "not working"
    monkeypatch.setattr(start_grace, "START_SECONDS", 60.0)
    assert build(observer, engine).verdict == "working"
    monkeypatch.setattr(start_grace, "START_SECONDS", 0.0)
    monkeypatch.setattr(verdict, "RECENT_LOOK", timedelta(minutes=5))
    other_observer = verdict.Observer(observer._instance)
    assert build(other_observer, engine).verdict == "not working", "another process has just reported it"
    metrics.OVERDUE.set(0)
    assert build(observer, engine).verdict == "working", "a look may be about to be made"
    monkeypatch.setattr(verdict, "SUSTAINED_SECONDS", 0.0)
    assert build(observer, engine).verdict == "not working"
    monkeypatch.setattr(start_grace, "START_SECONDS", 60.0)
    grace = start_grace.StartGrace()
    monkeypatch.setattr(grace, "_start", time.monotonic() - 3600)
    assert not grace.is_starting()
    monkeypatch.setattr(grace, "_offset", grace._offset - 8 * 3600)
    assert grace.is_starting(), "the machine has slept"


def test_broken_settings_are_the_cause_of_programs_that_do_not_start(
    observer: verdict.Observer, engine: Engine, settings: Settings
) -> None:
    save_results(engine, HealthCheck("scheduler", OK, "seen"))
    move_back(engine, timedelta(minutes=3))
    (settings.home / "config.toml").write_text("port = many\n")
    [cause] = build(observer, engine).causes
    assert cause.check.name == "settings" and "config.toml" in cause.check.detail
    assert [check.name for check in cause.explains] == ["check-age"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_store_that_cannot_be_read_is_the_cause(observer: verdict.Observer, url: str, tmp_path: Path) -> None:
    damaged_file = tmp_path / "broken.db"
    damaged_file.write_bytes(b"no database " * 999)
    engine = open_engine(f"sqlite:///{tmp_path / 'empty.db'}")
    report = build(observer, engine)
    engine.dispose()
    assert report.causes[0].check.name == "integrity"


def test_a_fault_of_a_web_process_counts_when_it_lasts(
    observer: verdict.Observer, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_results(engine, HealthCheck("scheduler", OK, "seen"))
    metrics.FAILING.set(1)
    metrics.RUNNING.add(30)
    try:
        assert build(observer, engine).verdict == "working"
        monkeypatch.setattr(verdict, "SUSTAINED_SECONDS", 0.0)
        report = build(observer, engine)
    finally:
        metrics.FAILING.set(0)
        metrics.RUNNING.add(-30)
    assert [cause.check.name for cause in report.causes] == ["event-log", "web"]
    assert "cannot read the event log" in report.causes[0].sentence and "30 of " in report.causes[1].sentence
    assert build(observer, engine).verdict == "working"


def test_the_api_names_causes_with_what_they_explain(operator: Api, engine: Engine) -> None:
    save_results(
        engine,
        HealthCheck("disk", FAILED, "The disk is full.", "Free some space."),
        HealthCheck("backup", FAILED, "No."),
    )
    body = operator.get("/health").get_json()
    assert body["verdict"] == "not working" and body["reasons"] == ["No."]
