"""`mc_pickup.py --watch` reacts to events, and does not talk to itself."""

from __future__ import annotations

import signal
import threading

import pytest
from sqlalchemy import Engine, select

from database import reading, writing
from jobs.event_watcher import ChangeDetector, EventWatcher
from jobs.task_recorder import JobResult
from models import TaskRun, TicketStatus, Trigger
from tests.waiting import wait_until
from tickets.schedule import tasks

from .installation import ALICE, Installation


def test_a_gate_opens_after_a_change_and_each_minute(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = ChangeDetector(engine)
    assert gate.has_changed() and not gate.has_changed()

    with writing(engine) as session:
        tasks.request_run(session, "landing", ALICE)
    wait_until(gate.has_changed, description="the change")
    assert not gate.has_changed()

    with monkeypatch.context() as patch:
        patch.setattr("jobs.event_watcher.time.monotonic", lambda: float("inf"))
        assert gate.has_changed()
    gate.close()
    assert gate.has_changed(), "a new connection knows nothing of what was before it"
    gate.close()


def test_what_happened_while_the_store_was_not_watched_makes_a_pass_at_once(engine: Engine) -> None:
    """After an outage of the store, tickets that other hosts had created waited for the pass of the next minute."""
    passes: list[Trigger] = []

    def make_pass(trigger: Trigger) -> JobResult:
        passes.append(trigger)
        raise ConnectionError

    watcher = EventWatcher(engine, make_pass, None)

    def watch() -> None:
        with pytest.raises(ConnectionError):
            watcher.run()

    for number in (1, 2):
        with writing(engine) as session:
            tasks.request_run(session, "landing", ALICE)
        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        wait_until(lambda number=number: len(passes) == number, description="the pass")  # type: ignore[misc]
        watching.join(30)
    assert passes == [Trigger.EVENT, Trigger.EVENT]


def list_passes(installation: Installation) -> list[TaskRun]:
    with reading(installation.engine) as session:
        return list(session.scalars(select(TaskRun).order_by(TaskRun.id)))


def test_a_new_ticket_is_started_at_once_and_the_watch_ends_cleanly(served_installation: Installation) -> None:
    watcher = served_installation.start_program("mc_pickup.py", "--watch")
    wait_until(lambda: list_passes(served_installation), description="the first full pass")

    ticket_id = served_installation.ticket("true")

    served_installation.until(ticket_id, TicketStatus.IN_REVIEW)
    acted = [run for run in list_passes(served_installation) if run.outcome and run.outcome.value == "acted"]
    assert acted[0].trigger is Trigger.EVENT
    with reading(served_installation.engine) as session:
        assert tasks.load_heartbeats(session)["ticket-pickup"].status == "ok"
    assert len(list_passes(served_installation)) < 6, "a pass must not cause the next one"

    watcher.send_signal(signal.SIGTERM)
    assert watcher.wait(60) == 0
