"""What the store knows of scheduled tasks."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from database import reading, writing
from models import TaskOutcome, Trigger, now
from tickets.schedule import tasks

from .test_spine import ALICE

pytestmark = pytest.mark.both_databases


def test_a_run_is_recorded_with_its_outcome_and_completed_by_its_starter(engine: Engine) -> None:
    with writing(engine) as session:
        skipped = tasks.record_run(
            session, "ticket-pickup", Trigger.TIMER, TaskOutcome.SKIPPED, now(), summary={"held": 1}
        )
        tasks.record_run(session, "backup", Trigger.OPERATOR, TaskOutcome.FAILED, now(), output_tail="x" * 99_999)
        assert tasks.complete_run(session, skipped, 0, "said something")
        assert not tasks.complete_run(session, 99, 0, "")

    with reading(engine) as session:
        newest = tasks.load_latest(session)
        assert [run.task for run in tasks.list_task_runs(session)] == ["backup", "ticket-pickup"]
    assert (newest["ticket-pickup"].outcome, newest["ticket-pickup"].exit_code) == (TaskOutcome.SKIPPED, 0)
    assert newest["ticket-pickup"].output_tail == "said something"
    assert len(newest["backup"].output_tail) == tasks.MAX_TAIL_CHARACTERS


def test_what_a_person_decided_of_a_task_is_kept(engine: Engine) -> None:
    with writing(engine) as session:
        tasks.disable_task(session, "backup", ALICE)
        tasks.enable_task(session, "canary", ALICE)
        tasks.disable_task(session, "canary", ALICE)

    with reading(engine) as session:
        assert tasks.load_decisions(session) == {"backup": False, "canary": False}


def test_only_the_newest_sign_of_life_is_kept(engine: Engine) -> None:
    for status in ("ok", "failed"):
        with writing(engine) as session:
            tasks.record_heartbeat(session, "pickup", status, "one pass")

    with reading(engine) as session:
        assert {name: beat.status for name, beat in tasks.load_heartbeats(session).items()} == {"pickup": "failed"}
