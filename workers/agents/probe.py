"""Probes for installed programs, their versions and the log-ins of agents."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from protocol import AGENT_PROGRAMS, AgentProgram
from workers.host import commands, sandbox

from .descriptor import LogIn, load_descriptor

VERSION_SECONDS = 10.0
VERSION_PATTERN = re.compile(r"\d+(?:\.\d+)+[a-z]?\b")


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of one probe. `logged_in` is None for a program without a log-in, and when it cannot be determined.

    `advice` says what a person should do next; it is empty when there is nothing to do.
    """

    name: str
    path: str | None
    version: str | None
    found: bool
    logged_in: bool | None
    advice: str


@dataclass(frozen=True, slots=True)
class _ProgramDefinition:
    """A program worth looking for. The presence of its log-in's file or of a variable is a log-in."""

    name: str
    install: str
    ask: str = "--version"
    environment: Mapping[str, str] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    log_in: LogIn | None = None


TOOLS = (
    _ProgramDefinition("tmux", "Install tmux: every run lives in one of its panes.", ask="-V"),
    _ProgramDefinition("git", "Install git: projects are worked on in its worktrees."),
    _ProgramDefinition("node", "Install Node.js if an agent or a project needs it."),
    _ProgramDefinition("gh", "Install the GitHub command line to let agents work with pull requests."),
    _ProgramDefinition("glab", "Install the GitLab command line to let agents work with merge requests."),
)


SANDBOX_ADVICE = (
    "Until then Claude Code runs an allow-list of commands, and Codex only what its own sandbox can do: install bubblewrap"
    " and socat (sudo apt-get install bubblewrap socat), and allow user namespaces."
)


def _agent_program(name: str, program: AgentProgram) -> _ProgramDefinition:
    descriptor = load_descriptor(name)
    return _ProgramDefinition(
        name,
        f"Install {program.title}, or work with another agent.",
        environment=descriptor.version_environment,
        variables=program.log_in_variables,
        log_in=descriptor.log_in,
    )


def probe_programs(
    home: Path,
    variables: Collection[str] = (),
    binaries: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
) -> list[ProbeResult]:
    """Probe all known programs at once.

    `variables` are the names (never the values) of the variables that agents get; `binaries` and `folders` name
    another executable or configuration folder for a program. Only the existence of credentials is checked.
    """

    def probe_one(definition: _ProgramDefinition) -> ProbeResult:
        folder = (folders or {}).get(definition.name, home / definition.log_in.folder if definition.log_in else home)
        binary = (binaries or {}).get(definition.name, definition.name)
        return _probe_program(definition, binary, folder, home, variables)

    every = [*(_agent_program(*entry) for entry in AGENT_PROGRAMS.items() if not entry[1].built_in), *TOOLS]
    with ThreadPoolExecutor(len(every)) as pool:
        return [*pool.map(probe_one, every), _probe_sandbox()]


def _probe_sandbox() -> ProbeResult:
    """Probe whether the commands of agents can be confined to their workspace."""
    reason = sandbox.explain_absence()
    advice = f"{reason[:1].upper()}{reason[1:]}. {SANDBOX_ADVICE}" if reason else ""
    return ProbeResult("sandbox", shutil.which("bwrap"), None, not reason, None, advice)


def _probe_program(
    definition: _ProgramDefinition, binary: str, folder: Path, home: Path, variables: Collection[str]
) -> ProbeResult:
    path = shutil.which(binary)
    if path is None:
        return ProbeResult(definition.name, None, None, found=False, logged_in=None, advice=definition.install)
    version, logged_in = _read_version(path, definition), _is_logged_in(definition, folder, home, variables)
    advice = "" if version else f"{path} does not tell its version: it may be broken."
    if definition.log_in and logged_in is False:
        advice = definition.log_in.advice
    return ProbeResult(definition.name, path, version, True, logged_in, advice)


def _read_version(path: str, definition: _ProgramDefinition) -> str | None:
    environment = [f"{name}={value}" for name, value in definition.environment.items()]
    try:
        result = commands.run(["env", *environment, path, definition.ask], timeout=VERSION_SECONDS)
    except OSError:
        return None
    match = VERSION_PATTERN.search(result.text) if result.code == 0 else None
    return match.group() if match else None


def _is_logged_in(definition: _ProgramDefinition, folder: Path, home: Path, variables: Collection[str]) -> bool | None:
    if definition.log_in is None:
        return None
    if set(definition.variables) & set(variables) or (folder / definition.log_in.file).is_file():
        return True
    if load_descriptor(definition.name).has_other_log_in(home, variables):
        return True
    return None if sys.platform == "darwin" else False  # on macOS a log-in may be in the keychain
