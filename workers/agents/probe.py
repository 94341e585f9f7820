"""Probes for installed programs, their versions and the log-ins of agents."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from workers.host import commands

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
    """A program to probe. `credentials` below `folder`, or one of its variables, counts as a log-in."""

    name: str
    install: str
    ask: str = "--version"
    folder: str = ""
    credentials: str = ""
    variables: tuple[str, ...] = field(default=())
    log_in: str = ""


PROGRAM_DEFINITIONS = (
    _ProgramDefinition(
        "claude",
        "Install Claude Code, or work with another agent.",
        folder=".claude",
        credentials=".credentials.json",
        variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        log_in="Run `claude` in a terminal and log in, or set ANTHROPIC_API_KEY.",
    ),
    _ProgramDefinition(
        "codex",
        "Install Codex, or work with another agent.",
        folder=".codex",
        credentials="auth.json",
        variables=("OPENAI_API_KEY", "CODEX_API_KEY"),
        log_in="Run `codex login` in a terminal, or set OPENAI_API_KEY.",
    ),
    _ProgramDefinition("tmux", "Install tmux: every run lives in one of its panes.", ask="-V"),
    _ProgramDefinition("git", "Install git: projects are worked on in its worktrees."),
    _ProgramDefinition("node", "Install Node.js if an agent or a project needs it."),
    _ProgramDefinition("gh", "Install the GitHub command line to let agents work with pull requests."),
    _ProgramDefinition("glab", "Install the GitLab command line to let agents work with merge requests."),
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
        folder = (folders or {}).get(definition.name, home / definition.folder)
        return _probe_program(definition, (binaries or {}).get(definition.name, definition.name), folder, variables)

    with ThreadPoolExecutor(len(PROGRAM_DEFINITIONS)) as pool:
        return list(pool.map(probe_one, PROGRAM_DEFINITIONS))


def _probe_program(
    definition: _ProgramDefinition, binary: str, folder: Path, variables: Collection[str]
) -> ProbeResult:
    path = shutil.which(binary)
    if path is None:
        return ProbeResult(definition.name, None, None, found=False, logged_in=None, advice=definition.install)
    version, logged_in = _read_version(path, definition.ask), _is_logged_in(definition, folder, variables)
    advice = "" if version else f"{path} does not tell its version: it may be broken."
    return ProbeResult(
        definition.name, path, version, True, logged_in, definition.log_in if logged_in is False else advice
    )


def _read_version(path: str, ask: str) -> str | None:
    """Read the version of a program. The variable keeps Claude Code from updating itself in the meantime."""
    try:
        result = commands.run(["env", "DISABLE_AUTOUPDATER=1", path, ask], timeout=VERSION_SECONDS)
    except OSError:
        return None
    match = VERSION_PATTERN.search(result.text) if result.code == 0 else None
    return match.group() if match else None


def _is_logged_in(definition: _ProgramDefinition, folder: Path, variables: Collection[str]) -> bool | None:
    if not definition.credentials:
        return None
    if set(definition.variables) & set(variables) or (folder / definition.credentials).is_file():
        return True
    return None if sys.platform == "darwin" else False  # on macOS a log-in may be in the keychain
