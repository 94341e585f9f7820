"""Parked tickets come back when their condition holds, once, and not before."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, update

from database import reading, writing
from models import Run, RunState, Ticket, TicketStatus, format_timestamp, now
from tickets.conversation import timeline
from tickets.conversation.timeline import NewComment
from tickets.lifecycle import transitions
from tickets.runs import claims
from tickets.shared.inputs import NewTicket
from tickets.workflow import wake_conditions

from .house import ALICE, House


def parked(house: House, **wake: object) -> int:
    """A ticket of a person, so that nothing starts when it wakes."""
    return house.ticket(status="waiting", wake=wake, assigned_to="operator")


def test_a_ticket_parked_until_a_time_wakes_after_it(house: House) -> None:
    due = parked(house, kind="time", at=format_timestamp(now() - timedelta(seconds=1)))
    later = parked(house, kind="time", at=format_timestamp(now() + timedelta(hours=1)))

    assert house.make_pass().summary["woken"] == 1
    assert house.make_pass().summary["woken"] == 0

    assert house.get(due).status is TicketStatus.TODO
    assert house.get(later).status is TicketStatus.WAITING


def test_a_ticket_parked_for_another_wakes_when_that_has_ended(house: House) -> None:
    awaited = house.ticket(assigned_to="operator")
    ticket_id = parked(house, kind="ticket", ticket=house.get(awaited).identifier)
    assert house.make_pass().summary["woken"] == 0

    house.move(awaited, "cancel")

    assert house.make_pass().summary["woken"] == 1
    assert house.get(ticket_id).status is TicketStatus.TODO


def test_a_probe_wakes_its_ticket_when_its_command_succeeds(house: House, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ticket_id = parked(house, kind="probe", probe=["test", "-e", str(ready)])
    broken = parked(house, kind="probe", probe=["no-such-program"])
    assert house.make_pass().summary["woken"] == 0

    ready.touch()
    assert house.make_pass(probes=False).summary["woken"] == 0, "events do not make it probe"
    assert house.make_pass().summary["woken"] == 1

    assert house.get(ticket_id).status is TicketStatus.TODO
    assert house.get(broken).status is TicketStatus.WAITING


def test_nothing_that_may_start_waits_for_the_commands_that_probe(house: House) -> None:
    """Commands that hang held every start of a pass up, for a minute and more."""
    house.ticket("true", title="Ready")
    started = house.bench.run_dir(1)
    woken = house.ticket("true", status="waiting", wake={"kind": "probe", "probe": ["test", "-d", str(started)]})

    done = house.make_pass()

    assert (done.summary["woken"], done.summary["claimed"]) == (1, ["MC-1", house.get(woken).identifier])


@pytest.mark.both_databases
def test_what_waits_for_a_probe_is_found_by_one_question_whatever_else_is_parked(engine: Engine) -> None:
    """Each parked ticket was read at every pass, and each probed one by a question of its own."""
    with writing(engine) as session:
        for kind in ("probe", "manual", "probe"):
            until = {"kind": kind, **({"probe": ["test", "manual"]} if kind == "probe" else {})}
            body = {"title": "Wait", "status": "waiting", "wake": until}
            transitions.create(session, NewTicket.model_validate(body), ALICE)
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: asked.append(str(told[2])))

    with reading(engine) as session:
        assert sorted(ticket.identifier for ticket in wake_conditions.probing(session)) == ["MC-1", "MC-3"]

    assert len([statement for statement in asked if "FROM tickets" in statement]) == 1


def test_a_ticket_parked_for_an_idle_agent_wakes_after_its_minutes(house: House) -> None:
    ticket_id = parked(house, kind="agent_idle", agent="script", minutes=10)
    other = house.ticket("true", project=None)
    with writing(house.engine) as session:
        run = claims.claim(session, other, "elsewhere").run
    assert house.make_pass().summary["woken"] == 0, "the agent is at work"

    with writing(house.engine) as session:
        values = {"state": RunState.ENDED, "ended": now() - timedelta(minutes=9)}
        session.execute(update(Run).where(Run.id == run.id).values(**values))
        session.execute(update(Ticket).where(Ticket.id == other).values(archived=True))
    assert house.make_pass().summary["woken"] == 0, "not for long enough"

    with writing(house.engine) as session:
        session.execute(update(Run).values(ended=now() - timedelta(minutes=11)))

    assert house.make_pass().summary["woken"] == 1
    assert house.get(ticket_id).status is TicketStatus.TODO


def test_a_ticket_parked_for_an_answer_wakes_when_a_person_has_said_something(house: House) -> None:
    ticket_id = house.ticket(assigned_to="operator")
    say(house, ticket_id, "Said before it was parked.")
    house.move(ticket_id, "park", wake={"kind": "answer"}, note="Which colour?")
    assert house.make_pass().summary["woken"] == 0

    say(house, ticket_id, "Blue.")

    assert house.make_pass().summary["woken"] == 1
    assert house.get(ticket_id).status is TicketStatus.TODO


def say(house: House, ticket_id: int, words: str) -> None:
    with writing(house.engine) as session:
        timeline.comment(session, ticket_id, NewComment(body=words), ALICE)
