"""The programs that Mission Control can run as agents, by name.

Each module is loaded only when its program is used: a wrapper holds one agent and stays small.
"""

from __future__ import annotations

from importlib import import_module

from workers.agents.base import Agent

_AGENTS = {
    "script": ("workers.agents.script", "ScriptAgent"),
    "claude": ("workers.agents.claude", "ClaudeAgent"),
    "codex": ("workers.agents.codex", "CodexAgent"),
}
PROGRAMS = tuple(_AGENTS)


class UnknownProgram(Exception):
    """No agent of this name is known."""


def agent_for(program: str) -> Agent:
    """A fresh agent for one run of `program`; raises `UnknownProgram`."""
    if program not in _AGENTS:
        raise UnknownProgram(program)
    module, name = _AGENTS[program]
    agent: Agent = getattr(import_module(module), name)()
    return agent
