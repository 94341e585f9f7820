"""Alerts: derived once from the log, by the rules of each channel, and answered by whoever is first."""

from __future__ import annotations

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, select

from database import reading, writing
from models import AlertDelivery, AlertKind, AlertState, CodeReview, ReviewAssessment, RunRequest, now
from tickets.alerts import answers, channels, deliveries, derivation, presence
from tickets.alerts.alert import Alert, QuestionKind, Urgency
from tickets.alerts.channels import ChannelRules, NoOptions
from tickets.lifecycle import transitions
from tickets.operations import incidents
from tickets.runs import claims, ingest, reports
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid
from tickets.shared.inputs import NewTicket
from tickets.shared.quiet_hours import QuietHours, find_next_time

from .test_spine import ALICE, make

BOB = Actor.human("bob")
BERLIN = ZoneInfo("Europe/Berlin")
TRIALS = 200
PATIENT = reports.RetryPolicy(limit=5, backoff_seconds=0)


class Clock:
    """The clock of alerts, which a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
        self.moment = moment
        monkeypatch.setattr(deliveries, "now", lambda: self.moment)

    def advance(self, **span: float) -> None:
        self.moment += timedelta(**span)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch, now())


def open_channel(engine: Engine, name: str = "email", **rules: Any) -> None:
    kinds = {kind.value: "now" for kind in channels.RULED_KINDS}
    with writing(engine) as session:
        body = ChannelRules.model_validate({"enabled": True, "kinds": kinds} | rules)
        channels.save_channel(session, channels.get_type(name), body, NoOptions(), ALICE)


def collect(engine: Engine, name: str = "email") -> None:
    with writing(engine) as session:
        assert not deliveries.collect(session, name, BERLIN)


def list_rows(engine: Engine, name: str = "email") -> list[AlertDelivery]:
    with reading(engine) as session:
        query = select(AlertDelivery).where(AlertDelivery.channel == name).order_by(AlertDelivery.id)
        return list(session.scalars(query))


def list_alerts(engine: Engine) -> list[Alert]:
    return [Alert.from_json(row.alert) for row in list_rows(engine)]


def send_due(engine: Engine, name: str = "email") -> list[Alert]:
    """Send what is due, as a channel without faults does."""
    with writing(engine) as session:
        deliveries.postpone_in_quiet_hours(session, name, BERLIN)
        groups = deliveries.group_due(deliveries.list_due(session, name))
        for group in groups:
            assert deliveries.begin_attempt(session, [row.id for row in group])
            deliveries.record_sent(session, group, "reference")
        return [deliveries.build_message(group) for group in groups]


def block(engine: Engine, title: str = "Write a line") -> int:
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title=title, assigned_to="script"), ALICE)
        facts: dict[str, Any] = {"reason": "needs_human", "owner": "alice", "next_action": "Look"}
        transitions.transition(session, ticket.id, "block", ALICE, **facts)
        return ticket.id


def ask(engine: Engine, ticket_id: int, *labels: str) -> None:
    """Have a run end with a question."""
    question = {"questions": [{"text": "Which one?", "choices": [{"label": label} for label in labels]}]}
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        report = reports.RunReport.model_validate({"verdict": "question", "question": question})
        reports.apply_report(session, run.id, report, PATIENT)


# Clocks


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-06-01T21:59:00+02:00", None),
        ("2026-06-01T22:00:00+02:00", "2026-06-02T07:00:00+02:00"),
        ("2026-06-02T06:59:59+02:00", "2026-06-02T07:00:00+02:00"),
        ("2026-06-02T07:00:00+02:00", None),
        ("2026-03-28T23:00:00+01:00", "2026-03-29T07:00:00+02:00"),  # an hour of the night is skipped
        ("2026-10-24T23:00:00+02:00", "2026-10-25T07:00:00+01:00"),  # an hour of the night comes twice
    ],
)
def test_quiet_hours_go_over_midnight_and_over_changes_of_the_clock(moment: str, expected: str | None) -> None:
    hours = QuietHours(time(22), time(7))
    end = hours.find_end(datetime.fromisoformat(moment), BERLIN)
    assert end == (datetime.fromisoformat(expected) if expected else None)


def test_a_time_that_is_skipped_or_comes_twice_is_found() -> None:
    skipped = find_next_time(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), time(2, 30), BERLIN)
    assert skipped == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 there
    first = find_next_time(datetime(2026, 10, 25, 0, 0, tzinfo=UTC), time(2, 30), BERLIN)
    second = find_next_time(first, time(2, 30), BERLIN)
    assert (first, second - first) == (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), timedelta(hours=1))


# From events to deliveries


@pytest.mark.both_databases
def test_each_alert_exists_once_however_often_its_events_are_read(engine: Engine) -> None:
    block(engine)
    open_channel(engine)
    open_channel(engine, "apprise", kinds={"done": "now"})
    ticket_id = block(engine)
    with pytest.raises(ZeroDivisionError), writing(engine) as session:  # killed before the commit
        deliveries.collect(session, "email", BERLIN)
        _ = 1 / 0
    assert list_rows(engine) == []
    for _ in range(2):
        collect(engine)
        collect(engine, "apprise")
    [row] = list_rows(engine)
    assert (row.ticket_id, row.alert["title"]) == (ticket_id, "MC-2 is blocked: Write a line")
    assert list_rows(engine, "apprise") == []
    assert [alert.ticket for alert in send_due(engine)] == ["MC-2"]
    with reading(engine) as session:
        assert not deliveries.has_news(session, "email")
        assert set(channels.list_working(session)) == {"apprise", "email"} and presence.is_any_set_up(session)
    assert send_due(engine) == []


def test_texts_are_cleaned_and_each_kind_says_what_happened(engine: Engine) -> None:
    open_channel(engine)
    secret = "ghp_" + "a" * 36
    ticket_id = block(engine, f"Look at this {secret}")
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "cancel", ALICE)
        incidents.raise_incident(session, "disk", "The disk is full", "Free \x1b[31msome space.", severity="critical")
    done_id = make(engine)
    with writing(engine) as session:
        transitions.transition(session, done_id, "close", ALICE, note="Not needed.")
    collect(engine)
    assert "Free some space." in {alert.body for alert in list_alerts(engine)}
    texts = {(alert.kind, alert.title, alert.urgency) for alert in list_alerts(engine)}
    assert texts == {
        (AlertKind.BLOCKED, "MC-1 is blocked: Look at this [redacted]", Urgency.NORMAL),
        (AlertKind.INCIDENT, "Incident: The disk is full", Urgency.HIGH),
        (AlertKind.DONE, "MC-2 is done: Write a line", Urgency.LOW),
    }


def test_what_is_settled_is_not_sent_and_where_it_was_sent_the_reason_is_told(engine: Engine) -> None:
    open_channel(engine)
    ticket_ids = [block(engine), block(engine)]
    collect(engine)
    [first, _] = list_rows(engine)
    with writing(engine) as session:
        assert deliveries.begin_attempt(session, [first.id])
        deliveries.record_sent(session, [first], "reference")
        for ticket_id in ticket_ids:
            transitions.transition(session, ticket_id, "unblock", BOB)
    collect(engine)
    rows = list_rows(engine)
    assert [row.state for row in rows] == [AlertState.SENT, AlertState.SUPPRESSED]
    assert rows[0].settlement == "Unblocked by bob." and rows[1].due is None
    with writing(engine) as session:
        assert [row.id for row in deliveries.list_due(session, "email")] == [first.id]
        deliveries.record_settled(session, first.id)
        assert deliveries.list_due(session, "email") == []


@pytest.mark.both_databases
def test_a_condition_that_comes_and_goes_is_told_again_only_when_it_stays(engine: Engine, clock: Clock) -> None:
    open_channel(engine)

    def open_incident() -> int:
        with writing(engine) as session:
            incident_id = incidents.raise_incident(session, "check:disk", "The disk is full").id
        collect(engine)
        return incident_id

    def close_incident(incident_id: int) -> None:
        with writing(engine) as session:
            incidents.close_incident(session, incident_id, "There is space.", BOB)
        collect(engine)

    incident_id = open_incident()
    assert [alert.title for alert in send_due(engine)] == ["Incident: The disk is full"]
    for _ in range(2):
        clock.advance(minutes=2)
        close_incident(incident_id)
        open_incident()
        assert [row for row in list_rows(engine) if row.due == clock.moment and row.state is AlertState.PENDING] == []
    clock.advance(minutes=6)
    with writing(engine) as session:
        due = [row.alert["title"] for row in deliveries.list_due(session, "email") if row.state is AlertState.PENDING]
    assert due == ["Incident again: The disk is full"]
    assert [row.reason for row in list_rows(engine)] == ["", "settled before: Closed by bob.", ""]


# When it is sent


def test_quiet_hours_hold_alerts_and_many_at_once_become_one_message(engine: Engine, clock: Clock) -> None:
    clock.moment = datetime(2026, 6, 1, 23, tzinfo=BERLIN)
    open_channel(engine, quiet_hours="22:00-07:00")
    for _ in range(deliveries.MAX_SINGLE_ALERTS + 1):
        block(engine)
    collect(engine)
    assert send_due(engine) == []
    with writing(engine) as session:
        deliveries.request_test(session, "email", ALICE)
    assert [alert.kind for alert in send_due(engine)] == [AlertKind.TEST]
    clock.moment = datetime(2026, 6, 2, 7, tzinfo=BERLIN)
    [digest] = send_due(engine)
    assert (digest.kind, digest.title) == (AlertKind.DIGEST, "6 alerts")
    assert digest.body.count("is blocked") == 6
    block(engine)
    collect(engine)
    assert [alert.kind for alert in send_due(engine)] == [AlertKind.BLOCKED]


def test_a_digest_is_sent_once_a_day_by_the_clock_of_the_zone(engine: Engine, clock: Clock) -> None:
    clock.moment = datetime(2026, 6, 1, 9, tzinfo=BERLIN)
    open_channel(engine, kinds={"blocked": "digest", "done": "now"}, digest_time="08:30")
    block(engine)
    collect(engine)
    clock.moment = datetime(2026, 6, 2, 8, 29, tzinfo=BERLIN)
    block(engine)
    collect(engine)
    assert send_due(engine) == []
    clock.advance(minutes=1)
    [digest] = send_due(engine)
    assert digest.title == "2 alerts" and "MC-1 is blocked" in digest.body


@pytest.mark.both_databases
def test_a_failed_attempt_is_repeated_with_growing_pauses_and_a_busy_service_is_left_alone(
    engine: Engine, clock: Clock
) -> None:
    open_channel(engine)
    block(engine)
    block(engine)
    collect(engine)
    pauses: list[float] = []
    for _ in range(deliveries.MAX_ATTEMPTS):
        with writing(engine) as session:
            row = deliveries.list_due(session, "email")[0]
            assert deliveries.begin_attempt(session, [row.id])
            deliveries.record_failure(session, [row], "refused", None, False)
        row = list_rows(engine)[0]
        pauses.append((row.due - clock.moment).total_seconds() if row.due else 0.0)
        clock.moment = row.due or clock.moment
    assert pauses == [30, 60, 120, 240, 480, 960, 1920, 0]
    assert (list_rows(engine)[0].state, list_rows(engine)[0].reason) == (AlertState.FAILED, "refused")

    block(engine)
    collect(engine)
    with writing(engine) as session:
        row = deliveries.list_due(session, "email")[0]
        assert deliveries.begin_attempt(session, [row.id])
        deliveries.record_failure(session, [row], "too many", 300, False)
        assert deliveries.list_due(session, "email") == []
    clock.advance(seconds=300)
    assert len(send_due(engine)) == 2

    block(engine)
    collect(engine)
    with writing(engine) as session:
        row = deliveries.list_due(session, "email")[0]
        assert deliveries.begin_attempt(session, [row.id])
        deliveries.record_failure(session, [row], "too many", float("9" * 400), False)
    assert list_rows(engine)[-1].due == clock.moment + deliveries.LONGEST_WAIT


def test_an_attempt_whose_process_was_killed_is_repeated(engine: Engine, clock: Clock) -> None:
    open_channel(engine)
    block(engine)
    collect(engine)
    with writing(engine) as session:
        [row] = deliveries.list_due(session, "email")
        assert deliveries.begin_attempt(session, [row.id])
        assert not deliveries.begin_attempt(session, [row.id])
    assert send_due(engine) == []
    clock.moment += deliveries.ATTEMPT_TIMEOUT
    assert len(send_due(engine)) == 1


def test_a_disabled_channel_drops_what_waits_and_begins_anew(engine: Engine) -> None:
    open_channel(engine)
    block(engine)
    collect(engine)
    open_channel(engine, enabled=False)
    block(engine)
    open_channel(engine)
    block(engine)
    collect(engine)
    assert [(row.state, row.alert["ticket"]) for row in list_rows(engine)] == [
        (AlertState.SUPPRESSED, "MC-1"),
        (AlertState.PENDING, "MC-3"),
    ]


def test_what_loops_do_with_their_own_tickets_alerts_nobody(engine: Engine) -> None:
    """A person was told of each end of the inbox's ticket, and that the ticket of each review was done."""
    open_channel(engine)
    standing, (reviewed, review_work, ordinary) = make_inbox_ticket(engine), (make(engine) for _ in range(3))
    with writing(engine) as session:
        review = CodeReview(ticket_id=reviewed, reviewer="ada", commit_sha="a" * 40)
        session.add(review)
        session.flush()
        session.add(ReviewAssessment(review_id=review.id, ticket_id=review_work, agent="ada"))
        facts: dict[str, Any] = {"reason": "needs_human", "owner": "alice", "next_action": "Look"}
        for ticket_id in (standing, review_work, ordinary):
            transitions.transition(session, ticket_id, "block", ALICE, **facts)
            transitions.transition(session, ticket_id, "close", ALICE, note="Seen.")
    collect(engine)
    assert [(alert.ticket_id, alert.kind) for alert in list_alerts(engine)] == [
        (ordinary, AlertKind.BLOCKED),
        (ordinary, AlertKind.DONE),
    ]
    ask(engine, make_inbox_ticket(engine))
    collect(engine)
    assert list_alerts(engine)[-1].kind is AlertKind.NEEDS_YOU, "a question of the orchestrator needs a person"


