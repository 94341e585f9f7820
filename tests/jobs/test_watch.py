"""`mc_pickup.py --watch` reacts to events, and does not talk to itself."""

from __future__ import annotations

import signal

import pytest
from sqlalchemy import Engine, select

from database import reading, writing
from jobs.event_watcher import ChangeGate
from models import TaskRun, TicketStatus, Trigger
from tests.waiting import wait_until
from tickets.operations import tasks

from .house import ALICE, House


def test_a_gate_opens_after_a_change_and_each_minute(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = ChangeGate(engine)
    assert gate.has_changed() and not gate.has_changed()

    with writing(engine) as session:
        tasks.request_run(session, "landing", ALICE)
    wait_until(gate.has_changed, what="the change")
    assert not gate.has_changed()

    with monkeypatch.context() as patch:
        patch.setattr("jobs.event_watcher.time.monotonic", lambda: float("inf"))
        assert gate.has_changed()
    gate.close()
    assert gate.has_changed(), "a new connection knows nothing of what was before it"
    gate.close()


def passes_of(house: House) -> list[TaskRun]:
    with reading(house.engine) as session:
        return list(session.scalars(select(TaskRun).order_by(TaskRun.id)))


def test_a_new_ticket_is_started_at_once_and_the_watch_ends_cleanly(open_house: House) -> None:
    watch = open_house.door("mc_pickup.py", "--watch")
    wait_until(lambda: passes_of(open_house), what="the first full pass")

    ticket_id = open_house.ticket("true")

    open_house.until(ticket_id, TicketStatus.IN_REVIEW)
    acted = [run for run in passes_of(open_house) if run.outcome and run.outcome.value == "acted"]
    assert acted[0].trigger is Trigger.EVENT
    with reading(open_house.engine) as session:
        assert tasks.heartbeats(session)["pickup"].status == "ok"
    assert len(passes_of(open_house)) < 6, "a pass must not cause the next one"

    watch.send_signal(signal.SIGTERM)
    assert watch.wait(60) == 0
