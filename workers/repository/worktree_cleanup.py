"""Clean a worktree without losing work, by saving uncommitted changes as a commit under a separate ref."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from workers.host import private_dirs

from . import git, worktrees

SAVE_IDENTITY = {
    "GIT_AUTHOR_NAME": "Mission Control",
    "GIT_AUTHOR_EMAIL": "mission-control@localhost",
    "GIT_COMMITTER_NAME": "Mission Control",
    "GIT_COMMITTER_EMAIL": "mission-control@localhost",
}
UNFINISHED_OPERATIONS = {
    "rebase-merge": ("rebase", "--quit"),
    "rebase-apply": ("am", "--quit"),
    "BISECT_LOG": ("bisect", "reset"),
}
"""The files of an unfinished git operation, and the command that aborts it."""
STALE_LOCKS = ("index.lock", "HEAD.lock")
"""The lock files that a killed git leaves behind. No git runs in a slot that changes its holder."""
OBJECT_HASHES = {40: "sha1", 64: "sha256"}
"""The hash of an object format, by the length of its names."""
EXECUTABLE_MODE = "100755"
SUBMODULE_MODE = "160000"
SAVED_REFS = "refs/mc/saved"


class Uncleanable(Exception):
    """The worktree contains something that can neither be saved nor removed, such as a nested repository."""


class Unsaved(Exception):
    """The worktree contains work that a saved ref cannot hold."""


@dataclass(frozen=True, slots=True)
class WorktreeChanges:
    """The uncommitted content of a worktree.

    `files` have another content than in HEAD, `repositories` are untracked repositories and other worktrees inside,
    `submodules` have changes or another commit.
    """

    files: tuple[str, ...]
    repositories: tuple[str, ...]
    submodules: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.files or self.repositories or self.submodules)


def clean_worktree(path: Path) -> str | None:
    """Save uncommitted work, then remove it. Ignored files stay. Returns the ref under which it is saved.

    A tracked file that git still reports as modified afterwards has just been written by git itself, so its difference
    is one of line endings or modes, not of content.
    """
    remove_locks(path)
    saved_ref = save_work(path)
    changes = read_changes(path)
    _require_none(changes.repositories + changes.submodules)
    git.check_output(path, "reset", "--quiet", "--hard", timeout=git.CHECKOUT_SECONDS)
    git.check_output(path, "clean", "--quiet", "-f", "-d", timeout=git.CHECKOUT_SECONDS)
    private = git.find_git_dir(path)
    for trace, command in UNFINISHED_OPERATIONS.items():
        if (private / trace).exists():
            git.run(path, *command)
    _require_none((*_list_untracked(path), *_list_modified(path)[1]))
    return saved_ref


def _require_none(names: Sequence[str]) -> None:
    if names:
        text = os.fsencode(", ".join(names[:5])).decode("utf-8", "replace")
        raise Uncleanable(f"{text} can neither be saved nor removed (a repository in it?)")


def remove_locks(path: Path) -> None:
    """Remove the lock files of a killed git. No process may be working in the worktree."""
    for name in STALE_LOCKS:
        (git.find_git_dir(path) / name).unlink(missing_ok=True)


def read_changes(path: Path) -> WorktreeChanges:
    """Read the uncommitted content, without files that only git's own conversion makes look modified."""
    untracked = _list_untracked(path)
    repositories = tuple(name for name in untracked if name.endswith("/"))
    modified, submodules = _list_modified(path)
    committed = _read_blobs(path) if modified else {}
    files = [name for name in modified if not _has_content(path / name, committed.get(name))]
    return WorktreeChanges(tuple(files) + tuple(set(untracked) - set(repositories)), repositories, submodules)


def save_work(path: Path) -> str | None:
    """Save uncommitted files, or commits that are on no branch, under a separate ref. Repeated tries leave one ref."""
    head, branch = git.check_output(path, "rev-parse", "HEAD"), git.find_current_branch(path)
    changes = read_changes(path)
    if changes.files or changes.submodules:
        commit = _commit_snapshot(path, head, branch or "a detached HEAD", changes)
    elif branch or git.check_output(path, "for-each-ref", "--count=1", f"--contains={head}"):
        return None
    else:
        commit = head
    if previous_ref := _find_same_work(path, commit):
        return previous_ref
    ref = f"{SAVED_REFS}/{branch or 'detached'}/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    git.check_output(path, "update-ref", ref, commit)
    return ref


def remove_new_changes(path: Path, before: WorktreeChanges) -> None:
    """Remove the uncommitted content that was not there before, such as the reports that a check command writes."""
    after = read_changes(path)
    committed = _read_blobs(path)
    new_files = [name for name in after.files if name not in before.files]
    if modified := [name for name in new_files if name in committed]:
        git.check_output(path, "checkout", "--quiet", "HEAD", "--", *modified, timeout=git.CHECKOUT_SECONDS)
    for name in new_files:
        if name not in committed:
            (path / name).unlink(missing_ok=True)
            _remove_empty_parents(path, path / name)
    for name in set(after.repositories) - set(before.repositories):
        private_dirs.remove_tree(path / name)


def _remove_empty_parents(root: Path, file: Path) -> None:
    for parent in file.parents:
        if parent == root or any(parent.iterdir()):
            return
        parent.rmdir()


