"""The real programs as the tests start them, and where they differ."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from workers.agents.coordination import LOCK_FILE

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"claude": ("claude_agent_sdk", "_bundled/claude"), "codex": ("codex_cli_bin", "bin/codex")}

TOOL_PREFIX = {"claude": "mcp__mc-coord__", "codex": "mcp__mc_coord/"}
"""How a script for the model server names a tool of mc-coord."""


def find_binary(program: str) -> Path:
    """The program's own binary as its package brings it; the test is skipped where it is not installed."""
    package, path = PROGRAMS[program]
    package_spec = find_spec(package)
    if package_spec is None or not package_spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(package_spec.submodule_search_locations[0]) / path


def read_version(program: str) -> str:
    """What the installed program calls its version, for the test's name."""
    try:
        completed = subprocess.run(
            [find_binary(program), "--version"], capture_output=True, text=True, env={}, timeout=20
        )
    except pytest.skip.Exception:
        return "absent"
    return next((word for word in completed.stdout.split() if word[:1].isdigit()), "unknown")


def build_environment(program: str, url: str) -> dict[str, str]:
    """The environment that leads a program to the model server."""
    if program == "codex":
        return {"LOOPBACK_API_KEY": "dummy"}
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_AUTH_TOKEN": "dummy",
        "CLAUDE_CODE_MAX_RETRIES": "1",
        "IS_SANDBOX": "1",
    }


def build_arguments(program: str, url: str) -> tuple[str, ...]:
    """The arguments that lead a program to the model server."""
    if program != "codex":
        return ()
    provider = {"name": "Loopback", "base_url": f"{url}/v1", "env_key": "LOOPBACK_API_KEY", "wire_api": "responses"}
    limits = {"request_max_retries": 0, "stream_max_retries": 1, "supports_websockets": False}
    fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in (provider | limits).items())
    plans = ("-c", "tools.update_plan.enabled=true")  # which the program's own list of models decides otherwise
    return ("-c", 'model_provider="loopback"', "-c", f"model_providers.loopback={{ {fields} }}", *plans)


def start_slowly(command: tuple[str, ...]) -> tuple[str, ...]:
    """Delay a program's start: a coordination server that the first turn has to wait for."""
    return ("/bin/sh", "-c", 'sleep 2; exec "$0" "$@"', *command)


def fail_at_first(command: tuple[str, ...], folder: Path, program: str) -> tuple[str, ...]:
    """Make a coordination server fail until it is restarted: Claude itself tries twice, Codex once. Then it starts slowly."""
    script = 'echo >> "$0"; [ $(wc -l < "$0") -gt "$1" ] || exit 1; shift; sleep 1; exec "$@"'
    return ("/bin/sh", "-c", script, str(folder / "starts"), "2" if program == "claude" else "1", *command)


def end_on_request(command: tuple[str, ...], run_dir: Path, request: Path) -> tuple[str, ...]:
    """Make a coordination server be killed as soon as a file exists, which is removed once nothing is left of the server."""
    wait = 'while [ ! -e "$0" ]; do kill -0 $$ 2>/dev/null || exit; sleep 0.05; done; kill -9 $$'
    script = f'({wait}; until flock -n "$1" true; do sleep 0.05; done; rm "$0") & shift; exec "$@"'
    return ("/bin/sh", "-c", script, str(request), str(run_dir / LOCK_FILE), *command)


CLAUDE = pytest.param("claude", id=f"claude-{read_version('claude')}")
CODEX = pytest.param("codex", id=f"codex-{read_version('codex')}")
both = pytest.mark.parametrize("program", [CLAUDE, CODEX])
claude = pytest.mark.parametrize("program", [CLAUDE])
