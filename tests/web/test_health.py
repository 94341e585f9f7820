"""The verdict: working only while everything that must happen has been seen to happen."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update

from models import Heartbeat, Run, RunState, now, reading, writing
from tests.web.conftest import SYSTEM
from tickets import health, incidents, lifecycle, runs, switches, tasks
from tickets.facts import NewTicket


@pytest.fixture
def alive(engine: Engine) -> Engine:
    with writing(engine) as session:
        for name in health.BEATS:
            tasks.beat(session, name, "ok", '{"claimed": 0}')
    return engine


def verdict(store: Engine, home: Path) -> health.Report:
    with reading(store) as session:
        return health.verdict(session, home)


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
        tasks.beat(session, "pickup", "failed", '{"error": "tmux gave no answer"}')
        tasks.beat(session, "scheduler", "warning", '{"problems": ["canary.md has no command"]}')
    report = verdict(alive, tmp_path)
    assert report.reasons == ["Pickup: tmux gave no answer", "Scheduler: canary.md has no command"]


def test_a_silent_run_and_a_pause_degrade(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        body = NewTicket(title="Write a line", assigned_to="script")
        claim = runs.claim(session, lifecycle.create(session, body, SYSTEM).id, "here")
        heard = now() - timedelta(minutes=2)
        session.execute(update(Run).values(state=RunState.RUNNING, heartbeat=heard))
        switches.write(session, switches.PAUSE, "moving house", SYSTEM)
    report = verdict(alive, tmp_path)
    assert report.verdict == "degraded"
    assert report.reasons == ["Dispatch: paused: moving house", f"Runs: not heard for 45 s: run {claim.run.id}"]


def test_an_open_incident_degrades(alive: Engine, tmp_path: Path) -> None:
    with writing(alive) as session:
        incidents.raise_incident(session, "disk-full", "The disk is full")
    assert "Incidents: 1 open incident" in verdict(alive, tmp_path).reasons


def test_a_full_disk_means_not_working(alive: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _home: type("Usage", (), {"free": 1 << 20}))
    assert verdict(alive, tmp_path).verdict == "not working"
