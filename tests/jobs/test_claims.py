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

from .installation import Installation

PROCESSES = 8
TICKETS = 100
PARKED_TICKETS = 200


def test_a_second_pickup_says_who_is_at_it_and_ends_well(installation: Installation) -> None:
    ticket_id = installation.ticket("true")
    with single_flight.hold_lease(installation.context, "pickup"):
        done = installation.run_program("mc_pickup.py", "--trigger", "timer")

    summary = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, summary["outcome"], summary["task"]) == (0, "skipped", "ticket-pickup")
    assert summary["held_by"].startswith(f"{installation.context.host} pid ")
    assert installation.get(ticket_id).status is TicketStatus.TODO


def test_a_killed_holder_frees_the_lock_at_once(installation: Installation) -> None:
    holder = installation.start_program("-m", "tests.jobs.holder")
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    with (
        pytest.raises(single_flight.AlreadyRunning, match=f"pid {holder.pid}"),
        single_flight.hold_lease(installation.context, "pickup"),
    ):
        pass

    holder.kill()
    holder.wait()

    with single_flight.hold_lease(installation.context, "pickup"):
        pass


@pytest.mark.slow
def test_processes_without_the_lock_claim_each_ticket_once(installation: Installation) -> None:
    ticket_ids = {installation.ticket("true") for _ in range(TICKETS)}
    with writing(installation.engine) as session:
        session.execute(update(Agent).values(capacity=100_000))

    claimers = [installation.start_program("-m", "tests.jobs.claimer") for _ in range(PROCESSES)]
    answers = [claimer.communicate(timeout=280) for claimer in claimers]

    assert [error for _, error in answers if error] == []
    claimed = [int(number) for output, _ in answers for number in output.split()]
    assert len(claimed) == TICKETS and set(claimed) == ticket_ids
    assert len(installation.runs()) == TICKETS


def test_a_ticket_created_as_waiting_is_never_started(installation: Installation) -> None:
    over = threading.Event()
    outcomes: list[TaskOutcome] = []

    def keep_passing() -> None:
        while not over.is_set():
            outcomes.append(installation.make_pass().outcome)

    passing = threading.Thread(target=keep_passing)
    passing.start()
    for _ in range(PARKED_TICKETS):
        installation.ticket("true", status="waiting", wake={"kind": "manual"})
    over.set()
    passing.join(30)

    assert installation.runs() == []
    assert len(outcomes) > 1 and set(outcomes) == {TaskOutcome.NOOP}


def test_only_resumed_tickets_are_taken_when_asked_so(installation: Installation) -> None:
    new_id, resumed_id = installation.ticket("true"), installation.ticket("true")
    with writing(installation.engine) as session:
        session.execute(update(Ticket).where(Ticket.id == resumed_id).values(resume=True))

    done = installation.run_program("mc_pickup.py", "--needs-input-only")

    assert json.loads(done.stdout.splitlines()[-1])["claimed"] == ["MC-2"]
    assert installation.get(new_id).status is TicketStatus.TODO


def test_a_dry_run_says_what_it_would_do_and_changes_nothing(installation: Installation) -> None:
    installation.ticket("true")
    installation.ticket("true", not_before="2999-01-01T00:00:00Z")
    before = load_state(installation)

    done = installation.run_program("mc_pickup.py", "--dry-run")

    decisions = json.loads(done.stdout)
    assert decisions["would_claim"] == ["MC-1"] and decisions["kept"]["MC-2"].startswith(
        "time: It does not start before 2999"
    )
    assert load_state(installation) == before


def load_state(installation: Installation) -> tuple[object, ...]:
    with reading(installation.engine) as session:
        tickets = [(t.id, t.status, t.version, t.last_gate) for t in session.scalars(select(Ticket))]
        tables = (Run, TicketEvent, TaskRun, Heartbeat)
        counts = [session.scalar(select(func.count()).select_from(table)) for table in tables]
    return tickets, counts, sorted(Path(installation.settings.runs_dir).iterdir())


def test_a_closed_gate_is_logged_once_for_each_change(installation: Installation) -> None:
    ticket_id = installation.ticket("true", not_before="2999-01-01T00:00:00Z")
    for _ in range(3):
        assert installation.make_pass().summary["skipped"] == {"time": 1}

    with reading(installation.engine) as session:
        gate_events = [event for event in events.replay(session, ticket_id) if event.event_type == "dispatch_held"]
    assert [event.payload["gate"] for event in gate_events] == ["time"]


def test_a_pause_keeps_everything_and_says_so(installation: Installation) -> None:
    installation.ticket("true")
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving house", Actor.human())

    assert installation.make_pass().summary["claimed"] == []


def test_a_lost_claim_is_an_event_of_its_own(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket_id = installation.ticket("true")
    decide = dispatch_pass._choose_tickets

    def decide_and_be_late(*arguments: object) -> list[Ticket]:
        tickets = decide(*arguments)  # type: ignore[arg-type]
        installation.move(ticket_id, "cancel")
        return tickets

    monkeypatch.setattr(dispatch_pass, "_choose_tickets", decide_and_be_late)
    done = installation.make_pass()

    assert done.summary["lost_claims"] == 1 and installation.runs() == []
    with reading(installation.engine) as session:
        assert "claim_lost" in [event.event_type for event in events.replay(session, ticket_id)]
