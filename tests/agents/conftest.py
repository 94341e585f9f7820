"""The real programs, their model service and a run's folders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import model_server
from tests.model_server import ModelServer
from tests.workers.runs import build_spec
from workers.agents.coordination import SERVER_COMMAND
from workers.contract.spec import RunSpec

from .conversation import Conversation
from .programs import build_arguments, build_environment, find_binary

Start = Callable[..., Conversation]


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    with model_server.start() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("workspace", "home"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def short_folder() -> Iterator[str]:
    """A folder for temporary files whose path leaves room for the sockets of Claude Code's sandbox."""
    with tempfile.TemporaryDirectory(prefix="mc-t-") as path:
        yield path


@pytest.fixture
def spec(folder: Path, short_folder: str, model: ModelServer) -> Callable[..., RunSpec]:
    """Specs of a program in this test's folders, pointed at the model server."""

    def make(program: str, **changes: Any) -> RunSpec:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        env |= {"TMPDIR": short_folder, "MC_RUN_ID": "12", **build_environment(program, model.url)}
        fields: dict[str, Any] = {"program": program, "binary": str(find_binary(program)), "env": env}
        fields |= {"model": "claude-sonnet-4-5" if program == "claude" else "gpt-5.1-codex"}
        fields |= {"permissions": "workspace", "argv": build_arguments(program, model.url)}
        fields |= {"mcp_command": SERVER_COMMAND}
        return build_spec(folder, **fields | changes)

    return make


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts conversations and kills what is left of them after the test."""
    conversations: list[Conversation] = []

    def begin(spec: RunSpec, prompt: str) -> Conversation:
        conversation = Conversation(spec, folder / "run")
        conversations.append(conversation)
        conversation.say(conversation.agent.open(prompt))
        return conversation

    yield begin
    for conversation in conversations:
        conversation.__exit__(None, None, None)
