"""The descriptor of an agent program: how the machine that runs it starts, reads and recognises it.

Each program has one, as `DESCRIPTOR` in `workers/agents/<name>/descriptor.py`; its name, title and abilities stand in
`protocol.AGENT_PROGRAMS`, which the board reads too. A descriptor imports its program's modules only when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from protocol import AGENT_PROGRAMS
from workers.agents.own_configuration import OwnConfiguration
from workers.contract.agent import AgentAdapter
from workers.contract.spec import RunSpec

if TYPE_CHECKING:
    from workers.agents.tui.screen import Screen


class UnknownProgram(Exception):
    """No agent of this name is known, or not in this mode."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """The file of a program's own log-in, `file` in the configuration folder `folder` below the home folder.

    `advice` tells a person how to log in.
    """

    folder: str
    file: str
    advice: str


@dataclass(frozen=True, slots=True)
class TranscriptFiles:
    """The files of a conversation below the configuration folder; `{}` in `pattern` is the conversation's name.

    A file without a line that holds `mark` cannot be resumed.
    """

    pattern: str
    mark: bytes = b""


@dataclass(frozen=True, slots=True)
class JoinCommand:
    """The command line of a screen on which a person joins a run, and what it adds to the run's environment."""

    argv: list[str]
    environment: Mapping[str, str]


def _find_no_log_in(home: Path, variables: Collection[str]) -> bool:
    """No log-in: this program has none beside its file and variables."""
    return False


def _read_nothing(home: Path, repository: Path | None) -> OwnConfiguration:
    """No configuration: this program reads none in the home folder."""
    return OwnConfiguration()


def _refuse_screen() -> Screen:
    raise UnknownProgram("this program has no screen of its own")


def _refuse_to_join(spec: RunSpec, conversation: str) -> None:
    """No command: nobody can take part in a run of this program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramDescriptor:
    """One agent program.

    `create_agent` takes the arguments of the profile; `create_screen` is for a program with `has_screen`. `join_run`
    takes the run's conversation and returns None while nobody can take part in it. `has_other_log_in` takes the home folder
    and the names of the agents' variables, and finds a log-in in the program's settings there. `read_own_configuration`
    takes the home folder and the repository. `version_environment` is added when
    the program is asked for its version. `wordings` maps failure classes to regular expressions of what this program
    says, beside the general ones of `error_classifier`.
    """

    create_agent: Callable[[Sequence[str]], AgentAdapter]
    create_screen: Callable[[], Screen] = _refuse_screen
    join_run: Callable[[RunSpec, str], JoinCommand | None] = _refuse_to_join
    log_in: LogIn | None = None
    has_other_log_in: Callable[[Path, Collection[str]], bool] = _find_no_log_in
    read_own_configuration: Callable[[Path, Path | None], OwnConfiguration] = _read_nothing
    transcripts: TranscriptFiles | None = None
    version_environment: Mapping[str, str] = field(default_factory=dict)
    wordings: Mapping[str, str] = field(default_factory=dict)


def load_descriptor(program: str) -> ProgramDescriptor:
    """The descriptor of a program; raises `UnknownProgram`."""
    if program not in AGENT_PROGRAMS:
        raise UnknownProgram(program)
    descriptor: ProgramDescriptor = import_module(f"workers.agents.{program}.descriptor").DESCRIPTOR
    return descriptor
