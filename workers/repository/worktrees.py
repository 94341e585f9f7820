"""Work trees outside of the pools: temporary ones, and those in which a branch is checked out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from workers.host import files

from . import git
from .isolation import hold_repository_lock, list_entries

REBASE_HEADS = ("rebase-merge/head-name", "rebase-apply/head-name")
"""The files with the name of a branch that is being rebased, while HEAD is detached."""
MAX_LINE_BYTES = 8192


@contextmanager
def check_out_detached(repository: Path, path: Path, at: str) -> Iterator[None]:
    """Check out a scratch work tree at `path` for the length of the block. Leftovers of a killed process are replaced."""
    _remove_scratch(repository, path)
    add_worktree(repository, path, "--detach", at=at)
    try:
        yield
    finally:
        _remove_scratch(repository, path)


def add_worktree(repository: Path, path: Path, *options: str, at: str) -> None:
    """Add a work tree. Its `.git` file names the repository itself, not the common folder of the isolated call.

    One at a time, since git fails over the record of another one that is not written yet.
    """
    argv = ("worktree", "add", "--quiet", *options, str(path), git.validate_revision(at))
    with hold_repository_lock(git.find_common_dir(repository)):
        git.check_output(repository, *argv, timeout=git.CHECKOUT_SECONDS)
    (path / ".git").write_text(f"gitdir: {git.find_git_dir(path)}\n", "utf-8")


def remove_worktree(repository: Path, path: Path) -> None:
    """Remove a work tree, or git's record of one whose folder is gone. Anything else at the path stays."""
    argv = ("worktree", "remove", "--force", "--force", str(path))
    with hold_repository_lock(git.find_common_dir(repository)):
        git.run(repository, *argv, timeout=git.CHECKOUT_SECONDS)


def is_work_tree_root(path: Path) -> bool:
    """Return True when a folder is the root of a work tree that git can read, with a git folder of its own.

    An agent may have its worktree point to the git folder of another one.
    """
    known_path = _locate(path)
    with suppress(git.GitError):
        return git.is_repository(path) and git.find_root(path) == known_path and _is_own_git_dir(path, known_path)
    return False


def _is_own_git_dir(path: Path, known_path: Path) -> bool:
    git_dir = git.find_git_dir(path)
    if git_dir == git.find_common_dir(path):
        return git_dir == known_path / ".git"
    return _read_record(git_dir / "gitdir") == known_path


def _locate(path: Path) -> Path:
    """Return the path by which git knows a work tree. The last part is not resolved, as it may be a link."""
    return path.parent.resolve() / path.name


def repair_worktree(repository: Path, path: Path, recorded_path: Path) -> None:
    """Reconnect a work tree that git knows at the path `recorded` with its repository, as `git worktree repair` does.

    Either was moved, or the work tree's `.git` was lost. Only that one record is written, whatever an agent has put into
    `.git`.
    """
    pointer = path / ".git"
    for record in _find_records(repository, recorded_path):
        is_writable = path.is_dir() and (pointer.is_symlink() or not pointer.is_dir())
        if is_writable and not any(map(os.path.islink, list_entries(record.parent))):
            pointer.unlink(missing_ok=True)
            files.create(pointer, f"gitdir: {record.parent}\n".encode())
            files.replace(record, f"{pointer}\n".encode())


def remove_links(repository: Path, recorded_path: Path) -> None:
    """Remove the symbolic links in the git folder of the work tree that git knows at `recorded_path`."""
    for record in _find_records(repository, recorded_path):
        for link in filter(os.path.islink, list_entries(record.parent)):
            Path(link).unlink()


def _find_records(repository: Path, recorded_path: Path) -> list[Path]:
    """Find git's records of a work tree: one, unless an agent has changed another."""
    records = git.find_common_dir(repository).glob("worktrees/*/gitdir")
    return [record for record in records if _read_record(record) == _locate(recorded_path)]


def prune_worktrees(repository: Path, branch: str) -> None:
    """Remove git's records of lost work trees that still occupy a branch.

    `git worktree prune` would also remove those of a disk that is only not mounted.
    """
    for pointer in git.find_common_dir(repository).glob("worktrees/*/gitdir"):
        place, head = _read_record(pointer), _read_text(pointer.with_name("HEAD"))
        if place and head == f"ref: refs/heads/{branch}" and not place.is_dir():
            remove_worktree(repository, place)


def _read_record(record: Path) -> Path | None:
    """Read the path of the work tree to which a record of git belongs. git may write it relative to the record."""
    text = _read_text(record)
    with suppress(OSError, ValueError, RuntimeError):  # a path that holds a NUL byte, or a loop of links
        return _locate(Path(os.path.normpath(record.parent / text)).parent) if text else None
    return None


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
    return [tree.path for tree in _list_worktrees(repository) if tree.head == f"ref: refs/heads/{branch}"]


def find_rebase(repository: Path, branch: str) -> Path | None:
    """Find the work tree in which a branch is being rebased, if any."""
    for tree in _list_worktrees(repository):
        if f"refs/heads/{branch}" in (_read_line(tree.git_dir / name) for name in REBASE_HEADS):
            return tree.path
    return None


@dataclass(frozen=True, slots=True)
class _Worktree:
    """A work tree with its git folder and the line in its HEAD."""

    path: Path
    git_dir: Path
    head: str | None


def _list_worktrees(repository: Path) -> list[_Worktree]:
    """List the existing work trees of a repository, the main one first."""
    common = git.find_common_dir(repository)
    pointers = sorted(common.glob("worktrees/*/gitdir"))
    places = [(Path(line).parent, pointer.parent) for pointer in pointers if (line := _read_line(pointer))]
    main = [(common.parent, common)] if common.name == ".git" else []
    return [_Worktree(path, git_dir, _read_line(git_dir / "HEAD")) for path, git_dir in main + places if path.is_dir()]


def _read_line(file: Path) -> str | None:
    """Read a short file that an agent may have replaced by anything."""
    with suppress(OSError, UnicodeDecodeError):
        if file.is_file():
            with file.open("rb") as stream:
                return stream.read(MAX_LINE_BYTES).decode().strip()
    return None
