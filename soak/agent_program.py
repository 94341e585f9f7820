"""A program that speaks Claude Code's line protocol without a model, started as the agent of a soak.

It starts the coordination server of its run as the real program does, and reports through it. Lines of a prompt or a
message are its orders:

    soak: print COUNT          print COUNT long texts, a few each second
    soak: ask TOKEN QUESTION   ask the question, unless the prompt contains TOKEN
    soak: done SUMMARY         report that the ticket is done

The uuid of each message is appended to the file that `SOAK_AGENT_LOG` names.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

LOG_VARIABLE = "SOAK_AGENT_LOG"
SERVER = "mc-coord"
TEXT = "It goes on, step by step. " * 80
PAUSE_SECONDS = 0.15


class ToolClient:
    """The client of the coordination server, over the server's stdin and stdout."""

    def __init__(self, config: Path) -> None:
        server = json.loads(config.read_text())["mcpServers"][SERVER]
        self._numbers = count(1)
        self._server = subprocess.Popen(
            [server["command"], *server["args"]],
            env={**os.environ, **server["env"]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._request("initialize", protocolVersion="2025-06-18")
        self._request("tools/list")

    def call(self, tool: str, **arguments: str) -> bool:
        """Call a tool. False when the server is gone."""
        try:
            return "result" in self._request("tools/call", name=tool, arguments=arguments)
        except (OSError, ValueError):
            return False

    def _request(self, method: str, **params: Any) -> dict[str, Any]:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        message = {"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params}
        self._server.stdin.write(json.dumps(message).encode() + b"\n")
        self._server.stdin.flush()
        answer: dict[str, Any] = json.loads(self._server.stdout.readline())
        return answer


def emit(**line: Any) -> None:
    print(json.dumps(line), flush=True)


class Conversation:
    """The conversation of one process: each message is a turn of its own."""

    def __init__(self, session: str, tools: ToolClient) -> None:
        self._session = session
        self._tools = tools
        self._numbers = count(1)
        self._interrupted = threading.Event()

    def answer_control(self, number: str, request: dict[str, Any]) -> None:
        if request["subtype"] == "interrupt":
            self._interrupted.set()
        servers = {"mcpServers": [{"name": SERVER, "status": "connected"}]}
        emit(type="control_response", response={"subtype": "success", "request_id": number, "response": servers})

    def take_turn(self, uuid: str, content: Any) -> None:
        text = content if isinstance(content, str) else content[0]["text"]
        _log_message(uuid)
        self._interrupted.clear()
        emit(type="system", subtype="session_state_changed", state="running")
        emit(type="system", subtype="init", session_id=self._session, model="soak", claude_code_version="2.1.0")
        emit(type="user", message={"role": "user", "content": text}, uuid=uuid, isReplay=True)
        emit(type="result", subtype="success", is_error=False, num_turns=1, result=self._work(text))
        emit(type="system", subtype="session_state_changed", state="idle")

    def _work(self, text: str) -> str:
        """Carry out the orders of a text and return the result of the turn."""
        for word, rest in read_orders(text):
            if self._interrupted.is_set():
                return "Interrupted."
            if word == "print":
                self._print(int(rest))
            elif word == "done":
                return "Reported." if self._tools.call("mc_report_done", summary=rest) else f"DONE: {rest}"
            elif word == "ask":
                token, _, question = rest.partition(" ")
                if token not in text.replace(f"soak: ask {token}", ""):
                    is_asked = self._tools.call("mc_ask_question", question=question)
                    return "Asked." if is_asked else f"QUESTION: {question}"
        return "Read."

    def _print(self, amount: int) -> None:
        for _ in range(amount):
            if self._interrupted.is_set():
                return
            block = {"type": "text", "text": TEXT}
            emit(type="assistant", message={"id": f"m-{next(self._numbers)}-{os.getpid()}", "content": [block]})
            time.sleep(PAUSE_SECONDS)


def read_orders(text: str) -> Iterator[tuple[str, str]]:
    """Yield the word and the rest of each order in a text."""
    for line in text.splitlines():
        if line.strip().startswith("soak: "):
            word, _, rest = line.strip().removeprefix("soak: ").partition(" ")
            yield word, rest


def _log_message(uuid: str) -> None:
    with suppress(KeyError), Path(os.environ[LOG_VARIABLE]).open("a") as log:
        log.write(f"{os.getpid()} {uuid}\n")


def main(argv: list[str]) -> int:
    """Read messages until the end of the session."""
    if "--version" in argv:
        print("2.1.0 (soak)")
        return 0
    options = dict(pairwise(argv))
    session = options.get("--resume") or options["--session-id"]
    conversation = Conversation(session, ToolClient(Path(options["--mcp-config"])))
    turns = threading.Lock()

    def take_turn(uuid: str, content: Any) -> None:
        with turns:
            conversation.take_turn(uuid, content)

    for line in sys.stdin:
        message = json.loads(line)
        if message["type"] == "control_request":
            if message["request"]["subtype"] == "end_session":
                return 0
            conversation.answer_control(message["request_id"], message["request"])
        elif message["type"] == "user":
            arguments = (message["uuid"], message["message"]["content"])
            threading.Thread(target=take_turn, args=arguments, daemon=True).start()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
