"""The verdict: working only while everything that must happen has been seen to happen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from database import reading, writing
from models import Heartbeat, Run, RunState, Ticket, now
from tests.test_landing import pending
from tickets.lifecycle import transitions
from tickets.operations import health, incidents, tasks
from tickets.runs import claims, runtime
from tickets.shared import lookup, runtime_flags
from tickets.shared.inputs import NewTicket
from tickets.workflow import landing

from .conftest import SYSTEM


@pytest.fixture
def alive(engine: Engine) -> Engine:
    with writing(engine) as session:
        for name in health.HEARTBEAT_LIMITS:
            tasks.record_heartbeat(session, name, "ok", '{"claimed": 0}')
    return engine


def verdict(store: Engine, home: Path) -> health.HealthReport:
    with reading(store) as session:
        return health.check_health(session, home)


@pytest.mark.both_databases
def test_all_is_well_when_every_program_was_seen(alive: Engine, tmp_path: Path) -> None:
    report = verdict(alive, tmp_path)
    assert (report.verdict, report.reasons) == ("working", [])
    assert all(check.status == "ok" for check in report.checks)


def test_a_pickup_that_fell_silent_means_not_working(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        session.execute(update(Heartbeat).where(Heartbeat.check == "pickup").values(ts=now() - timedelta(hours=1)))
    report = verdict(alive, tmp_path)
    assert (report.verdict, report.reasons) == ("not working", ["Pickup: was last seen 60 min ago"])


def test_a_failed_pass_says_what_failed(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        tasks.record_heartbeat(session, "pickup", "failed", '{"error": "tmux gave no answer"}')
        tasks.record_heartbeat(session, "scheduler", "warning", '{"problems": ["canary.md has no command"]}')
    report = verdict(alive, tmp_path)
    assert report.reasons == ["Pickup: tmux gave no answer", "Scheduler: canary.md has no command"]


def test_work_that_nobody_lands_degrades(alive: Engine, tmp_path: Path) -> None:
    ticket_id, plan = pending(alive)
    assert verdict(alive, tmp_path).verdict == "working"
    then = plan.model_copy(update={"since": now() - timedelta(hours=1)})
    with writing(alive) as session:
        values = landing.build_pending_values(then)
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(**values))
    assert verdict(alive, tmp_path).reasons == ["Landings: waiting for more than 30 min: MC-1"]


@pytest.mark.both_databases
def test_a_silent_run_and_a_pause_degrade(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        body = NewTicket(title="Write a line", assigned_to="script")
        claim = claims.claim_ticket(session, transitions.create_ticket(session, body, SYSTEM).id, "here")
        heartbeat_time = now() - timedelta(minutes=2)
        session.execute(update(Run).values(state=RunState.RUNNING, heartbeat=heartbeat_time))
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving house", SYSTEM)
    report = verdict(alive, tmp_path)
    assert report.verdict == "degraded"
    assert report.reasons == [
        "Dispatch: paused: moving house",
        f"Runs: not heard for longer than allowed: run {claim.run.id}",
    ]


@pytest.mark.both_databases
def test_a_run_that_never_began_on_a_machine_that_is_gone_degrades(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        body = NewTicket(title="Write a line", assigned_to="script")
        claim = claims.claim_ticket(session, transitions.create_ticket(session, body, SYSTEM).id, "gone")
    assert verdict(alive, tmp_path).verdict == "working", "a start may take its time"
    with writing(alive) as session:
        session.execute(update(Run).values(started=now() - timedelta(minutes=6)))
    assert verdict(alive, tmp_path).reasons == [f"Runs: not heard for longer than allowed: run {claim.run.id}"]
    with reading(alive) as session:
        run = lookup.get_run(session, claim.run.id)
        assert runtime.get_state(run) == "unknown", "the ticket's page says the same"


def test_a_sign_of_life_from_the_future_is_none(alive: Engine, tmp_path: Path) -> None:
    """The clock was wrong, was set back, and pickup has died since."""
    with writing(alive) as session:
        session.execute(update(Heartbeat).where(Heartbeat.check == "pickup").values(ts=now() + timedelta(days=1)))
    assert verdict(alive, tmp_path).verdict == "not working"


def test_the_verdict_looks_at_no_run_that_has_ended(alive: Engine, tmp_path: Path) -> None:
    """It stands on every page: its cost must not grow with the runs there have ever been."""
    calls: list[tuple[str, Any]] = []
    event.listen(alive, "before_cursor_execute", lambda *told: calls.append((str(told[2]), told[3])))
    verdict(alive, tmp_path)
    [(about_runs, values)] = [call for call in calls if "FROM runs" in call[0]]
    if alive.dialect.name == "sqlite":
        with alive.connect() as connection:
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {about_runs}", values).all()
        assert "live" in str(plan), "an index of live runs"


def test_an_open_incident_degrades(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        incidents.raise_incident(session, "disk-full", "The disk is full")
    assert "Incidents: 1 open incident" in verdict(alive, tmp_path).reasons


def test_a_full_disk_means_not_working(alive: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _home: type("Usage", (), {"free": 1 << 20}))
    assert verdict(alive, tmp_path).verdict == "not working"
