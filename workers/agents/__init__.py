"""The programs that Mission Control can run as agents; see `workers.agents.descriptor`.

Each program's modules are loaded only when it is used: a wrapper holds one agent and stays small.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol import AGENT_PROGRAMS, WrapperMode
from workers.contract.agent import AgentAdapter

from .descriptor import UnknownProgram, load_descriptor

__all__ = ["UnknownProgram", "create_agent", "load_descriptor"]


def create_agent(program: str, mode: WrapperMode = "headless", argv: Sequence[str] = ()) -> AgentAdapter:
    """A fresh agent for one run of `program` with the profile's arguments `argv`; raises `UnknownProgram`."""
    descriptor = load_descriptor(program)
    if mode == "headless":
        return descriptor.create_agent(argv)
    if not AGENT_PROGRAMS[program].has_screen:
        raise UnknownProgram(f"{program} has no screen of its own")
    from .screen_agent import ScreenAgent

    return ScreenAgent()
