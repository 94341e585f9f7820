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
from tickets.runs import claims, external
from tickets.shared.inputs import NewTicket
from tickets.workflow import wake_conditions

from .installation import ALICE, Installation


def park_ticket(installation: Installation, **wake: object) -> int:
    """A ticket of a person, so that nothing starts when it wakes."""
    return installation.ticket(status="waiting", wake=wake, assigned_to="operator")


def test_a_ticket_parked_until_a_time_wakes_after_it(installation: Installation) -> None:
    due = park_ticket(installation, kind="time", at=format_timestamp(now() - timedelta(seconds=1)))
    later = park_ticket(installation, kind="time", at=format_timestamp(now() + timedelta(hours=1)))

    assert installation.make_pass().summary["woken"] == 1
    assert installation.make_pass().summary["woken"] == 0

    assert installation.get(due).status is TicketStatus.TODO
    assert installation.get(later).status is TicketStatus.WAITING


def test_a_ticket_parked_for_another_wakes_when_that_has_ended(installation: Installation) -> None:
    awaited = installation.ticket(assigned_to="operator")
    ticket_id = park_ticket(installation, kind="ticket", ticket=installation.get(awaited).identifier)
    assert installation.make_pass().summary["woken"] == 0

    installation.move(awaited, "cancel")

    assert installation.make_pass().summary["woken"] == 1
    assert installation.get(ticket_id).status is TicketStatus.TODO


def test_a_probe_wakes_its_ticket_when_its_command_succeeds(installation: Installation, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ticket_id = park_ticket(installation, kind="probe", probe=["test", "-e", str(ready)])
    failing_id = park_ticket(installation, kind="probe", probe=["no-such-program"])
    assert installation.make_pass().summary["woken"] == 0

    ready.touch()
    assert installation.make_pass(probes=False).summary["woken"] == 0, "events do not make it probe"
    assert installation.make_pass().summary["woken"] == 1

    assert installation.get(ticket_id).status is TicketStatus.TODO
    assert installation.get(failing_id).status is TicketStatus.WAITING


def test_nothing_that_may_start_waits_for_the_commands_that_probe(installation: Installation) -> None:
    """Commands that hang held every start of a pass up, for a minute and more."""
    installation.ticket("true", title="Ready")
    run_dir = installation.context.run_dir(1)
    parked_id = installation.ticket(
        "true", status="waiting", wake={"kind": "probe", "probe": ["test", "-d", str(run_dir)]}
    )

    done = installation.make_pass()

    assert (done.summary["woken"], done.summary["claimed"]) == (1, ["MC-1", installation.get(parked_id).identifier])


@pytest.mark.both_databases
def test_what_waits_for_a_probe_is_found_by_one_question_whatever_else_is_parked(engine: Engine) -> None:
    """Each parked ticket was read at every pass, and each probed one by a question of its own."""
    with writing(engine) as session:
        for kind in ("probe", "manual", "probe"):
            wake = {"kind": kind, **({"probe": ["test", "manual"]} if kind == "probe" else {})}
            body = {"title": "Wait", "status": "waiting", "wake": wake}
            transitions.create_ticket(session, NewTicket.model_validate(body), ALICE)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *told: statements.append(str(told[2])))

    with reading(engine) as session:
        assert sorted(ticket.identifier for ticket in wake_conditions.list_awaiting_probe(session)) == ["MC-1", "MC-3"]

    assert len([statement for statement in statements if "FROM tickets" in statement]) == 1


def test_a_ticket_parked_for_an_idle_agent_wakes_after_its_minutes(installation: Installation) -> None:
    ticket_id = park_ticket(installation, kind="agent_idle", agent="script", minutes=10)
    other = installation.ticket("true", project=None)
    with writing(installation.engine) as session:
        run = claims.claim_ticket(session, other, "elsewhere").run
    assert installation.make_pass().summary["woken"] == 0, "the agent is at work"

    with writing(installation.engine) as session:
        values = {"state": RunState.ENDED, "ended": now() - timedelta(minutes=9)}
        session.execute(update(Run).where(Run.id == run.id).values(**values))
        session.execute(update(Ticket).where(Ticket.id == other).values(archived=True))
    assert installation.make_pass().summary["woken"] == 0, "not for long enough"

    mirrored = installation.ticket(assigned_to="operator")
    with writing(installation.engine) as session:
        session.execute(update(Run).values(ended=now() - timedelta(minutes=11)))
        external.open_run(session, mirrored, external.ExternalRun(agent="script"), ALICE)

    assert installation.make_pass().summary["woken"] == 1
    assert installation.get(ticket_id).status is TicketStatus.TODO


def test_a_ticket_parked_for_an_answer_wakes_when_a_person_has_said_something(installation: Installation) -> None:
    ticket_id = installation.ticket(assigned_to="operator")
    add_comment(installation, ticket_id, "Said before it was parked.")
    installation.move(ticket_id, "park", wake={"kind": "answer"}, note="Which colour?")
    assert installation.make_pass().summary["woken"] == 0

    add_comment(installation, ticket_id, "Blue.")

    assert installation.make_pass().summary["woken"] == 1
    assert installation.get(ticket_id).status is TicketStatus.TODO


def add_comment(installation: Installation, ticket_id: int, words: str) -> None:
    with writing(installation.engine) as session:
        timeline.add_comment(session, ticket_id, NewComment(body=words), ALICE)
