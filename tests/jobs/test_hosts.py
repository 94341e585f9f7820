"""A fleet of two hosts: nothing is lost or done twice when one of them, or PostgreSQL, goes away."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models import Outcome, TicketStatus, now
from tests.postgres import restart_server
from tests.waiting import wait_until
from workers.run import verdict

from .fleet import Fleet

WAIT_FOR_FILE = "while [ ! -e {} ]; do sleep 0.1; done; echo finished"


@pytest.fixture
def fleet(template: Path, tmp_path: Path, url: str) -> Iterator[Fleet]:
    fleet = Fleet(template, tmp_path, url)
    yield fleet
    fleet.close()


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_fleet_loses_and_doubles_nothing_when_a_host_is_paused_cut_off_or_gone(fleet: Fleet, tmp_path: Path) -> None:
    one, two, gate = fleet.one, fleet.two, tmp_path / "gate"
    tickets = []

    # One host works while the other is paused, is cut off from the store during its run, and reports when it is back.
    tickets.append(fleet.begin_on(one, WAIT_FOR_FILE.format(gate)))
    [run] = fleet.runs(tickets[-1])
    fleet.cut_off(one)
    tickets.append(fleet.work_on(two))
    gate.touch()
    wait_until((one.context.run_dir(run.id) / verdict.REPORT_FILE).exists, 60, "the report on the disk of host one")
    assert fleet.get_status(run.ticket_id) is TicketStatus.IN_PROGRESS
    fleet.connect(one)
    fleet.wait_until_reviewed(run.ticket_id)

    # PostgreSQL is restarted during a run.
    gate.unlink()
    tickets.append(fleet.begin_on(two, WAIT_FOR_FILE.format(gate)))
    restart_server()
    gate.touch()
    fleet.wait_until_reviewed(tickets[-1])
    runs = {ticket_id: fleet.runs(ticket_id) for ticket_id in tickets}
    assert {ticket_id: len(ticket_runs) for ticket_id, ticket_runs in runs.items()} == dict.fromkeys(tickets, 1)
    hosts = {"one": one, "two": two}
    assert [fleet.find_lost_events(hosts[run.host], run) for [run] in runs.values()] == [[]] * len(tickets)

    # One host is gone with its run: the other leaves it alone until somebody declares it dead.
    gate.unlink()
    lost_id = fleet.begin_on(one, WAIT_FOR_FILE.format(gate))
    [lost] = fleet.runs(lost_id)
    assert lost.pid is not None
    fleet.kill(one, lost)
    fleet.work_on(two)
    assert fleet.get_status(lost_id) is TicketStatus.IN_PROGRESS
    assert "is worked on this machine" in one.declare_dead(lost_id)
    gate.touch()
    assert "is recorded as lost" in two.declare_dead(lost_id)
    wait_until(
        lambda: (two.get(lost_id).not_before or now()) < now(), description="the end of the pause before a retry"
    )
    fleet.work_on(two)
    fleet.wait_until_reviewed(lost_id)
    assert [(run.host, run.outcome) for run in fleet.runs(lost_id)] == [("one", Outcome.LOST), ("two", Outcome.DONE)]
