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
from tickets.shared.lookup import get_ticket

from .installation import Installation


@pytest.fixture
def limited_installation(template: Path, tmp_path: Path) -> Iterator[Installation]:
    """A served board on which a day has a second and a half of work."""
    installation = Installation(template, tmp_path / "home", budget=Budget(day_minutes=0.025))
    installation.open_board()
    yield installation
    installation.close()


def test_a_run_that_takes_too_long_is_stopped_and_nothing_else_is_started(limited_installation: Installation) -> None:
    first, second = limited_installation.ticket("sleep 600"), limited_installation.ticket("true")
    limited_installation.make_pass()
    runs_by_ticket = {run.ticket_id: run for run in limited_installation.runs()}

    ticket = limited_installation.until(first, TicketStatus.WAITING)

    run = runs_by_ticket[first]
    wait_until(
        lambda: limited_installation.runs(first)[-1].state is RunState.ENDED, 30, description="the end of the run"
    )
    ended = limited_installation.runs(first)[-1]
    assert (ended.id, ended.outcome, ended.stop_code) == (run.id, Outcome.STOPPED, "budget")
    assert ticket.wake and ticket.wake["kind"] == "time"
    assert any(" of 0.025 minutes today." in words for words in limited_installation.comments(first))
    third = limited_installation.ticket("true")
    for _ in range(3):
        limited_installation.make_pass()
    assert len(limited_installation.runs(first)) == 1 and limited_installation.runs(third) == []
    assert second in runs_by_ticket
    with reading(limited_installation.engine) as session:
        closed_gate = policy.find_closed_gate(
            policy.load_tickets(session, [get_ticket(session, third)])[0],
            policy.load_shared(session, limited_installation.context.limits),
        )
    assert closed_gate and closed_gate.name == "budget"
