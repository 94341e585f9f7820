"""A model service on the loopback interface, for real agent programs without an account.

It implements Anthropic's Messages and OpenAI's Responses API without state: the prompt itself contains the responses,
see `tests.model_script`. To run it by hand: `python -m tests.model_server --port 8901`.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import model_anthropic, model_openai
from .model_script import Step

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A received request. `step` is the kind of its response."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any
    step: str


@dataclass(slots=True)
class ModelServer:
    """A running server with its URL and the requests received so far."""

    url: str
    requests: list[Request] = field(default_factory=list)
    attempts: Counter[str] = field(default_factory=Counter)
    stopping: threading.Event = field(default_factory=threading.Event)


@contextmanager
def start(port: int = 0) -> Iterator[ModelServer]:
    """Serve until the end of the `with` block, which also ends responses that sleep or hang."""
    http = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    http.daemon_threads = True
    server = ModelServer(f"http://127.0.0.1:{http.server_address[1]}")
    http.RequestHandlerClass = type("Handler", (_Handler,), {"model": server})
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stopping.set()
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: ModelServer

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing, since the requests are recorded."""

    def do_HEAD(self) -> None:
        self._send({})

    def do_GET(self) -> None:
        self._record(None, "get")
        self._send({"object": "list", "data": [], "has_more": False})

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        with suppress(BrokenPipeError, ConnectionResetError):
            self._post(self.path.partition("?")[0], body)

    def _post(self, path: str, body: Body) -> None:
        if path.endswith("/count_tokens"):
            self._record(body, "count")
            self._send({"input_tokens": len(json.dumps(body)) // 4})
        elif path.endswith("/messages"):
            self._answer(model_anthropic, body)
        elif path.endswith("/responses"):
            self._answer(model_openai, body)
        else:
            self._record(body, "unknown")
            self._send({"error": {"message": "no such path"}}, 404)

    def _answer(self, dialect: Any, body: Body) -> None:
        step: Step = dialect.next_step(body)
        self._record(body, step.kind)
        self.model.stopping.wait(step.sleep)
        if step.kind == "limit":
            self._limit(dialect, step.argument)
        elif status := self._error_status(step):
            self._send(dialect.error(status), status, {"retry-after": "1"} if status == 429 else {})
        elif body.get("stream"):
            self._stream(dialect, body, step)
        else:
            self._send(dialect.whole(body, step))

    def _error_status(self, step: Step) -> int:
        """Return the HTTP error status of this attempt, or 0."""
        if step.kind == "error":
            return int(step.argument)
        if step.kind != "flaky":
            return 0
        times, status = map(int, step.argument.split())
        self.model.attempts[step.argument] += 1
        return status if self.model.attempts[step.argument] <= times else 0

    def _limit(self, dialect: Any, epoch: str) -> None:
        if dialect is model_openai:
            self._send(model_openai.limit(epoch), 429)
        else:
            self._send(model_anthropic.error(429), 429, model_anthropic.limit_headers(epoch))

    def _stream(self, dialect: Any, body: Body, step: Step) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        final = {"hang": "HUNG", "drop": "partial", "flaky": "RECOVERED"}
        streamed_step = (
            Step(argument=final[step.kind], think=step.think, text=step.text) if step.kind in final else step
        )
        chunks = list(dialect.stream(body, streamed_step))
        for number, (name, data) in enumerate(chunks):
            if number == len(chunks) // 2 and step.kind == "drop":
                self.connection.close()
                return
            if number == len(chunks) // 2 and step.kind == "hang":
                self.model.stopping.wait(float(step.argument))
            self.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()
            self.model.stopping.wait(step.slow / len(chunks))

    def _record(self, body: Any, step: str) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.model.requests.append(Request(self.command, self.path, headers, body, step))

    def _send(self, answer: Body, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A scripted model service on the loopback interface.")
    parser.add_argument("--port", type=int, default=8901)
    with suppress(KeyboardInterrupt), start(parser.parse_args().port) as server:
        print(f"model server on {server.url}", flush=True)
        server.stopping.wait()


if __name__ == "__main__":
    main()
