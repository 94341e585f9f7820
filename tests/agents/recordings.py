"""What the programs once printed, played back to their agents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.workers.runs import build_spec
from workers.agents import create_agent
from workers.contract.agent import AgentAdapter
from workers.contract.agent_events import AgentEvent

FOLDER = Path(__file__).resolve().parents[1] / "recordings"
NAMES = sorted(path.stem for path in FOLDER.glob("*.jsonl"))


def directed(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The messages of a recording with their direction, seen from the program: `in` or `out`."""
    for line in (FOLDER / f"{name}.jsonl").read_bytes().splitlines():
        message = json.loads(line)
        yield (message["dir"], message["msg"]) if "dir" in message else ("out", message)


def lines(name: str) -> list[bytes]:
    """What the program printed."""
    return [json.dumps(message).encode() for direction, message in directed(name) if direction == "out"]


def reader(name: str, folder: Path) -> AgentAdapter:
    """An agent of the program that made a recording, asking a person for every permission."""
    program = name.split("-")[0]
    agent = create_agent(program)
    agent.prepare(build_spec(folder, program=program, permissions="ask"), folder)
    return agent


def events(name: str, folder: Path) -> list[AgentEvent]:
    """All events of a recording, the agent asking for what the recorded client asked for."""
    return list(replay(reader(name, folder), name))


def replay(agent: AgentAdapter, name: str) -> Iterator[AgentEvent]:
    """Play a recording to an agent, one event after the other."""
    for direction, message in directed(name):
        if direction == "in":
            _ask(agent, message)
        else:
            yield from agent.parse(json.dumps(message).encode())
            agent.take_replies()


def _ask(agent: AgentAdapter, message: dict[str, Any]) -> None:
    """Codex numbers its replies after the requests, so the agent has to make them in the same order."""
    match message.get("method"):
        case "initialize":
            agent.open("the first prompt")
        case "turn/start" if message["id"] > 3:  # the first turn is the agent's own doing
            agent.send(f"message-{message['id']}", "a message")
        case "turn/steer":
            agent.send(f"message-{message['id']}", "a message")
        case "turn/interrupt":
            agent.interrupt()
