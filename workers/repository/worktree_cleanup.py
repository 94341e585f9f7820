"""Clean a worktree without losing work, by saving uncommitted changes as a commit under a separate ref."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import git

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


class Uncleanable(Exception):
    """The worktree contains something that can neither be saved nor removed, such as a nested repository."""


def clean_worktree(path: Path) -> str | None:
    """Save uncommitted work, then remove it. Ignored files stay. Returns the ref under which it is saved."""
    remove_locks(path)
    saved_ref = _save_work(path)
    git.check_output(path, "reset", "--quiet", "--hard", timeout=git.CHECKOUT_SECONDS)
    git.check_output(path, "clean", "--quiet", "-f", "-d", timeout=git.CHECKOUT_SECONDS)
    private = git.find_git_dir(path)
    for trace, command in UNFINISHED_OPERATIONS.items():
        if (private / trace).exists():
            git.run(path, *command)
    if left := git.list_dirty_paths(path, limit=5):
        raise Uncleanable(f"{', '.join(left)} can neither be saved nor removed (a repository in it?)")
    return saved_ref


def remove_locks(path: Path) -> None:
    """Remove the lock files of a killed git. No process may be working in the worktree."""
    for name in STALE_LOCKS:
        (git.find_git_dir(path) / name).unlink(missing_ok=True)


def _save_work(path: Path) -> str | None:
    """Save uncommitted work, or commits that are on no branch, under a separate ref."""
    head, branch = git.check_output(path, "rev-parse", "HEAD"), git.find_current_branch(path)
    if changes := git.find_dirty_paths(path):
        commit = _commit_snapshot(path, head, branch or "a detached HEAD", changes)
    elif branch or git.check_output(path, "for-each-ref", "--count=1", f"--contains={head}"):
        return None
    else:
        commit = head
    ref = f"refs/mc/saved/{branch or 'detached'}/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    git.check_output(path, "update-ref", ref, commit)
    return ref


def _commit_snapshot(path: Path, head: str, branch_label: str, changes: Sequence[git.DirtyPath]) -> str:
    """Commit the changes of the work tree, untracked files included, with a separate index."""
    index = git.find_git_dir(path) / "mc-saved.index"
    aside = {**SAVE_IDENTITY, "GIT_INDEX_FILE": str(index)}
    try:
        git.check_output(path, "read-tree", head, variables=aside)
        git.stage_changes(path, changes, aside)
        tree = git.check_output(path, "write-tree", variables=aside)
        message = f"Uncommitted work of {branch_label}"
        return git.check_output(path, "commit-tree", tree, "-p", head, "-m", message, variables=aside)
    finally:
        index.unlink(missing_ok=True)
