"""Work trees of a repository besides the pools': scratch ones for a moment, and those in which a branch is checked out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import git

REBASED = ("rebase-merge/head-name", "rebase-apply/head-name")
"""Where git keeps the name of a branch while it is being rebased: HEAD is detached then."""


@contextmanager
def detached(repository: Path, path: Path, at: str) -> Iterator[None]:
    """A scratch work tree at `path` for the length of the block; what a killed process left there is replaced."""
    _remove(repository, path)
    argv = ("worktree", "add", "--quiet", "--detach", str(path), git.checked(at))
    git.ask(repository, *argv, timeout=git.CHECKOUT_SECONDS)
    try:
        yield
    finally:
        _remove(repository, path)


def unregister(repository: Path, path: Path) -> None:
    """Remove a work tree, or what git remembers of one whose folder is gone; anything else in its place stays."""
    git.run(repository, "worktree", "remove", "--force", "--force", str(path), timeout=git.CHECKOUT_SECONDS)


def _remove(repository: Path, path: Path) -> None:
    unregister(repository, path)
    shutil.rmtree(path, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Remove the scratch work trees below `folder` that a killed process left, whatever repository they belong to."""
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(git.GitError):
            unregister(git.common_dir(path), path)
        shutil.rmtree(path, ignore_errors=True)


def showing(repository: Path, branch: str) -> list[Path]:
    """The work trees in which a branch is checked out."""
    return [place for place, shown in _listed(repository) if shown == f"refs/heads/{branch}"]


def rebasing(repository: Path, branch: str) -> Path | None:
    """The work tree in which a branch is being rebased just now, if any."""
    for place, shown in _listed(repository):
        heads = [_private(place) / name for name in REBASED] if shown is None else []
        if any(head.is_file() and head.read_text("utf-8").strip() == f"refs/heads/{branch}" for head in heads):
            return place
    return None


def _private(place: Path) -> Path:
    """Where git keeps what belongs to one work tree; a broken one, that git cannot read, has nothing there."""
    with suppress(git.GitError):
        return git.git_dir(place)
    return place


def _listed(repository: Path) -> list[tuple[Path, str | None]]:
    """Each work tree that is there, with the reference that is checked out in it; None where HEAD is detached."""
    found: list[tuple[Path, str | None]] = []
    for block in git.ask(repository, "worktree", "list", "--porcelain").split("\n\n"):
        facts = dict(line.partition(" ")[::2] for line in block.split("\n"))
        if "worktree" in facts and "bare" not in facts and Path(facts["worktree"]).is_dir():
            found.append((Path(facts["worktree"]), facts.get("branch")))
    return found
