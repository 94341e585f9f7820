"""The descriptor of the built-in script agent."""

from __future__ import annotations

from collections.abc import Sequence

from workers.agents.descriptor import ProgramDescriptor
from workers.contract.agent import AgentAdapter


def create_agent(argv: Sequence[str]) -> AgentAdapter:
    from .program import ScriptAgent

    return ScriptAgent()


DESCRIPTOR = ProgramDescriptor(create_agent=create_agent)
