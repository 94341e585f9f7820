"""Which programs this machine has, in which version, and whether the agents among them are logged in."""

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
VERSION = re.compile(r"\d+(?:\.\d+)+[a-z]?\b")


@dataclass(frozen=True, slots=True)
class Program:
    """What was found. `logged_in` is None for a program without a log-in, and where it cannot be known.

    `advice` says what a person should do next; it is empty when there is nothing to do.
    """

    name: str
    path: str | None
    version: str | None
    found: bool
    logged_in: bool | None
    advice: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A program worth looking for. The presence of `credentials` below `folder` or of a variable is a
    log-in.
    """

    name: str
    install: str
    ask: str = "--version"
    folder: str = ""
    credentials: str = ""
    variables: tuple[str, ...] = field(default=())
    log_in: str = ""


KNOWN = (
    _Known(
        "claude",
        "Install Claude Code, or work with another agent.",
        folder=".claude",
        credentials=".credentials.json",
        variables=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        log_in="Run `claude` in a terminal and log in, or set ANTHROPIC_API_KEY.",
    ),
    _Known(
        "codex",
        "Install Codex, or work with another agent.",
        folder=".codex",
        credentials="auth.json",
        variables=("OPENAI_API_KEY", "CODEX_API_KEY"),
        log_in="Run `codex login` in a terminal, or set OPENAI_API_KEY.",
    ),
    _Known("tmux", "Install tmux: every run lives in one of its panes.", ask="-V"),
    _Known("git", "Install git: projects are worked on in its worktrees."),
    _Known("node", "Install Node.js if an agent or a project needs it."),
    _Known("gh", "Install the GitHub command line to let agents work with pull requests."),
    _Known("glab", "Install the GitLab command line to let agents work with merge requests."),
)


def programs(
    home: Path,
    variables: Collection[str] = (),
    binaries: Mapping[str, str] | None = None,
    folders: Mapping[str, Path] | None = None,
) -> list[Program]:
    """Look for all known programs at once.

    `variables` are the names (never the values) of what is set for agents; `binaries` and `folders` name
    another executable or configuration folder for a program. Of credentials only the presence is looked at.
    """

    def look(known: _Known) -> Program:
        folder = (folders or {}).get(known.name, home / known.folder)
        return _probe(known, (binaries or {}).get(known.name, known.name), folder, variables)

    with ThreadPoolExecutor(len(KNOWN)) as pool:
        return list(pool.map(look, KNOWN))


def _probe(known: _Known, binary: str, folder: Path, variables: Collection[str]) -> Program:
    path = shutil.which(binary)
    if path is None:
        return Program(known.name, None, None, found=False, logged_in=None, advice=known.install)
    version, logged_in = _version(path, known.ask), _is_logged_in(known, folder, variables)
    advice = "" if version else f"{path} does not tell its version: it may be broken."
    return Program(known.name, path, version, True, logged_in, known.log_in if logged_in is False else advice)


def _version(path: str, ask: str) -> str | None:
    """`env` keeps Claude Code from updating itself when it is only asked for its version."""
    try:
        said = commands.run(["env", "DISABLE_AUTOUPDATER=1", path, ask], timeout=VERSION_SECONDS)
    except OSError:
        return None
    found = VERSION.search(said.text) if said.code == 0 else None
    return found.group() if found else None


def _is_logged_in(known: _Known, folder: Path, variables: Collection[str]) -> bool | None:
    if not known.credentials:
        return None
    if set(known.variables) & set(variables) or (folder / known.credentials).is_file():
        return True
    return None if sys.platform == "darwin" else False  # there, a log-in may be in the keychain