def make_inbox_ticket(engine: Engine) -> int:
    """Make a ticket that is the inbox's own."""
    ticket_id = make(engine)
    with writing(engine) as session:
        runtime_flags.set_flag(session, runtime_flags.INBOX_TICKET, str(ticket_id), ALICE)
    return ticket_id


# Answers


def test_the_first_answer_counts_and_an_old_question_is_not_answered(engine: Engine) -> None:
    open_channel(engine)
    ticket_id = make(engine)
    ask(engine, ticket_id, "Left", "Right")
    collect(engine)
    [alert] = list_alerts(engine)
    assert alert.question is not None and [choice.label for choice in alert.question.choices] == ["Left", "Right"]
    assert alert.body == "Which one?", "a question without a summary is told by its text"
    for wrong in ({"choice": "3"}, {"text": " "}):
        with pytest.raises(Invalid), writing(engine) as session:
            answers.answer_question(session, alert, BOB, **wrong)
    with writing(engine) as session:
        answers.answer_question(session, alert, BOB, choice="2")
    with pytest.raises(ConflictError, match="bob was first"), writing(engine) as session:
        answers.answer_question(session, alert, ALICE, choice="1")
    ask(engine, ticket_id, "Up", "Down")
    with pytest.raises(ConflictError, match="already been settled"), writing(engine) as session:
        answers.answer_question(session, alert, ALICE, choice="1")
    collect(engine)
    assert [row.state for row in list_rows(engine)] == [AlertState.SUPPRESSED, AlertState.PENDING]


