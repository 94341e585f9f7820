"""A loopback HTTP server in place of Mission Control's run API.

In a test: `serving()` in this process. As a program (`python -m tests.workers.fake_api PORT FOLDER`) it can
be killed with SIGKILL and started again; what it accepted is in `FOLDER/accepted.jsonl`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NOTHING: dict[str, Any] = {"stop": None, "messages": [], "answers": [], "interrupt": None}


class FakeApi:
    """Records every post. `statuses` makes a part of it (events, heartbeat, report) answer something else."""

    def __init__(self, port: int = 0, folder: Path | None = None) -> None:
        self.port = port
        self.folder = folder
        self.events: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.posts: list[tuple[str, str]] = []
        self.statuses: dict[str, int] = {}
        self.refuse_event: str | None = None
        self.files: dict[str, bytes] = {}
        self.control: dict[str, Any] = dict(NOTHING)
        self._server: ThreadingHTTPServer | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        handler = type("Handler", (_Handler,), {"api": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def list_payloads(self, kind: str) -> list[dict[str, Any]]:
        """The payloads of the accepted events of one type."""
        return [event["payload"] for event in self.events if event["event_type"] == kind]

    def answer(self, part: str, body: bytes) -> tuple[int, dict[str, Any]]:
        status = self.statuses.get(part, 200)
        if status != 200:
            return status, {"error": "refused"}
        answer: dict[str, Any] = getattr(self, f"_take_{part}")(body)
        return (answer.pop("status", 200), answer)

    def _take_events(self, body: bytes) -> dict[str, Any]:
        events = [json.loads(line) for line in body.splitlines()]
        if any(event["event_type"] == self.refuse_event for event in events):
            return {"status": 422}
        last = self.events[-1]["run_seq"] if self.events else 0
        new_events = [event for event in events if event["run_seq"] > last]
        self.events += new_events
        if self.folder:
            with (self.folder / "accepted.jsonl").open("a") as file:
                file.writelines(json.dumps(event) + "\n" for event in new_events)
        return {
            "accepted": len(new_events),
            "repeated": len(events) - len(new_events),
            "last_run_seq": events[-1]["run_seq"],
        }

    def _take_heartbeat(self, body: bytes) -> dict[str, Any]:
        self.heartbeats.append(json.loads(body))
        return dict(self.control)

    def _take_report(self, body: bytes) -> dict[str, Any]:
        self.reports.append(json.loads(body))
        return {}


class _Handler(BaseHTTPRequestHandler):
    api: FakeApi

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        part = self.path.rsplit("/", 1)[1]
        self.api.posts.append((self.path, self.headers["Authorization"]))
        status, answer = self.api.answer(part, body)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def do_GET(self) -> None:
        content = self.api.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.end_headers()
        self.wfile.write(content or b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output quiet."""


@contextmanager
def serving() -> Iterator[FakeApi]:
    """A fake API that is up."""
    api = FakeApi()
    api.up()
    try:
        yield api
    finally:
        api.down()


if __name__ == "__main__":
    program = FakeApi(int(sys.argv[1]), Path(sys.argv[2]))
    accepted = Path(sys.argv[2]) / "accepted.jsonl"
    if accepted.exists():
        program.events = [json.loads(line) for line in accepted.read_text().splitlines()]
    program.up()
    threading.Event().wait()
