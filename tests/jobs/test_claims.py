"""Who may start what: one pass at a time, each ticket once, a parked one never."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from database import reading, writing
from jobs import dispatch_pass, single_flight
from models import Agent, Heartbeat, Run, TaskOutcome, TaskRun, Ticket, TicketEvent, TicketStatus
from tickets.shared import events, runtime_flags
from tickets.shared.actors import Actor

from .house import House

PROCESSES = 8
TICKETS = 100
PARKED = 200


def test_a_second_pickup_says_who_is_at_it_and_ends_well(house: House) -> None:
    ticket_id = house.ticket("true")
    with single_flight.alone(house.bench, "pickup"):
        done = house.run_door("mc_pickup.py", "--trigger", "timer")

    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, said["outcome"], said["task"]) == (0, "skipped", "ticket-pickup")
    assert said["held_by"].startswith(f"{house.bench.host} pid ")
    assert house.get(ticket_id).status is TicketStatus.TODO


def test_a_killed_holder_frees_the_lock_at_once(house: House) -> None:
    holder = house.door("-m", "tests.jobs.holder")
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    with pytest.raises(single_flight.Held, match=f"pid {holder.pid}"), single_flight.alone(house.bench, "pickup"):
        pass

    holder.kill()
    holder.wait()

    with single_flight.alone(house.bench, "pickup"):
        pass


@pytest.mark.slow
def test_processes_without_the_lock_claim_each_ticket_once(house: House) -> None:
    made = {house.ticket("true") for _ in range(TICKETS)}
    with writing(house.engine) as session:
        session.execute(update(Agent).values(capacity=100_000))

    claimers = [house.door("-m", "tests.jobs.claimer") for _ in range(PROCESSES)]
    answers = [claimer.communicate(timeout=280) for claimer in claimers]

    assert [error for _, error in answers if error] == []
    claimed = [int(number) for said, _ in answers for number in said.split()]
    assert len(claimed) == TICKETS and set(claimed) == made
    assert len(house.runs()) == TICKETS


def test_a_ticket_created_as_waiting_is_never_started(house: House) -> None:
    over = threading.Event()
    outcomes: list[TaskOutcome] = []

    def keep_passing() -> None:
        while not over.is_set():
            outcomes.append(house.make_pass().outcome)

    passing = threading.Thread(target=keep_passing)
    passing.start()
    for _ in range(PARKED):
        house.ticket("true", status="waiting", wake={"kind": "manual"})
    over.set()
    passing.join(30)

    assert house.runs() == []
    assert len(outcomes) > 1 and set(outcomes) == {TaskOutcome.NOOP}


def test_only_resumed_tickets_are_taken_when_asked_so(house: House) -> None:
    fresh, answered = house.ticket("true"), house.ticket("true")
    with writing(house.engine) as session:
        session.execute(update(Ticket).where(Ticket.id == answered).values(resume=True))

    done = house.run_door("mc_pickup.py", "--needs-input-only")

    assert json.loads(done.stdout.splitlines()[-1])["claimed"] == ["MC-2"]
    assert house.get(fresh).status is TicketStatus.TODO


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(house: House) -> None:
    house.ticket("true")
    house.ticket("true", not_before="2999-01-01T00:00:00Z")
    before = state_of(house)

    done = house.run_door("mc_pickup.py", "--dry-run")

    said = json.loads(done.stdout)
    assert said["would_claim"] == ["MC-1"] and said["kept"]["MC-2"].startswith("time: It does not start before 2999")
    assert state_of(house) == before


def state_of(house: House) -> tuple[object, ...]:
    with reading(house.engine) as session:
        tickets = [(t.id, t.status, t.version, t.last_gate) for t in session.scalars(select(Ticket))]
        tables = (Run, TicketEvent, TaskRun, Heartbeat)
        counts = [session.scalar(select(func.count()).select_from(table)) for table in tables]
    return tickets, counts, sorted(Path(house.settings.runs_dir).iterdir())


def test_a_closed_gate_is_logged_once_for_each_change(house: House) -> None:
    ticket_id = house.ticket("true", not_before="2999-01-01T00:00:00Z")
    for _ in range(3):
        assert house.make_pass().summary["skipped"] == {"time": 1}

    with reading(house.engine) as session:
        held = [event for event in events.replay(session, ticket_id) if event.event_type == "dispatch_held"]
    assert [event.payload["gate"] for event in held] == ["time"]


def test_a_pause_keeps_everything_and_says_so(house: House) -> None:
    house.ticket("true")
    with writing(house.engine) as session:
        runtime_flags.write(session, runtime_flags.PAUSE, "moving house", Actor.human())

    assert house.make_pass().summary["claimed"] == []


def test_a_lost_claim_is_an_event_of_its_own(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket_id = house.ticket("true")
    decide = dispatch_pass._decide

    def decide_and_be_late(*arguments: object) -> list[Ticket]:
        found = decide(*arguments)  # type: ignore[arg-type]
        house.move(ticket_id, "cancel")
        return found

    monkeypatch.setattr(dispatch_pass, "_decide", decide_and_be_late)
    done = house.make_pass()

    assert done.summary["lost_claims"] == 1 and house.runs() == []
    with reading(house.engine) as session:
        assert "claim_lost" in [event.event_type for event in events.replay(session, ticket_id)]
