"""Work trees outside of the pools: temporary ones, and those in which a branch is checked out."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.host import files

from . import git

REBASE_HEADS = ("rebase-merge/head-name", "rebase-apply/head-name")
"""The files with the name of a branch that is being rebased, while HEAD is detached."""


@contextmanager
def check_out_detached(repository: Path, path: Path, at: str) -> Iterator[None]:
    """Check out a scratch work tree at `path` for the length of the block. Leftovers of a killed process are replaced."""
    _remove_scratch(repository, path)
    argv = ("worktree", "add", "--quiet", "--detach", str(path), git.validate_revision(at))
    git.check_output(repository, *argv, timeout=git.CHECKOUT_SECONDS)
    try:
        yield
    finally:
        _remove_scratch(repository, path)


def remove_worktree(repository: Path, path: Path) -> None:
    """Remove a work tree, or git's record of one whose folder is gone. Anything else at the path stays."""
    git.run(repository, "worktree", "remove", "--force", "--force", str(path), timeout=git.CHECKOUT_SECONDS)


def is_work_tree_root(path: Path) -> bool:
    """Return True when a folder is the root of a work tree that git can read."""
    with suppress(git.GitError):
        return git.is_repository(path) and git.find_root(path) == path.resolve()
    return False


def repair_worktree(repository: Path, path: Path, recorded: Path) -> None:
    """Reconnect a work tree that git knows at the path `recorded` with its repository, as `git worktree repair` does.

    Either was moved, or the work tree's `.git` was lost. Only that one record is written, whatever an agent has put into
    `.git`.
    """
    pointer, known_path = path / ".git", recorded.parent.resolve() / recorded.name
    for record in git.find_common_dir(repository).glob("worktrees/*/gitdir"):
        is_writable = path.is_dir() and (pointer.is_symlink() or not pointer.is_dir())
        if is_writable and _read_record(record) == known_path:
            pointer.unlink(missing_ok=True)
            files.create(pointer, f"gitdir: {record.parent}\n".encode())
            files.replace(record, f"{pointer}\n".encode())


def prune_worktrees(repository: Path, branch: str) -> None:
    """Remove git's records of lost work trees that still occupy a branch.

    `git worktree prune` would also remove those of a disk that is only not mounted.
    """
    for pointer in git.find_common_dir(repository).glob("worktrees/*/gitdir"):
        place, head = _read_record(pointer), _read_text(pointer.with_name("HEAD"))
        if place and head == f"ref: refs/heads/{branch}" and not place.is_dir():
            remove_worktree(repository, place)


def _read_record(record: Path) -> Path | None:
    """Read the path of the work tree to which a record of git belongs."""
    text = _read_text(record)
    return Path(text).parent if text else None


def _read_text(file: Path) -> str | None:
    with suppress(OSError, UnicodeDecodeError):
        return file.read_text("utf-8").strip()
    return None


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
    """Find the work trees in which a branch is checked out."""
    return [place for place, reference in _list_worktrees(repository) if reference == f"refs/heads/{branch}"]


def find_rebase(repository: Path, branch: str) -> Path | None:
    """Find the work tree in which a branch is being rebased, if any."""
    for place, reference in _list_worktrees(repository):
        heads = [_find_git_dir(place) / name for name in REBASE_HEADS] if reference is None else []
        if any(head.is_file() and head.read_text("utf-8").strip() == f"refs/heads/{branch}" for head in heads):
            return place
    return None


def _find_git_dir(place: Path) -> Path:
    """Find the git directory of one work tree. For a broken one, which git cannot read, return its own path."""
    with suppress(git.GitError):
        return git.find_git_dir(place)
    return place


def _list_worktrees(repository: Path) -> list[tuple[Path, str | None]]:
    """List each existing work tree with the reference that is checked out in it, None where HEAD is detached."""
    worktrees: list[tuple[Path, str | None]] = []
    for block in git.check_output(repository, "worktree", "list", "--porcelain").split("\n\n"):
        facts = dict(line.partition(" ")[::2] for line in block.split("\n"))
        if "worktree" in facts and "bare" not in facts and Path(facts["worktree"]).is_dir():
            worktrees.append((Path(facts["worktree"]), facts.get("branch")))
    return worktrees
