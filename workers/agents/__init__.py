"""The agent programs that Mission Control can run, by name.

Each module is loaded only when its program is used, so that a wrapper with its one agent stays small.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from workers.contract.agent import AgentAdapter
from workers.contract.spec import Mode

_SCREEN = ("workers.agents.screen_agent", "ScreenAgent")
_AGENTS = {
    "script": ("workers.agents.script.program", "ScriptAgent"),
    "claude": ("workers.agents.claude.program", "ClaudeAgent"),
    "codex": ("workers.agents.codex.program", "CodexAgent"),
}
_ONE_TURN = ("workers.agents.codex.one_turn", "CodexExecAgent")
PROGRAMS = tuple(_AGENTS)


SCREEN_PROGRAMS = ("claude", "codex")
"""Programs that have a screen of their own (mode `tui`)."""


class UnknownProgram(Exception):
    """There is no agent of this name, or not in this mode."""


def create_agent(program: str, mode: Mode = "headless", argv: Sequence[str] = ()) -> AgentAdapter:
    """Create an adapter for one run of `program`. Raises `UnknownProgram`.

    `argv` are the profile's arguments. Codex with `exec` as the first of them works one turn and takes no messages.
    """
    if program not in _AGENTS:
        raise UnknownProgram(program)
    if mode == "tui" and program not in SCREEN_PROGRAMS:
        raise UnknownProgram(f"{program} has no screen of its own")
    once = program == "codex" and list(argv[:1]) == ["exec"]
    module, name = _SCREEN if mode == "tui" else _ONE_TURN if once else _AGENTS[program]
    agent: AgentAdapter = getattr(import_module(module), name)()
    return agent
