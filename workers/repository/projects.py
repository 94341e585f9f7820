"""Make a project from a folder or a clone URL, with an explanation of the folder's state for people."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from . import git

NO_REPOSITORY = "not a git repository"
"""The words of git for a folder without a repository."""
CLONE_SECONDS = 1800.0
HOST_PATTERN = r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?"
PATH_PATTERN = r"[A-Za-z0-9._~+%/-]+"
URL_PATTERN = re.compile(
    rf"https://{HOST_PATTERN}(?::\d{{1,5}})?/{PATH_PATTERN}"
    rf"|ssh://(?:[A-Za-z0-9_][A-Za-z0-9._-]*@)?{HOST_PATTERN}(?::\d{{1,5}})?/{PATH_PATTERN}"
    rf"|git@{HOST_PATTERN}:(?!-){PATH_PATTERN}"
    rf"|file:///{PATH_PATTERN}"
)


class CloneRefused(Exception):
    """The address or the target of a clone is not acceptable."""


class CloneFailed(Exception):
    """git could not clone the repository."""


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """The state of a folder that may become a project.

    `branches` are local ones, the one with the newest commit first. `dirty` counts uncommitted paths. `usable` when
    runs can start from it. `explanation` is one or two sentences for the person who chose the folder.
    """

    folder: Path
    is_git: bool
    usable: bool
    head: str | None
    current_branch: str | None
    default_branch: str | None
    branches: tuple[str, ...]
    dirty: int
    explanation: str


def inspect_folder(folder: Path) -> RepositoryFacts:
    """Inspect a folder without changing it. Never raises because of its content."""
    try:
        if root := find_repository(folder):
            return _inspect_repository(root)
        explanation = _explain_missing_repository(folder)
    except git.GitError as error:
        explanation = f"git cannot read this folder: {error}"
    return RepositoryFacts(folder, False, False, None, None, None, (), 0, explanation)


def clone_repository(url: str, target: Path, timeout: float = CLONE_SECONDS) -> Path:
    """Clone `url` (https, ssh, git@host:path or file) into the new folder `target` and return that.

    git uses the operator's own credentials without prompts. A URL with a password in it is refused.
    """
    if not URL_PATTERN.fullmatch(url):
        raise CloneRefused("Give an address such as https://host/path, ssh://host/path or git@host:path.")
    if target.exists():
        raise CloneRefused(f"{target} exists already.")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        git.check_output(target.parent, "clone", "--quiet", "--", url, str(target), timeout=timeout)
    except git.GitError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise CloneFailed(f"{url} could not be cloned: {error}") from error
    return target


def find_repository(folder: Path) -> Path | None:
    """Find the root of the work tree that contains `folder`. None when there is no repository.

    A bare repository is its own root, and so is a folder whose `.git` file names a bare one, with worktrees beside it.
    Any other refusal, such as a repository of another owner, is a `git.GitFailed` with git's own words.
    """
    if not folder.is_dir():
        return None
    try:
        common = git.find_common_dir(folder)
        if _is_bare(folder):
            return folder if (folder / ".git").is_file() else common
        return git.find_root(folder) if git.is_repository(folder) else None
    except git.GitFailed as error:
        if NO_REPOSITORY in str(error):
            return None
        raise


def _is_bare(folder: Path) -> bool:
    """Return True outside of a work tree when the repository declares itself bare."""
    common = git.find_common_dir(folder)
    submodules = git.run(folder, "config", "--file", str(common / "config"), "--type=bool", "core.bare")
    return git.find_git_dir(folder) == common and submodules.text.strip() == "true"


def _inspect_repository(root: Path) -> RepositoryFacts:
    branches = tuple(git.list_branches(root))
    facts = RepositoryFacts(
        folder=root,
        is_git=True,
        usable=bool(branches),
        head=git.resolve_head(root),
        current_branch=git.find_current_branch(root),
        default_branch=git.find_default_branch(root),
        branches=branches,
        dirty=0 if _is_bare(root) else len(git.list_dirty_paths(root)),
        explanation="",
    )
    return replace(facts, explanation=_explain(facts))


def _explain(facts: RepositoryFacts) -> str:
    if not facts.branches:
        return "This repository has no commits yet. Make a first commit, so that there is something to start from."
    if not facts.dirty:
        return f"A clean repository on {facts.current_branch or 'no branch'}."
    paths = "1 path has" if facts.dirty == 1 else f"{facts.dirty} paths have"
    return (
        f"{paths} uncommitted changes. They stay as they are. Agents work in their own worktrees, "
        "start from the last commit, and do not see these changes until you commit them."
    )


def _explain_missing_repository(folder: Path) -> str:
    if not folder.is_dir():
        return "There is no such folder."
    return "This folder is not a git repository. Run `git init` in it and commit what is there."