def save_everything(path: Path) -> None:
    """Save the work of a worktree and of the worktrees inside. `Unsaved` names what no ref of the repository can hold."""
    changes = read_changes(path)
    if changes.submodules:
        raise Unsaved(f"the submodule {changes.submodules[0]} has changes of its own")
    for name in changes.repositories:
        if not _is_own_worktree(path / name, path):
            raise Unsaved(f"{name} is a repository of its own")
        save_everything(path / name)
    save_work(path)


def list_inner_worktrees(path: Path) -> list[Path]:
    """List the worktrees of the same repository that an agent has added inside of a worktree."""
    return [path / name for name in read_changes(path).repositories if _is_own_worktree(path / name, path)]


def _is_own_worktree(inner: Path, outer: Path) -> bool:
    """Return True for a linked worktree, whose `.git` is a file. A repository of an agent's own is never read by git."""
    return (inner / ".git").is_file() and git.find_common_dir(inner) == git.find_common_dir(outer)


def _read_entries(path: Path, *arguments: str) -> list[str]:
    """Read NUL-separated output, in which the name of a file may have any bytes."""
    done = git.run(path, *arguments)
    if done.code != 0:
        raise git.GitFailed(f"git {arguments[0]} failed ({done.code}): {done.error_text}")
    return [os.fsdecode(entry) for entry in done.stdout.split(b"\0") if entry]


def _list_untracked(path: Path) -> list[str]:
    """List untracked files that are not ignored, and repositories (which end in a slash)."""
    return _read_entries(path, "ls-files", "--others", "--exclude-standard", "-z")


def _list_modified(path: Path) -> tuple[list[str], tuple[str, ...]]:
    """List the tracked files and the submodules that have changes. A submodule is read by a git call of its own."""
    options = ("--porcelain=v2", "-z", "--no-renames", "--untracked-files=no", "--ignore-submodules=dirty")
    files: list[str] = []
    submodules: list[str] = []
    for entry in _read_entries(path, "status", *options):
        kind, _, state, *_ = entry.split(" ", 3)
        name = entry.split(" ", 10 if kind == "u" else 8)[-1]
        (submodules if state.startswith("S") else files).append(name)
    others = [name for name in _list_submodules(path) if name not in submodules]
    return files, (*submodules, *(name for name in others if _may_have_changes(path / name)))


def _may_have_changes(submodule: Path) -> bool:
    """Return True for a submodule with changes, or one that git cannot read."""
    is_readable = not submodule.is_symlink() and worktrees.is_work_tree_root(submodule)
    return not is_readable or not read_changes(submodule).is_empty


def _list_submodules(path: Path) -> list[str]:
    """List the submodules that are checked out."""
    if not (path / ".gitmodules").exists():
        return []
    entries = [entry.split("\t", 1) for entry in _read_entries(path, "ls-files", "--stage", "-z")]
    names = [name for facts, name in entries if facts.startswith(SUBMODULE_MODE)]
    return [name for name in names if os.path.lexists(path / name / ".git")]


def _read_blobs(path: Path) -> dict[str, tuple[str, str]]:
    """Read mode and object name of each file of HEAD."""
    facts = [entry.split("\t", 1) for entry in _read_entries(path, "ls-tree", "-r", "-z", "HEAD")]
    return {name: (fact.split(" ")[0], fact.split(" ")[2]) for fact, name in facts}


def _has_content(file: Path, blob: tuple[str, str] | None) -> bool:
    """Return True when a file has the mode and, byte for byte, the content of a committed one."""
    if blob is None:
        return False
    mode, name = blob
    try:
        content = os.fsencode(file.readlink()) if file.is_symlink() else file.read_bytes()
        is_executable = bool(file.lstat().st_mode & 0o100) and not file.is_symlink()
    except OSError:
        return False
    digest = hashlib.new(OBJECT_HASHES[len(name)], b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return digest.hexdigest() == name and is_executable == (mode == EXECUTABLE_MODE)


def _find_same_work(path: Path, commit: str) -> str | None:
    """Find a saved ref that holds the same files on the same commit, whatever branch was checked out then."""
    output = git.check_output(path, "for-each-ref", "--format=%(refname) %(tree) %(parent)", SAVED_REFS)
    saved = {content: ref for ref, _, content in (line.partition(" ") for line in output.splitlines())}
    return saved.get(git.check_output(path, "log", "-1", "--format=%T %P", commit))


def _commit_snapshot(path: Path, head: str, branch_label: str, changes: WorktreeChanges) -> str:
    """Commit the work tree with a separate index, untracked files included.

    `git add` would read the repositories and submodules inside with their own configuration, so it leaves them out.
    """
    index = git.find_git_dir(path) / "mc-saved.index"
    aside = {**SAVE_IDENTITY, "GIT_INDEX_FILE": str(index)}
    excluded = (*changes.repositories, *_list_submodules(path))
    pathspecs = (".", *(f":(exclude,literal){name.rstrip('/')}" for name in excluded))
    try:
        git.check_output(path, "read-tree", head, variables=aside)
        everything = {**aside, "GIT_LITERAL_PATHSPECS": "0"}
        git.check_output(path, "add", "--all", "--", *pathspecs, variables=everything, timeout=git.CHECKOUT_SECONDS)
        if changes.submodules:
            git.check_output(path, "update-index", "--", *changes.submodules, variables=aside)
        tree = git.check_output(path, "write-tree", variables=aside)
        message = f"Uncommitted work of {branch_label}"
        return git.check_output(path, "commit-tree", tree, "-p", head, "-m", message, variables=aside)
    finally:
        index.unlink(missing_ok=True)
