"""Submodules of a worktree, initialised from the objects of the project's own folder or else from their address.

Only what the base commit declares is initialised, so that an agent's branch cannot name an address to which git then
goes with the operator's credentials. The repository's own configuration is not changed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from redaction import omit_start

from . import git, isolation

FETCH_SECONDS = 600.0
MAX_NOTE_LENGTH = 500


@dataclass(frozen=True, slots=True)
class _Submodule:
    name: str
    path: str


def initialise_submodules(workspace: Path, base: str) -> tuple[str, ...]:
    """Check out the submodules of a worktree, and return a sentence for each that cannot be. Raises `git.GitError`."""
    entries = _resolve_declaration(workspace, base)
    if entries is None:
        return ()
    if entries != _resolve_declaration(workspace, "HEAD"):
        return ("Submodules are not initialised: the branch changes .gitmodules, and a person has not reviewed that.",)
    submodules = _list_submodules(workspace)
    if has_modules(workspace) or any(os.path.lexists(workspace / entry.path / ".git") for entry in submodules):
        return ("Submodules are not initialised: their git folders are of an earlier run. Set the slot aside.",)
    return tuple(note for submodule in submodules if (note := _initialise(workspace, submodule)))


def has_modules(workspace: Path) -> bool:
    """Return True when there are git folders of submodules, whose settings an agent may have written.

    git runs the commands that they name, such as filters, as it enters a submodule with the submodule's own settings.
    """
    return os.path.lexists(git.find_git_dir(workspace) / isolation.MODULES_ENTRY)


def _resolve_declaration(workspace: Path, revision: str) -> str | None:
    """Resolve the object of `.gitmodules` in a commit."""
    entry = f"{git.validate_revision(revision)}:.gitmodules"
    done = git.run(workspace, "rev-parse", "--quiet", "--verify", entry)
    return done.text.strip() if done.code == 0 else None


def _list_submodules(workspace: Path) -> list[_Submodule]:
    entries = git.check_output(
        workspace, "config", "--blob=HEAD:.gitmodules", "-z", "--get-regexp", r"^submodule\..*\.path$"
    )
    pairs = [entry.split("\n", 1) for entry in entries.split("\0") if entry]
    return [_Submodule(key.removeprefix("submodule.").removesuffix(".path"), path) for key, path in pairs]


def _initialise(workspace: Path, submodule: _Submodule) -> str | None:
    """Check one submodule out. Returns the reason why that is impossible."""
    local = git.find_common_dir(workspace) / "modules" / submodule.name
    options = (
        ("-c", f"submodule.{submodule.name}.url={local}", "-c", "protocol.file.allow=always") if local.is_dir() else ()
    )
    update = ("submodule", "--quiet", "update", "--init", "--checkout", "--force", "--", submodule.path)
    try:
        done = git.run(workspace, *options, *update, timeout=FETCH_SECONDS)
    except git.GitHung as error:
        return f"The submodule {submodule.path} is not initialised: {error}."
    if done.code == 0:
        return None
    return f"The submodule {submodule.path} is not initialised: {omit_start(done.error_text, MAX_NOTE_LENGTH)}"
