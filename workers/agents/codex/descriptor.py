"""The descriptor of Codex."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workers.agents.descriptor import JoinCommand, LogIn, ProgramDescriptor, TranscriptFiles
from workers.contract.agent import AgentAdapter
from workers.contract.spec import RunSpec

from .wordings import WORDINGS

if TYPE_CHECKING:
    from workers.agents.own_configuration import OwnConfiguration
    from workers.agents.tui.screen import Screen


def create_agent(argv: Sequence[str]) -> AgentAdapter:
    """With `exec` as the first argument of its profile it works one turn and takes no messages."""
    if list(argv[:1]) == ["exec"]:
        from .one_turn import CodexExecAgent

        return CodexExecAgent()
    from .program import CodexAgent

    return CodexAgent()


def create_screen() -> Screen:
    from .screen import CodexScreen

    return CodexScreen()


def join_run(spec: RunSpec, conversation: str) -> JoinCommand | None:
    """Codex's own screen on the server of the run."""
    from .program import CodexAgent, build_join_argv, build_socket_path

    if not build_socket_path(spec).exists():
        return None
    return JoinCommand(build_join_argv(spec, conversation), CodexAgent().environment(spec))


def has_log_in(home: Path, variables: Collection[str]) -> bool:
    from . import user_configuration

    return user_configuration.has_log_in(home, variables)


def read_own_configuration(home: Path, repository: Path | None) -> OwnConfiguration:
    from . import user_configuration

    return user_configuration.read_configuration(home, repository)


DESCRIPTOR = ProgramDescriptor(
    create_agent=create_agent,
    create_screen=create_screen,
    join_run=join_run,
    log_in=LogIn(".codex", "auth.json", "Run `codex login` in a terminal, or set OPENAI_API_KEY."),
    has_other_log_in=has_log_in,
    read_own_configuration=read_own_configuration,
    transcripts=TranscriptFiles("sessions/*/*/*/rollout-*-{}.jsonl*"),
    wordings=WORDINGS,
)
