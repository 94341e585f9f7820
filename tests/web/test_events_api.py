"""Events over the API: posted once, replayed in order, refused from whoever lost the ticket."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import Run, Ticket, TicketEvent
from tests.canary import list_leaks
from tickets.runs import claims, reports
from tickets.shared import lookup
from tickets.workflow import quarantine

from .conftest import Api, Worker

NDJSON = "application/x-ndjson"


def build_text_event(seq: int, text: str = "Hello") -> dict[str, Any]:
    payload = {"block": f"b{seq}", "text": text}
    return {"run_seq": seq, "ts": "2026-01-01T00:00:00.000001Z", "event_type": "agent.text", "payload": payload}


def lines(*events: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


def end(store: Engine, run: int) -> None:
    with writing(store) as session:
        reports.apply_report(
            session, run, reports.RunReport(verdict="failed", summary="It broke."), reports.RetryPolicy()
        )


def quarantined(store: Engine, reference: str) -> list[str]:
    with reading(store) as session:
        return [row.kind for row in quarantine.list_quarantined(session, lookup.get_ticket(session, reference).id)]


@pytest.mark.both_databases
def test_a_batch_is_taken_once_however_often_it_is_sent(worker: Worker) -> None:
    path = f"/tickets/{worker.ticket}/events"
    batch = lines(build_text_event(1), build_text_event(2), build_text_event(3))
    first: Any = worker.post(path, data=batch, content_type=NDJSON).json
    again: Any = worker.post(path, data=batch + lines(build_text_event(4)), content_type=NDJSON).json
    assert first == {"accepted": 3, "repeated": 0, "last_run_seq": 3}
    assert again == {"accepted": 1, "repeated": 3, "last_run_seq": 4}


def test_the_token_of_the_board_reports_nothing_as_its_run(app: Flask, worker: Worker, store: Engine) -> None:
    """Else an orchestrator would write the commands that prove its work."""
    with writing(store) as session:
        session.execute(update(Run).values(board_token_hash=claims.hash_token("mcb_board")))
    board = Api(app.test_client(), "mcb_board")
    for event in (build_text_event(1), {"event_type": "agent.text", "payload": {}}):
        assert board.post(f"/tickets/{worker.ticket}/events", event).status_code in (403, 422)
    assert worker.post(f"/tickets/{worker.ticket}/events", build_text_event(1)).status_code == 200


def test_one_event_an_array_and_lines_are_the_same(worker: Worker) -> None:
    path = f"/tickets/{worker.ticket}/events"
    assert worker.post(path, build_text_event(1)).json["accepted"] == 1  # type: ignore[index]
    assert worker.post(path, [build_text_event(2), build_text_event(3)]).json["accepted"] == 2  # type: ignore[index]
    assert worker.post(path, data=lines(build_text_event(4)), content_type=NDJSON).json["last_run_seq"] == 4  # type: ignore[index]


def test_an_event_without_a_number_takes_none_and_is_repeated_by_its_key_alone(
    worker: Worker, operator: Api, store: Engine
) -> None:
    path, bare = f"/tickets/{worker.ticket}/events", {"event_type": "agent.text", "payload": {"text": "Hello"}}
    for _ in range(2):
        answer: Any = worker.post(path, bare, headers={"Idempotency-Key": "once"}).json
        assert answer == {"accepted": 1, "repeated": 0, "last_run_seq": 0}
    assert worker.post(path, [build_text_event(1), bare]).json == {"accepted": 2, "repeated": 0, "last_run_seq": 1}

    logged: Any = operator.get(path).json
    texts = [event for event in logged["items"] if event["event_type"] == "agent.text"]
    with reading(store) as session:
        stored = session.scalars(select(TicketEvent).where(TicketEvent.event_type == "agent.text")).all()
    assert sorted(event.run_seq or 0 for event in stored) == [0, 0, 1]
    assert len(texts) == 3 and all(event["ts"] for event in texts)
    feed: Any = operator.get("/events").json
    assert "agent.text" not in [event["event_type"] for event in feed["items"]]


def test_a_run_names_its_ticket_by_its_number_in_the_store(worker: Worker, store: Engine) -> None:
    with reading(store) as session:
        number = lookup.get_ticket(session, worker.ticket).id
    assert worker.post(f"/tickets/{number}/events", build_text_event(1)).status_code == 200


@pytest.mark.both_databases
def test_replay_is_in_order_and_goes_on_where_it_stopped(worker: Worker, operator: Api) -> None:
    worker.post(f"/tickets/{worker.ticket}/events", [build_text_event(number, str(number)) for number in range(1, 6)])
    replayed: list[dict[str, Any]] = []
    after: Any = "0"
    while after is not None:
        page: Any = operator.get(f"/tickets/{worker.ticket}/events?after={after}&limit=3").json
        replayed += page["items"]
        after = page["next"]
    assert [event["seq"] for event in replayed] == list(range(1, len(replayed) + 1))
    assert [event["payload"]["text"] for event in replayed if event["event_type"] == "agent.text"] == list("12345")


@pytest.mark.both_databases
def test_what_retention_took_is_said_to_be_gone(operator: Api, worker: Worker, store: Engine) -> None:
    with writing(store) as session:
        session.execute(update(Ticket).values(pruned_seq=7))
    answer = operator.get(f"/tickets/{worker.ticket}/events?after=3")
    assert (answer.status_code, answer.json["error"]) == (410, "gone")  # type: ignore[index]
    assert answer.json["detail"] == {"first_seq": 8}  # type: ignore[index]


@pytest.mark.both_databases
def test_events_of_an_ended_run_are_refused_and_kept_apart(worker: Worker, store: Engine, operator: Api) -> None:
    end(store, worker.run)
    before: Any = operator.get(f"/tickets/{worker.ticket}").json
    answer = worker.post(f"/tickets/{worker.ticket}/events", build_text_event(1, "too late"))
    assert (answer.status_code, answer.json["error"]) == (409, "claim_lost")  # type: ignore[index]
    assert quarantined(store, worker.ticket) == ["events"]
    after: Any = operator.get(f"/tickets/{worker.ticket}").json
    assert after == before | {"last_seq": before["last_seq"] + 1}


def test_whatever_else_an_ended_run_writes_is_refused_and_kept_apart(worker: Worker, store: Engine) -> None:
    end(store, worker.run)
    for path, body in (
        (f"/tickets/{worker.ticket}/comments", {"body": "One more thing"}),
        (f"/tickets/{worker.ticket}/context", {"path": "notes/late.md"}),
        ("/tickets", {"title": "Filed too late"}),
    ):
        answer = worker.post(path, body)
        assert (answer.status_code, answer.json["error"]) == (409, "claim_lost")  # type: ignore[index]
    assert quarantined(store, worker.ticket) == ["create_ticket", "link_context", "add_comment"]


def test_an_unknown_runs_token_leaves_nothing_behind(worker: Worker, store: Engine) -> None:
    stranger = Worker(worker.client, "mcr_" + "x" * 43, worker.run, worker.ticket)
    assert stranger.post(f"/tickets/{worker.ticket}/events", build_text_event(1)).status_code == 401
    assert quarantined(store, worker.ticket) == []


def test_a_service_posts_events_of_its_own_kind_only(service: Api, operator: Api, worker: Worker) -> None:
    path = f"/tickets/{worker.ticket}/events"
    assert service.post(path, {"event_type": "external.deployed", "payload": {"to": "live"}}).status_code == 200
    assert service.post(path, {"event_type": "agent.text", "payload": {"text": "as if"}}).status_code == 403
    mixed = [{"event_type": "external.a", "payload": {}}, {"event_type": "agent.text", "payload": {}}]
    assert service.post(path, mixed).status_code == 403
    logged: Any = operator.get("/events?actor=the-service").json
    assert [event["event_type"] for event in logged["items"]] == ["external.deployed"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not json", NDJSON),
        (b'{"run_seq": 1', "application/json"),
        (b"[]\n[]", NDJSON),
        (json.dumps({**build_text_event(1), "event_type": "agent.Text; DROP"}).encode(), "application/json"),
        (json.dumps(build_text_event(2**70)).encode(), "application/json"),
        (json.dumps({**build_text_event(1), "payload": {"text": "a\x00b"}}).encode(), "application/json"),
        (
            b'{"run_seq":1,"ts":"2026-01-01T00:00:00Z","event_type":"agent.text","payload":{"x":NaN}}',
            "application/json",
        ),
        (b'{"run_seq":1,"ts":"2026-01-01T00:00:00Z","event_type":"agent.text","payload":{"x":"\\ud800"}}', NDJSON),
        (b"[" * 5000 + b"]" * 5000, "application/json"),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused_whole(worker: Worker, operator: Api, body: bytes, kind: str) -> None:
    before = operator.get(f"/tickets/{worker.ticket}/events").json
    answer = worker.post(f"/tickets/{worker.ticket}/events", data=body, content_type=kind)
    assert answer.status_code == 422, answer.text
    assert operator.get(f"/tickets/{worker.ticket}/events").json == before


def test_more_than_a_batch_holds_is_refused(worker: Worker) -> None:
    batch = [build_text_event(number) for number in range(1, 502)]
    assert worker.post(f"/tickets/{worker.ticket}/events", batch).status_code == 422


def test_a_token_that_a_program_sends_is_redacted_and_what_a_person_writes_is_not(
    worker: Worker, operator: Api, store: Engine
) -> None:
    token, address = "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "postgres://me:hunter22@db/x"
    torn = f"{token[:9]}\x1b[31m{token[9:]}"
    texts = [f"It is {token} of {address}", f"It is {torn}", f"first\n{token}"]
    texts += [f"{token[:9]}{control}{token[9:]}" for control in "\x7f\x85\b\f"]
    events = [build_text_event(number, text) for number, text in enumerate(texts, 1)]
    disguised = [token.replace("g", r"\u0067"), address.replace("/", r"\/")]
    bodies = [
        json.dumps(events, ensure_ascii=False),
        json.dumps(events).replace("31m", "32m"),
        *(f'{{"body": "{text}"}}' for text in disguised),
    ]
    for body, rule in zip(bodies, ("events", "events", "comments", "comments"), strict=True):
        response = worker.post(f"/tickets/{worker.ticket}/{rule}", data=body.encode(), content_type="application/json")
        assert response.status_code in (200, 201)
    assert worker.post(f"/tickets/{worker.ticket}/comments", {"body": address}).status_code == 201
    form = {"file": (io.BytesIO(f"key={torn}".encode()), f"{token}.txt"), "summary": token}
    uploaded: Any = worker.post(f"/tickets/{worker.ticket}/attachments", data=form).json
    assert uploaded["name"] == "[redacted].txt"
    assert operator.get(uploaded["href"].removeprefix("/api/v1")).data == b"key=[redacted]"
    binary = {"file": (io.BytesIO(b"\xff" + token.encode()), "x.bin")}
    assert worker.post(f"/tickets/{worker.ticket}/attachments", data=binary).status_code == 422
    pages = [operator.get(f"/tickets/{worker.ticket}/{name}").get_data(as_text=True) for name in ("events", "comments")]
    assert "[redacted]" in pages[0] and not list_leaks("".join(pages), token, "hunter22")
    operator.post(f"/tickets/{worker.ticket}/comments", {"body": address})
    assert address in operator.get(f"/tickets/{worker.ticket}/comments").get_data(as_text=True)
    worker.post(f"/runs/{worker.run}/report", {"verdict": "review", "summary": token})
    for body in (f'{{"body": "late {token}"}}', f'{{"body": "{disguised[0]}"}}'):
        worker.post(f"/tickets/{worker.ticket}/comments", data=body.encode(), content_type="application/json")
    with reading(store) as session:
        late = quarantine.list_quarantined(session, lookup.get_ticket(session, worker.ticket).id)
    assert [list_leaks(row.payload, token) for row in late] == [[], []]
