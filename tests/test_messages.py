"""Messages to an agent: queued, delivered, accepted; never lost, never taken back, and not waited for without end."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import DeliveryState, QueuedMessage, Run, now
from tickets.board import overview, review_queue
from tickets.conversation import messages
from tickets.runs import claims, heartbeat, reports
from tickets.shared import events, lookup
from tickets.shared.errors import ConflictError

from .test_spine import ALICE, make

LATER = 1800


def send_messages(engine: Engine, ticket_id: int, *bodies: str) -> list[str]:
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        return [messages.queue_message(session, ticket, messages.NewMessage(body=body), ALICE).uuid for body in bodies]


def begin(engine: Engine, ticket_id: int) -> int:
    with writing(engine) as session:
        return claims.claim_ticket(session, ticket_id, "here").run.id


def end(engine: Engine, run_id: int) -> None:
    with writing(engine) as session:
        reports.apply_report(
            session, run_id, reports.RunReport(verdict="stopped"), reports.RetryPolicy(backoff_seconds=0)
        )


def list_offered(engine: Engine, run_id: int) -> list[str]:
    with writing(engine) as session:
        return [
            message["uuid"]
            for message in heartbeat.record_heartbeat(session, run_id, heartbeat.RunHeartbeat(state="running"))[
                "messages"
            ]
        ]


def record_receipt(engine: Engine, run_id: int, uuid: str, state: str) -> None:
    with writing(engine) as session:
        messages.apply_receipt(session, lookup.get_run(session, run_id), {"uuid": uuid, "state": state}, 9)


def state(engine: Engine, uuid: str) -> DeliveryState:
    with reading(engine) as session:
        return session.query(QueuedMessage).filter_by(uuid=uuid).one().state


@pytest.mark.both_databases
def test_messages_are_offered_in_order_until_each_has_its_receipt(engine: Engine) -> None:
    ticket_id = make(engine)
    run_id = begin(engine, ticket_id)
    first, second = send_messages(engine, ticket_id, "one", "two")
    assert list_offered(engine, run_id) == list_offered(engine, run_id) == [first, second]
    record_receipt(engine, run_id, first, "delivered")
    assert list_offered(engine, run_id) == [second]
    record_receipt(engine, run_id, first, "accepted")
    record_receipt(engine, run_id, first, "delivered")
    assert state(engine, first) is DeliveryState.ACCEPTED, "a receipt is never taken back"


def test_what_a_run_did_not_take_waits_for_the_next_one(engine: Engine) -> None:
    ticket_id = make(engine)
    run_id = begin(engine, ticket_id)
    (uuid,) = send_messages(engine, ticket_id, "wait")
    assert list_offered(engine, run_id) == [uuid]
    end(engine, run_id)
    assert list_offered(engine, begin(engine, ticket_id)) == [uuid]


def test_what_was_given_and_never_confirmed_is_shown_as_such_and_not_said_twice(engine: Engine) -> None:
    """It stayed "delivered" for ever when the wrapper was killed."""
    ticket_id = make(engine)
    run_id = begin(engine, ticket_id)
    (uuid,) = send_messages(engine, ticket_id, "did you hear?")
    list_offered(engine, run_id)
    record_receipt(engine, run_id, uuid, "delivered")
    with writing(engine) as session:
        reports.mark_lost(session, run_id, "killed", reports.RetryPolicy(backoff_seconds=0))
    with writing(engine) as session:
        message = session.query(QueuedMessage).filter_by(uuid=uuid).one()
        assert (message.state, message.failure) == (DeliveryState.FAILED, messages.UNCONFIRMED)
        assert messages.retry_failed(session) == 0
        event_seq = lookup.get_ticket(session, ticket_id).event_seq
        assert message.changed > event_seq - 5, "open pages learn of it"
    assert list_offered(engine, begin(engine, ticket_id)) == []


@pytest.mark.both_databases
def test_only_a_message_that_could_have_been_received_expires(engine: Engine) -> None:
    ticket_id = make(engine)
    (uuid,) = send_messages(engine, ticket_id, "old")
    with writing(engine) as session:
        session.execute(update(QueuedMessage).values(created=now() - timedelta(days=2)))
        assert messages.expire_messages(session, LATER) == 0, "nobody could receive it"
    list_offered(engine, begin(engine, ticket_id))
    with writing(engine) as session:
        assert messages.expire_messages(session, LATER) == 0, "it was offered just now"
        asleep_since = now() - timedelta(seconds=LATER + 1)
        session.execute(update(QueuedMessage).values(offered=asleep_since))
        session.execute(update(Run).values(heartbeat=asleep_since))
        assert messages.expire_messages(session, LATER) == 0, "the machine slept: its run was not heard since"
        session.execute(update(Run).values(heartbeat=now()))
        assert messages.expire_messages(session, LATER) == 1
    assert state(engine, uuid) is DeliveryState.EXPIRED


def test_a_message_that_its_wrapper_holds_until_the_end_of_a_long_turn_does_not_expire(engine: Engine) -> None:
    ticket_id = make(engine)
    (uuid,) = send_messages(engine, ticket_id, "after this turn")
    run_id = begin(engine, ticket_id)
    assert list_offered(engine, run_id) == [uuid]
    with writing(engine) as session:
        session.execute(update(QueuedMessage).values(offered=now() - timedelta(seconds=LATER + 1)))
    record_receipt(engine, run_id, uuid, "queued")
    with writing(engine) as session:
        assert messages.expire_messages(session, LATER) == 0
    record_receipt(engine, run_id, uuid, "refused")
    assert state(engine, uuid) is DeliveryState.FAILED
    with reading(engine) as session:
        assert (session.scalars(select(QueuedMessage.failure)).one() or "").startswith("[refused]"), "not tried again"


@pytest.mark.both_databases
def test_a_message_that_could_not_be_given_is_tried_three_times_with_runs_of_its_ticket(engine: Engine) -> None:
    ticket_id = make(engine)
    (uuid,) = send_messages(engine, ticket_id, "stubborn")
    for attempt in range(3):
        run_id = begin(engine, ticket_id)
        assert list_offered(engine, run_id) == [uuid], attempt
        record_receipt(engine, run_id, uuid, "failed")
        with writing(engine) as session:
            assert messages.retry_failed(session) == 0, "the run that failed still lives"
        end(engine, run_id)
        with writing(engine) as session:
            assert messages.retry_failed(session) == (1 if attempt < 2 else 0)
    assert state(engine, uuid) is DeliveryState.FAILED


@pytest.mark.both_databases
def test_what_was_not_delivered_needs_a_person_until_it_is_sent_again_or_dismissed(engine: Engine) -> None:
    ticket_id = make(engine)
    run_id = begin(engine, ticket_id)
    refused_uuid, unconfirmed_uuid, retried_uuid = send_messages(engine, ticket_id, "one", "two", "three")
    list_offered(engine, run_id)
    record_receipt(engine, run_id, refused_uuid, "refused")
    record_receipt(engine, run_id, unconfirmed_uuid, "delivered")
    record_receipt(engine, run_id, retried_uuid, "failed")
    end(engine, run_id)
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        rows = messages.list_undelivered(session, ticket_id)
        assert [row.body for row in rows] == ["one", "two"]  # the third is queued again by itself
        assert events.count_events(session, run_id, "message_failed") == 2
        assert overview.list_queue(session) == [ticket.identifier] and overview.count_needs(session) == 1
        assert [need["line"] for need in overview.list_needs(session)] == [overview.UNDELIVERED_TEXT]
        assert messages.resend_message(session, ticket, rows[0].id, ALICE).body == "one"
        for number in (rows[0].id, rows[0].id + 99):
            with pytest.raises(ConflictError, match="already been sent again or dismissed"):
                messages.dismiss_message(session, ticket, number, ALICE)
        assert review_queue.find_next(session, ticket.identifier, 1) == ticket.identifier
        messages.dismiss_message(session, ticket, rows[1].id, ALICE)
        assert messages.list_undelivered(session, ticket_id) == [] and overview.count_needs(session) == 0
