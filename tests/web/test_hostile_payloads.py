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
PLACES = ("/operator", "/workflow", "?tab=events&at=9", "/part/replay?at=9", "?tab=runs&run=1", "?tab=evidence&run=1")
OBSERVED = (
    "check", "check_base", "commits", "deletions", "diff_sha256", "dirty", "files_changed", "head_sha", "insertions",
)  # fmt: skip
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
    inner = [f"{page}{place}" for place in PLACES]
    seen = [*PAGES, *(f"{page}?tab={tab}" for tab in PARTS), *parts, *inner]
    assert broken(browser, seen) == {}


@pytest.mark.parametrize("verdict", ["review", "question", "failed"])
@pytest.mark.parametrize("shape", ODD)
def test_no_page_breaks_on_what_a_run_has_reported(
    shape: str, verdict: str, worker: Worker, browser: FlaskClient
) -> None:
    """Only particulars may be odd; what cannot be understood at all is refused in words."""
    odd, seen = ({field: ODD[shape](field) for field in fields} for fields in (FIELDS, OBSERVED))
    told = {"verdict": verdict, "summary": "Odd.", "observations": seen, "question": odd, "terminal": odd}
    answer = worker.post(f"/runs/{worker.run}/report", told)
    assert answer.status_code in (200, 422), answer.text
    page = f"/ticket/{worker.ticket}"
    assert (
        broken(browser, [*PAGES, page, *(f"{page}?tab={tab}" for tab in PARTS), *(f"{page}{at}" for at in PLACES)])
        == {}
    )


def broken(browser: FlaskClient, paths: list[str]) -> dict[str, int]:
    seen = {path: browser.get(path).status_code for path in paths}
    return {path: status for path, status in seen.items() if status != 200}
