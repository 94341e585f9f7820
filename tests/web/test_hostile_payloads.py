"""What workers and services post is theirs: whatever its shape, no page may break on it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import RunRequest, Ticket, TicketEvent, TicketMessage, format_timestamp, now
from protocol import AGENT_EVENT_KINDS
from tickets.shared import events
from web.site import event_sentences
from web.stream.hub import EventFrame, coalesce_deltas

from .conftest import Api, Worker, start

FIELDS = (
    "answers", "asked", "body", "call", "changes", "choices", "conversation_id", "detail", "ended", "error", "exit_code",
    "failure", "from", "header", "input", "kind", "level", "message", "move", "name", "offset", "output", "parent",
    "question", "questions", "reason", "request", "retry_at", "seconds", "source", "state", "status", "step", "task",
    "text", "title", "to", "tool", "truncated", "uuid", "version", "was",
)  # fmt: skip
OBSERVED = (
    "check", "check_base", "commits", "deletions", "diff_sha256", "dirty", "files_changed", "head_sha", "insertions",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    "odd", 7, -0.5, True, None, {}, {"a": 1}, ["x"], [None], [{}], [[]],
    ["one", 2, None], [{"text": 1, "choices": "x", "label": None}, {}], [{"text": "Which?", "choices": [7, {"a": []}]}],
    {"text": {"deep": [1]}, "questions": "x"},
)  # fmt: skip
ASKING = ("agent.question", "agent.approval")
REPORTED = ("agent.tool_result", "run.output", "run.check_ended", "script.odd")
VIEWS = ("/", "/board", "/board?view=lanes", "/board?view=list", "/board/notes")
PAGES = (
    *VIEWS, "/board/column/in_progress", "/board/lane/needs_you", "/board/list", "/activity", "/activity/part/feed", "/logs",
)  # fmt: skip
LISTS = ("/events", "/needs-you", "/tickets")
OF_LIVE = (
    "", "/operator", "/print", "/part/conversation", "/part/replay?at=9", "?tab=events", "?tab=runs&run={run}",
)  # fmt: skip
OF_REPORTED = ("", "?tab=runs&run={run}", "?tab=evidence&run={run}")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_page_breaks_on_what_runs_and_services_have_posted(
    app: Flask, store: Engine, operator: Api, service: Api, browser: FlaskClient
) -> None:
    workers = [start(app, store, title=f"Posts {json.dumps(value)}") for value in VALUES]
    for worker, value in zip(workers, VALUES, strict=True):
        post(worker, service, value)
    shapes = [question for worker in workers for question in questions(operator, worker)]
    live = list_failures(browser, PAGES, pages(workers, OF_LIVE)) | broken_sentences(store)
    keep_as_before(store)
    before = list_failures(browser, VIEWS, pages(workers, ("",)))
    reporters = [start(app, store, title=f"Reports {json.dumps(value)}") for value in VALUES]
    for worker, reporter, value in zip(workers, reporters, VALUES, strict=True):
        report(worker, value, "question")
        report(reporter, value, "review")
        report(reporter, value, "failed")
    ended = list_failures(browser, VIEWS, pages(workers, ("",)), pages(reporters, OF_REPORTED))
    reads = [f"/tickets/{worker.ticket}/{part}" for worker in workers for part in ("requests", "comments")]

    assert (live, before, ended, list_failures(operator, LISTS, reads)) == ({}, {}, {}, {})
    assert [question for question in shapes if not is_shaped(question)] == []


def post(worker: Worker, service: Api, value: Any) -> None:
    """Ask with a wrong value, then send every type of event with it in every field."""
    kinds = [*ASKING, *sorted(f"agent.{kind}" for kind in AGENT_EVENT_KINDS), *REPORTED]
    batch = [event(number, kind, value) for number, kind in enumerate(kinds, 1)]
    answer = worker.post(f"/tickets/{worker.ticket}/events", batch)
    assert answer.status_code == 200, answer.text
    event_body = {"event_type": "external.odd", "payload": dict.fromkeys(FIELDS, value)}
    assert service.post(f"/tickets/{worker.ticket}/events", event_body).status_code == 200


def event(number: int, kind: str, value: Any) -> dict[str, Any]:
    payload = dict.fromkeys(FIELDS, value) | ({"request": f"r{number}"} if number <= len(ASKING) else {})
    payload |= {"block": f"b{number}"} if kind == "agent.tool_call" else {}
    payload |= {"call": "odd"} if kind in ("agent.tool_call", "agent.tool_result") else {}
    return {"run_seq": number, "ts": format_timestamp(now()), "event_type": kind, "payload": payload}


def keep_as_before(store: Engine) -> None:
    """Put the payloads of what is shown back as they came, as an older version has stored them."""
    with writing(store) as session:
        query = select(TicketEvent.run_id, TicketEvent.seq, TicketEvent.payload_json)
        for run_id, seq, payload in session.execute(query.where(TicketEvent.event_type.in_(ASKING))).all():
            mine = (RunRequest.run_id == run_id, RunRequest.request == str(payload["request"]))
            session.execute(update(RunRequest).where(*mine).values(payload=payload))
            session.execute(
                update(TicketMessage)
                .where(TicketMessage.run_id == run_id, TicketMessage.seq == seq)
                .values(data=payload)
            )


def report(worker: Worker, value: Any, verdict: str) -> None:
    """Only particulars may be odd; what cannot be understood at all is refused in words."""
    body = {
        "verdict": verdict,
        "summary": "Odd.",
        "question": {"questions": value},
        "terminal": dict.fromkeys(FIELDS, value),
    }
    body |= {"observations": dict.fromkeys(OBSERVED, value)} if verdict == "review" else {}
    answer = worker.post(f"/runs/{worker.run}/report", body)
    assert answer.status_code in (200, 409, 422), answer.text


def questions(operator: Api, worker: Worker) -> list[Any]:
    """The questions that programs read of a live run."""
    items: list[Any] = operator.get(f"/tickets/{worker.ticket}/requests").json["items"]  # type: ignore[index]
    question_payloads = [item["payload"] for item in items if item["kind"] == "question"]
    return [question for payload in question_payloads for question in payload["questions"] or []]


def is_shaped(question: dict[str, Any]) -> bool:
    choices = question["choices"]
    return isinstance(question["text"], str) and all(isinstance(choice["label"], str) for choice in choices)


def pages(workers: list[Worker], places: Iterable[str]) -> list[str]:
    return [f"/ticket/{worker.ticket}{place.format(run=worker.run)}" for worker in workers for place in places]


def list_failures(client: FlaskClient | Api, *paths: Iterable[str]) -> dict[str, int]:
    statuses = {path: client.get(path).status_code for path in chain(*paths)}
    return {path: status for path, status in statuses.items() if status != 200}


def broken_sentences(store: Engine) -> dict[str, int]:
    """The types of the events that cannot be told in a sentence or sent by a stream."""
    with reading(store) as session:
        ids = session.scalars(select(Ticket.id)).all()
        logged = [row for ticket_id in ids for row in events.replay(session, ticket_id)]
    failed = {}
    for row in [*logged, *coalesce_deltas(logged)]:
        try:
            assert event_sentences.build_sentence(row).icon
            assert EventFrame(row).body
        except Exception:
            failed[row.event_type] = 500
    return failed
