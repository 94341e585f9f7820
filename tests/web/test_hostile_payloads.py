"""What workers and services post is theirs: whatever its shape, no page may break on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from models import now, stamp
from tests.web.conftest import Api, Worker
from workers.vocabulary import KINDS

FIELDS = (
    "answers", "asked", "block", "body", "call", "changes", "choices", "conversation_id", "detail", "ended", "error", "exit_code",
    "failure", "from", "header", "input", "kind", "level", "message", "move", "name", "offset", "output", "parent",
    "question", "questions", "reason", "request", "retry_at", "seconds", "source", "state", "status", "step", "task",
    "text", "title", "to", "tool", "truncated", "uuid", "version", "was",
)  # fmt: skip
ODD: dict[str, Callable[[str], Any]] = {
    "text": lambda field: f"odd {field}",
    "number": lambda _: 7,
    "fraction": lambda _: -0.5,
    "truth": lambda _: True,
    "list": lambda _: ["one", 2, None],
    "objects": lambda _: [{"text": 1, "choices": "x", "label": None}, {}],
    "object": lambda field: {field: {"deep": [1]}},
    "empty": lambda _: {},
    "nothing": lambda _: None,
}
PAGES = ("/", "/board", "/activity", "/activity?kind=agent", "/logs", "/search?q=odd")
PARTS = ("conversation", "changes", "console", "evidence", "runs", "events")


@pytest.mark.parametrize("shape", ODD)
def test_no_page_breaks_on_what_a_run_or_a_service_has_posted(
    shape: str, worker: Worker, service: Api, browser: FlaskClient
) -> None:
    payload = {field: ODD[shape](field) for field in FIELDS}
    kinds = [f"agent.{kind}" for kind in sorted(KINDS)] + ["run.output", "run.check_ended", "script.odd"]
    events = [
        {"run_seq": at, "ts": stamp(now()), "event_type": kind, "payload": payload | {"block": kind}}
        for at, kind in enumerate(kinds, 1)
    ]
    joined = {
        "run_seq": len(kinds) + 1,
        "event_type": "agent.tool_result",
        "payload": payload | {"call": "agent.tool_call"},
    }
    events.append(events[0] | joined)
    assert worker.post(f"/tickets/{worker.ticket}/events", events).status_code == 200
    odd = {"event_type": "external.odd", "payload": payload}
    assert service.post(f"/tickets/{worker.ticket}/events", odd).status_code == 200
    page = f"/ticket/{worker.ticket}"
    parts = [f"{page}/part/{name}" for name in (*PARTS, "header", "side")]
    seen = {path: browser.get(path).status_code for path in (*PAGES, *(f"{page}?tab={tab}" for tab in PARTS), *parts)}
    assert {path: status for path, status in seen.items() if status != 200} == {}
