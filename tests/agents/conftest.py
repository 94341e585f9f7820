"""The real programs, their model service and a run's folders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests import model_server
from tests.agents.conversation import Conversation
from tests.model_server import ModelServer
from tests.workers.runs import spec_for
from workers.spec import RunSpec

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"claude": ("claude_agent_sdk", "_bundled/claude"), "codex": ("codex_cli_bin", "bin/codex")}

Start = Callable[..., Conversation]


def binary(program: str) -> Path:
    """The program's own binary as its package brings it; the test is skipped where it is not installed."""
    package, path = PROGRAMS[program]
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / path


def version(program: str) -> str:
    """What the installed program calls its version, for the test's name."""
    try:
        said = subprocess.run([binary(program), "--version"], capture_output=True, text=True, env={}, timeout=20)
    except pytest.skip.Exception:
        return "absent"
    return next((word for word in said.stdout.split() if word[:1].isdigit()), "unknown")


@pytest.fixture(scope="session")
def model() -> Iterator[ModelServer]:
    with model_server.start() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("workspace", "home", "tmp"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def spec(folder: Path, model: ModelServer) -> Callable[..., RunSpec]:
    """Specs of a program in this test's folders, pointed at the model server."""

    def make(program: str, **changes: Any) -> RunSpec:
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}
        env |= {"TMPDIR": str(folder / "tmp"), "MC_RUN_ID": "12", **_service(program, model.url)}
        mine: dict[str, Any] = {"program": program, "binary": str(binary(program)), "env": env}
        mine |= {"model": "claude-sonnet-4-5" if program == "claude" else "gpt-5.1-codex"}
        mine |= {"permissions": "accept_edits", "argv": _arguments(program, model.url)}
        mine |= {"mcp_command": (sys.executable, str(ROOT / "mc_coordination_mcp.py"))}
        return spec_for(folder, **mine | changes)

    return make


@pytest.fixture
def start(folder: Path) -> Iterator[Start]:
    """Starts conversations and kills what is left of them after the test."""
    begun: list[Conversation] = []

    def begin(spec: RunSpec, prompt: str) -> Conversation:
        talk = Conversation(spec, folder / "run")
        begun.append(talk)
        talk.say(talk.agent.open(prompt))
        return talk

    yield begin
    for talk in begun:
        talk.__exit__(None, None, None)


def signal_of(folder: Path) -> dict[str, Any]:
    """The verdict that the coordination server left on disk."""
    found: dict[str, Any] = json.loads((folder / "run/signal.json").read_bytes())
    return found


def _service(program: str, url: str) -> dict[str, str]:
    if program == "codex":
        return {"STUB_API_KEY": "dummy"}
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": "dummy",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "IS_SANDBOX": "1",
    }


def _arguments(program: str, url: str) -> tuple[str, ...]:
    if program != "codex":
        return ()
    provider = {"name": "Loopback", "base_url": f"{url}/v1", "env_key": "STUB_API_KEY", "wire_api": "responses"}
    limits = {"request_max_retries": 0, "stream_max_retries": 1, "supports_websockets": False}
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (provider | limits).items())
    return ("-c", 'model_provider="loopback"', "-c", f"model_providers.loopback={{ {fields} }}")
