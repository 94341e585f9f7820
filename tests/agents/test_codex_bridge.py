"""The real Codex behind its bridge: one conversation on a socket that others may join, and nothing left at its end."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from websockets.sync.client import ClientConnection, unix_connect

from tests.workers.fake_api import FakeApi, serving
from tests.workers.runs import Run, running
from workers.agents.codex.program import build_socket_path
from workers.contract.spec import RunSpec
from workers.host import processes

from .conftest import Start
from .programs import CODEX, TOOL_PREFIX, find_binary

pytestmark = [pytest.mark.agents, pytest.mark.parametrize("program", [CODEX])]

Make = Callable[..., RunSpec]
Begin = Callable[..., Run]
GATE = "[[bash: cat gate]]"


@pytest.fixture
def board() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def begin(folder: Path, spec: Make, board: FakeApi, program: str) -> Iterator[Begin]:
    """Starts a wrapper; nothing of its run is left after the test."""
    contexts: list[Any] = []

    def start(prompt: str, **changes: Any) -> Run:
        values = asdict(spec(program, permissions="unrestricted", **changes))
        fields = {name: values[name] for name in ("program", "binary", "env", "model", "argv", "permissions")}
        os.mkfifo(folder / "workspace/gate")
        contexts.append(running(folder, board.base, prompt, mcp_command=values["mcp_command"], **fields))
        run: Run = contexts[-1].__enter__()
        return run

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def ask(peer: ClientConnection, number: int, method: str, **params: Any) -> Any:
    """The result of a request; what else is told meanwhile is passed over."""
    peer.send(json.dumps({"id": number, "method": method, "params": params}))
    while (message := json.loads(peer.recv(timeout=20))).get("id") != number:
        pass
    return message["result"]


def test_a_run_reports_through_its_tools_and_leaves_no_process_and_no_socket(program: str, begin: Begin) -> None:
    report = f'[[tool: {TOOL_PREFIX[program]}mc_report_done {{"summary":"Said hello"}}]]'
    run = begin(f"[[bash: echo hello]]{report}[[say: That is all.]]")
    outcome = run.wait()
    assert (outcome["verdict"], outcome["summary"], outcome["exit_code"]) == ("done", "Said hello", 0), run.screen
    assert run.events("agent.raw") == [] and run.survivors() == []
    assert not os.path.lexists(build_socket_path(run.spec))
    assert not any("socket" in notice["text"] for notice in run.events("agent.notice"))


def test_a_second_client_sees_the_same_turn_and_its_end_ends_nothing(program: str, begin: Begin) -> None:
    run = begin(f"{GATE}[[say: DONE: The gate was open.]]", mcp_command=None)
    run.event("agent.tool_call")
    thread = run.event("agent.session")["conversation_id"]
    place = build_socket_path(run.spec)
    assert place.stat().st_mode & 0o777 == 0o600
    with unix_connect(str(place), "ws://localhost/", compression=None) as peer:
        ask(peer, 1, "initialize", clientInfo={"name": "second", "title": "Second", "version": "1"})
        peer.send(json.dumps({"method": "initialized"}))
        resumed = ask(peer, 2, "thread/resume", threadId=thread)["thread"]
        assert GATE in json.dumps(resumed["turns"])
        (run.dir.parent / "workspace/gate").write_text("open")
        while "DONE: The gate was open." not in str(peer.recv(timeout=20)):
            pass
    assert run.wait()["summary"] == "The gate was open."


def test_a_bridge_that_is_killed_ends_the_run_as_a_crash_with_nothing_left_alive(program: str, begin: Begin) -> None:
    run = begin(f"{GATE}[[say: DONE: Never.]]", mcp_command=None)
    run.event("agent.tool_call")
    assert run.wrapper
    [bridge] = [process for process in processes.list_tree(run.wrapper.pid) if is_bridge(process.pid)]
    family = processes.list_tree(bridge.pid)
    assert len(family) >= 3, "the bridge, the server, its tool"

    os.kill(bridge.pid, signal.SIGKILL)

    outcome = run.wait()
    assert (outcome["verdict"], outcome["failure"]["class"], outcome["exit_code"]) == (
        "failed",
        "killed",
        -signal.SIGKILL,
    )
    assert run.survivors() == [] and not any(map(processes.is_alive, family))


def test_a_run_that_is_stopped_in_a_tool_takes_the_server_with_it(program: str, begin: Begin) -> None:
    run = begin(f"{GATE}[[say: DONE: Never.]]", mcp_command=None)
    run.event("agent.tool_call")
    assert run.wrapper
    run.wrapper.terminate()
    assert run.wait()["verdict"] == "stopped"
    assert run.survivors() == [] and not os.path.lexists(build_socket_path(run.spec))


def test_a_bridge_whose_wrapper_is_gone_ends_with_its_server(program: str, spec: Make, start: Start) -> None:
    marker = f"MC_RUN_ID={uuid4().hex}"
    run_spec = spec(program, mcp_command=None)
    name, _, value = marker.partition("=")
    conversation = start(replace(run_spec, env={**run_spec.env, name: value}), "[[hang: 60]]")
    conversation.until("state", state="running")
    assert processes.find_by_marker(marker)
    assert conversation.finish() == 0
    assert processes.find_by_marker(marker) == []


NO_SOCKETS = """#!/bin/sh
for word; do [ "$word" = --listen ] && {{ echo "unexpected argument '--listen'" >&2; exit 2; }}; done
exec {codex} "$@"
"""


def test_a_codex_without_sockets_works_on_pipes_and_says_so(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    old = folder / "old-codex"
    old.write_text(NO_SOCKETS.format(codex=find_binary(program)))
    old.chmod(0o755)
    conversation = start(spec(program, mcp_command=None, binary=str(old)), "[[say: DONE: On pipes.]]")
    assert "no socket" in conversation.until("notice").payload["text"]
    assert conversation.until("result").payload["text"] == "DONE: On pipes.", conversation.describe_events()
    assert conversation.finish() == 0


def is_bridge(pid: int) -> bool:
    return b"\0workers.agents.codex.bridge\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