@pytest.mark.both_databases
def test_a_long_name_of_a_request_is_named_by_its_digest_in_alerts(engine: Engine) -> None:
    open_channel(engine)
    payload = {"request": secrets.token_hex(1000), "text": "First this."}
    with writing(engine) as session:
        run = claims.claim_ticket(session, make_in(session), "here").run
        event_types = ("agent.plan", "agent.withdrawn")
        batch = [
            ingest.WorkerEvent(event_type=kind, payload=payload, run_seq=number)
            for number, kind in enumerate(event_types, 1)
        ]
        ingest.ingest_events(session, run.id, batch[:1])
    collect(engine)
    with writing(engine) as session:
        ingest.ingest_events(session, run.id, batch[1:])
    collect(engine)
    [row] = list_rows(engine)
    assert row.subject and len(row.subject) < derivation.MAX_REQUEST_LENGTH
    assert row.state is AlertState.SUPPRESSED


@pytest.mark.parametrize("kind", ["agent.question", "agent.approval"])
def test_a_live_agent_gets_the_choice_as_it_wrote_it(engine: Engine, kind: str) -> None:
    open_channel(engine)
    long_label = "Because " * 60
    choices = [{"label": long_label}, {"label": "No"}]
    payload: dict[str, Any] = {"request": "r1", "tool": "Bash", "title": "rm x"}
    if kind == "agent.question":
        payload = {"request": "r1", "questions": [{"text": "Why?", "choices": choices}]}
    with writing(engine) as session:
        run = claims.claim_ticket(session, make_in(session), "here").run
        event = ingest.WorkerEvent(event_type=kind, payload=payload, run_seq=1)
        ingest.ingest_events(session, run.id, [event])
    collect(engine)
    [alert] = list_alerts(engine)
    assert alert.question is not None
    key = alert.question.choices[0].key
    with writing(engine) as session:
        assert answers.answer_question(session, alert, BOB, choice=key) == run.id
    with pytest.raises(ConflictError, match="bob was first"), writing(engine) as session:
        answers.answer_question(session, alert, ALICE, choice=key)
    with reading(engine) as session:
        answer = session.scalars(select(RunRequest.answer)).one()
    assert answer is not None
    if alert.question.kind is QuestionKind.AGENT:
        assert answer["answers"] == {"Why?": long_label}
    else:
        assert answer["behavior"] == "allow"
    collect(engine)
    assert list_rows(engine)[0].reason == "settled before: Answered by bob."


