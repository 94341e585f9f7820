"""The look at the health of a real installation, and the canary that travels through it."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs import dispatch_pass
from jobs.event_watcher import EventWatcher
from jobs.health import canary, host_checks
from jobs.health import look as health_look
from models import HealthStatus, Incident, IncidentState, Run, TaskOutcome, Ticket, Trigger, now
from tests.workers.repositories import commit
from tickets.board import columns, overview
from tickets.board.ticket_query import TicketQuery, find_tickets
from tickets.dispatch import budgets
from tickets.operations import canary_status, incidents
from tickets.operations.health_check import HealthCheck
from tickets.schedule import tasks
from tickets.shared import events, runtime_flags
from tickets.shared.canary import CANARY, CANARY_TASK
from tickets.team import agents, profiles, projects
from workers.repository import git

from .installation import ALICE, Installation


def look(installation: Installation) -> dict[str, HealthCheck]:
    with writing(installation.engine) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "ok")
    return {check.name: check for check in health_look.make_look(installation.context, just_started=True).checks}


def test_a_look_finds_the_machine_well_and_names_what_breaks(installation: Installation, tmp_path: Path) -> None:
    checks = look(installation)
    assert {name: check.detail for name, check in checks.items() if not check.ok} == {}
    assert checks["tmux"].detail == "no server is needed now" and checks["git"].detail.startswith("git version")

    (installation.settings.home / "config.toml").write_text("port = 'many'\n")
    installation.ticket("true")
    with writing(installation.engine) as session:
        values = {"ticket_id": 1, "generation": 1, "agent": "script", "token_hash": "x", "nonce": "n"}
        session.add(Run(host=installation.context.host, last_run_seq=3, **values))
    new_checks = look(installation)
    assert (new_checks["settings"].status, new_checks["run-folders"].status) == (
        HealthStatus.FAILED,
        HealthStatus.WARNING,
    )
    assert "config.toml" in new_checks["settings"].detail


def test_the_task_looks_only_where_the_scheduler_has_not(installation: Installation) -> None:
    first, second = (health_look.run_pass(installation.context, Trigger.TIMER) for _ in range(2))
    assert first.summary["verdict"] and second.summary["reason"] == "the scheduler has checked moments ago"


def test_a_git_that_hangs_or_is_missing_is_said(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_checks, "GIT_SECONDS", 0.2)
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    environment = installation.settings.ambient.environment
    monkeypatch.setitem(environment, "PATH", f"{tmp_path}:{environment['PATH']}")
    assert look(installation)["git"].detail == "git did not answer within 0.2 s."
    monkeypatch.setitem(environment, "PATH", str(tmp_path / "nowhere"))
    assert look(installation)["git"].detail == "git cannot be started."


def test_damaged_pages_are_found_in_a_few_looks(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = host_checks.IntegrityChecker()
    installation.ticket("true")
    assert checker.check(installation.context).ok
    monkeypatch.setattr(host_checks, "INTEGRITY_SECONDS", 60.0)
    with writing(installation.engine) as session:
        root = (
            session.connection()
            .exec_driver_sql("SELECT rootpage FROM sqlite_schema WHERE name = 'tickets'")
            .scalar_one()
        )
        size = session.connection().exec_driver_sql("PRAGMA page_size").scalar_one()
    installation.engine.dispose()  # the last connection empties the write-ahead log
    with (installation.settings.home / "mc.db").open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    check = checker.check(installation.context)
    assert check.status is HealthStatus.FAILED and check.detail.startswith("The database is damaged: table ticket")


def test_incidents_of_other_jobs_close_when_what_they_report_is_gone(installation: Installation) -> None:
    installation.ticket("true")
    with writing(installation.engine) as session:
        run = Run(ticket_id=1, generation=1, agent="script", host=installation.context.host, token_hash="x", nonce="n")
        session.add(run)
        session.flush()
        for fingerprint in (f"undead:{run.id}", f"unsettled:{run.id}", dispatch_pass.UNOBSERVABLE, "by-hand"):
            incidents.raise_incident(session, fingerprint, fingerprint)
        tasks.record_heartbeat(session, "ticket-pickup", "failed")
    look(installation)
    assert list_open(installation) == {f"unsettled:{run.id}", dispatch_pass.UNOBSERVABLE, "by-hand"}
    with writing(installation.engine) as session:
        session.execute(update(Run).values(state="ended", ended=now(), outcome="lost"))
        tasks.record_heartbeat(session, "ticket-pickup", "ok")
    look(installation)
    assert list_open(installation) == {"by-hand"}


def list_open(installation: Installation) -> set[str]:
    with reading(installation.engine) as session:
        return set(session.scalars(select(Incident.fingerprint).where(Incident.state == IncidentState.OPEN)))


def test_a_change_of_the_verdict_is_an_event(installation: Installation) -> None:
    look(installation)
    look(installation)
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving", ALICE)
    look(installation)
    with reading(installation.engine) as session:
        feed = events.load_feed(session, events.EventFilter(kinds=("health_",)))
    assert [event.payload["verdict"] for event in feed.events] == ["degraded", "working"]


@contextmanager
def run_in_thread(run: Callable[[], None], stop: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop()
        thread.join()


def test_a_canary_travels_the_whole_path_and_is_seen_nowhere(served_installation: Installation) -> None:
    context = served_installation.context
    watcher = EventWatcher(served_installation.engine, lambda _: dispatch_pass.make_pass(context), 1.0)
    with run_in_thread(watcher.run, watcher.stop):
        result = canary.make_pass(context)
    assert result.outcome is TaskOutcome.ACTED, result.summary
    assert list(result.summary["legs"]) == [leg.name for leg in canary.LEGS]
    with writing(served_installation.engine) as session:
        tasks.record_run(session, CANARY_TASK, Trigger.TIMER, result.outcome, now(), summary=result.summary)
    with reading(served_installation.engine) as session:
        assert (status := canary_status.load_last_journey(session)) is not None and status.seconds > 0
        assert session.scalars(select(Ticket.identifier)).all() == ["CANARY-1"]
        for archived in (False, True):
            assert find_tickets(session, TicketQuery(archived=archived)).tickets == []
        assert events.load_feed(session, events.EventFilter(kinds=("ticket_",))).events == []
        assert columns.is_board_empty(session)
        assert overview.list_at_work(session) == [] and overview.count_needs(session) == 0
        assert overview.plot_finished(session)["value"] == "0" and overview.plot_cycle_time(session)["value"] == "–"
        assert budgets.load_spending_today(session, served_installation.settings.zone) == {}
        names = {row.name for row in agents.list_members(session)} | {
            row.name for row in profiles.list_profiles(session)
        }
        assert CANARY not in names | {row.slug for row in projects.list_projects(session)}
    assert served_installation.get(served_installation.ticket("true")).identifier == "MC-1"
    assert canary.make_pass(context).summary["reason"] == "nothing ran in the last hour"


def test_a_canary_that_is_held_or_stuck_says_where(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary, "LIMIT_SECONDS", 0.0)
    result = canary.make_pass(installation.context)
    assert result.outcome is TaskOutcome.FAILED and result.summary["leg"] == "claim", "nobody makes a pass"
    assert installation.get(1).status == "cancelled"
    assert canary.make_pass(installation.context, lambda: True).summary["reason"] == "the scheduler was stopped"
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving", ALICE)
    assert canary.make_pass(installation.context).summary == {"reason": "paused: moving"}


def test_a_canary_cancels_those_of_killed_schedulers_and_mends_its_repository(installation: Installation) -> None:
    def be_killed() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        canary.make_pass(installation.context, be_killed)
    repository = installation.settings.home / "canary"
    shutil.rmtree(repository / ".git")
    git.check_output(repository, "init", "--quiet", f"--initial-branch={canary.BASE_BRANCH}")
    canary.make_pass(installation.context, lambda: True)
    assert [installation.get(number).status for number in (1, 2)] == ["cancelled", "cancelled"]
    assert git.has_branch(repository, canary.BASE_BRANCH)
    git.check_output(repository.parent, "init", "--quiet", f"--initial-branch={canary.BASE_BRANCH}")
    commit(repository.parent, "Of a folder above", a="1")
    (repository / ".git/HEAD").unlink()
    canary._make_repository(repository)
    assert git.find_root(repository) == repository.resolve()
