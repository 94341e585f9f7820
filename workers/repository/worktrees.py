"""Work trees of a repository besides the pools': scratch ones for a moment, and those in which a branch is checked out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from . import git

REBASE_HEADS = ("rebase-merge/head-name", "rebase-apply/head-name")
"""Where git keeps the name of a branch while it is being rebased: HEAD is detached then."""


@contextmanager
def check_out_detached(repository: Path, path: Path, at: str) -> Iterator[None]:
    """A scratch work tree at `path` for the length of the block; what a killed process left there is replaced."""
    _remove_scratch(repository, path)
    argv = ("worktree", "add", "--quiet", "--detach", str(path), git.validate_revision(at))
    git.check_output(repository, *argv, timeout=git.CHECKOUT_SECONDS)
    try:
        yield
    finally:
        _remove_scratch(repository, path)


def remove_worktree(repository: Path, path: Path) -> None:
    """Remove a work tree, or what git remembers of one whose folder is gone; anything else in its place stays."""
    git.run(repository, "worktree", "remove", "--force", "--force", str(path), timeout=git.CHECKOUT_SECONDS)


def _remove_scratch(repository: Path, path: Path) -> None:
    remove_worktree(repository, path)
    shutil.rmtree(path, ignore_errors=True)


def remove_scratch_worktrees(folder: Path) -> None:
    """Remove the scratch work trees below `folder` that a killed process left, whatever repository they belong to."""
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(git.GitError):
            remove_worktree(git.find_common_dir(path), path)
        shutil.rmtree(path, ignore_errors=True)


def find_checkouts(repository: Path, branch: str) -> list[Path]:
    """The work trees in which a branch is checked out."""
    return [place for place, reference in _list_worktrees(repository) if reference == f"refs/heads/{branch}"]


def find_rebase(repository: Path, branch: str) -> Path | None:
    """The work tree in which a branch is being rebased just now, if any."""
    for place, reference in _list_worktrees(repository):
        heads = [_find_git_dir(place) / name for name in REBASE_HEADS] if reference is None else []
        if any(head.is_file() and head.read_text("utf-8").strip() == f"refs/heads/{branch}" for head in heads):
            return place
    return None


def _find_git_dir(place: Path) -> Path:
    """Where git keeps what belongs to one work tree; a broken one, that git cannot read, has nothing there."""
    with suppress(git.GitError):
        return git.find_git_dir(place)
    return place


def _list_worktrees(repository: Path) -> list[tuple[Path, str | None]]:
    """Each work tree that is there, with the reference that is checked out in it; None where HEAD is detached."""
    worktrees: list[tuple[Path, str | None]] = []
    for block in git.check_output(repository, "worktree", "list", "--porcelain").split("\n\n"):
        facts = dict(line.partition(" ")[::2] for line in block.split("\n"))
        if "worktree" in facts and "bare" not in facts and Path(facts["worktree"]).is_dir():
            worktrees.append((Path(facts["worktree"]), facts.get("branch")))
    return worktrees
