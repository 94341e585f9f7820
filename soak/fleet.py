"""Rounds of faults on two hosts that share one PostgreSQL, drawn by a seed. Each fault is healed before the next round."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from models import Outcome
from tests.jobs.fleet import Fleet, Host
from tests.postgres import fresh_database, restart_server

TICKETS = 3
STEP = "for n in 1 2 3 4; do echo line $n; sleep 0.3; done"
MAX_FAULT_SECONDS = 4.0


@dataclass(slots=True)
class FleetResult:
    """The result of the rounds: how often each fault was injected, and every ticket that was lost or worked twice."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    tickets: int = 0
    contradictions: list[str] = field(default_factory=list)

    @property
    def has_passed(self) -> bool:
        return not self.contradictions


def run_fleet(seed: int, rounds: int, folder: Path) -> FleetResult:
    """Make so many rounds in homes below an empty folder. Raises AssertionError where a ticket does not end in time."""
    result, draw = FleetResult(seed), random.Random(seed)  # noqa: S311 - a schedule, no secret
    with fresh_database() as url, closing(Fleet(folder / "unused", folder, url)) as fleet:
        for _ in range(rounds):
            _make_round(fleet, draw, result)
    return result


def _make_round(fleet: Fleet, draw: random.Random, result: FleetResult) -> None:
    """Create tickets on either host, inject one fault while they are worked, heal it, and compare what became of them."""
    fault = draw.choice(sorted(FAULTS))
    host = draw.choice((fleet.one, fleet.two))
    ticket_ids = [draw.choice((fleet.one, fleet.two)).ticket(STEP) for _ in range(TICKETS)]
    time.sleep(draw.uniform(0, MAX_FAULT_SECONDS))
    inject, heal = FAULTS[fault]
    inject(fleet, host)
    time.sleep(draw.uniform(0, MAX_FAULT_SECONDS))
    heal(fleet, host)
    for ticket_id in ticket_ids:
        fleet.wait_until_reviewed(ticket_id)
        result.contradictions += _find_contradictions(fleet, ticket_id, fault)
    result.faults[fault] += 1
    result.tickets += len(ticket_ids)


def _find_contradictions(fleet: Fleet, ticket_id: int, fault: str) -> list[str]:
    """Return what is wrong with a ticket that was worked: work done twice, two runs at once, or lost events.

    A run that could not start while the store was away fails, and the next one follows it.
    """
    runs = fleet.runs(ticket_id)
    hosts = {"one": fleet.one, "two": fleet.two}
    lost_events = sum(len(fleet.find_lost_events(hosts[run.host], run)) for run in runs)
    overlaps = any(earlier.ended is None or earlier.ended > later.started for earlier, later in pairwise(runs))
    if [run.outcome for run in runs].count(Outcome.DONE) == 1 and not overlaps and not lost_events:
        return []
    ends = ", ".join(f"{run.outcome} on {run.host}" for run in runs)
    return [f"{fault}: ticket {ticket_id} ended as {ends or 'nothing'}, with {lost_events} lost events"]


def _skip(_fleet: Fleet, _host: Host) -> None:
    pass


Step = Callable[[Fleet, Host], None]
FAULTS: dict[str, tuple[Step, Step]] = {
    "host suspended": (Fleet.pause, Fleet.resume),
    "host cut off": (Fleet.cut_off, Fleet.connect),
    "scheduler killed": (Fleet.kill, lambda _, host: host.start_scheduler()),
    "PostgreSQL restarted": (lambda _fleet, _host: restart_server(), _skip),
}
