"""The descriptor of Claude Code."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workers.agents.descriptor import LogIn, ProgramDescriptor, TranscriptFiles
from workers.contract.agent import AgentAdapter

from .wordings import WORDINGS

if TYPE_CHECKING:
    from workers.agents.own_configuration import OwnConfiguration
    from workers.agents.tui.screen import Screen


def create_agent(argv: Sequence[str]) -> AgentAdapter:
    from .program import ClaudeAgent

    return ClaudeAgent()


def create_screen() -> Screen:
    from .screen import ClaudeScreen

    return ClaudeScreen()


def has_log_in(home: Path, variables: Collection[str]) -> bool:
    from . import user_configuration

    return user_configuration.has_log_in(home, variables)


def read_own_configuration(home: Path, repository: Path | None) -> OwnConfiguration:
    from . import user_configuration

    return user_configuration.read_configuration(home, repository)


DESCRIPTOR = ProgramDescriptor(
    create_agent=create_agent,
    create_screen=create_screen,
    log_in=LogIn(".claude", ".credentials.json", "Run `claude` in a terminal and log in, or set ANTHROPIC_API_KEY."),
    has_other_log_in=has_log_in,
    read_own_configuration=read_own_configuration,
    transcripts=TranscriptFiles("projects/*/{}.jsonl", mark=b'"type":"user"'),
    version_environment={"DISABLE_AUTOUPDATER": "1"},
    wordings=WORDINGS,
)
