"""A real run that spends too much: told to stop, ended politely, its ticket parked and left alone by every pass."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database import reading
from models import Outcome, RunState, TicketStatus
from settings import Budget
from tests.waiting import wait_until
from tickets.dispatch import policy
from tickets.shared.lookup import get

from .house import House


@pytest.fixture
def thrifty(template: Path, tmp_path: Path) -> Iterator[House]:
    """A served board on which a day has a second and a half of work."""
    house = House(template, tmp_path / "home", budget=Budget(day_minutes=0.025))
    house.open_board()
    yield house
    house.close()


def test_a_run_that_takes_too_long_is_stopped_and_nothing_else_is_started(thrifty: House) -> None:
    first, second = thrifty.ticket("sleep 600"), thrifty.ticket("true")
    thrifty.make_pass()
    started = {run.ticket_id: run for run in thrifty.runs()}

    ticket = thrifty.until(first, TicketStatus.WAITING)

    run = started[first]
    wait_until(lambda: thrifty.runs(first)[-1].state is RunState.ENDED, 30, what="the end of the run")
    ended = thrifty.runs(first)[-1]
    assert (ended.id, ended.outcome, ended.stop_code) == (run.id, Outcome.STOPPED, "budget")
    assert ticket.wake and ticket.wake["kind"] == "time"
    assert any(" of 0.025 minutes today." in words for words in thrifty.comments(first))
    third = thrifty.ticket("true")
    for _ in range(3):
        thrifty.make_pass()
    assert len(thrifty.runs(first)) == 1 and thrifty.runs(third) == []
    assert second in started
    with reading(thrifty.engine) as session:
        closed = policy.first_closed(
            policy.load_tickets(session, [get(session, third)])[0], policy.load_shared(session, thrifty.bench.limits)
        )
    assert closed and closed.name == "budget"