def test_of_three_who_answer_at_once_exactly_one_is_accepted(engine: Engine) -> None:
    open_channel(engine)
    questions = [{"text": "Why?", "choices": [{"label": "Yes"}, {"label": "No"}]}]
    with writing(engine) as session:
        run = claims.claim_ticket(session, make_in(session), "here").run
        batch = [
            ingest.WorkerEvent(
                event_type="agent.question", payload={"request": f"r{n}", "questions": questions}, run_seq=n
            )
            for n in range(1, TRIALS + 1)
        ]
        ingest.ingest_events(session, run.id, batch)
    with writing(engine) as session:
        assert deliveries.collect(session, "email", BERLIN)  # more than one page
    collect(engine)
    alerts = list_alerts(engine)
    assert len(alerts) == TRIALS
    together = threading.Barrier(3)

    def answer_all(name: str) -> list[bool]:
        return [answer_one(name, alert) for alert in alerts]

    def answer_one(name: str, alert: Alert) -> bool:
        together.wait()
        try:
            with writing(engine) as session:
                answers.answer_question(session, alert, Actor.human(name), choice="1")
        except ConflictError as refusal:
            assert "was first" in refusal.message
            return False
        return True

    with ThreadPoolExecutor(3) as pool:
        accepted = list(pool.map(answer_all, ("browser", "push", "telegram")))
    assert [sum(trial) for trial in zip(*accepted, strict=True)] == [1] * TRIALS


def make_in(session: Any) -> int:
    return transitions.create_ticket(session, NewTicket(title="Write a line", assigned_to="script"), ALICE).id
