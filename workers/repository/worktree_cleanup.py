"""Making a worktree clean without losing work: what is uncommitted becomes a commit under a ref of its own."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from . import git

SAVER = {
    "GIT_AUTHOR_NAME": "Mission Control",
    "GIT_AUTHOR_EMAIL": "mission-control@localhost",
    "GIT_COMMITTER_NAME": "Mission Control",
    "GIT_COMMITTER_EMAIL": "mission-control@localhost",
}
UNFINISHED = {
    "rebase-merge": ("rebase", "--quit"),
    "rebase-apply": ("am", "--quit"),
    "BISECT_LOG": ("bisect", "reset"),
}
"""What git keeps of an operation that was broken off, and how to be rid of it."""
STALE_LOCKS = ("index.lock", "HEAD.lock")
"""What a killed git leaves behind; no git runs in a slot that is changing hands."""


class Uncleanable(Exception):
    """The worktree holds something that can neither be saved nor removed, such as a repository of its own."""


def clear(path: Path) -> str | None:
    """Save what is uncommitted, then drop it; ignored files stay. Returns the ref it is saved under."""
    unlock(path)
    saved = _save(path)
    git.ask(path, "reset", "--quiet", "--hard", timeout=git.CHECKOUT_SECONDS)
    git.ask(path, "clean", "--quiet", "-f", "-d", timeout=git.CHECKOUT_SECONDS)
    private = git.git_dir(path)
    for trace, command in UNFINISHED.items():
        if (private / trace).exists():
            git.run(path, *command)
    if left := git.dirty(path, limit=5):
        raise Uncleanable(f"{', '.join(left)} can neither be saved nor removed (a repository in it?)")
    return saved


def unlock(path: Path) -> None:
    """Remove the locks of a git that was killed here; nobody may be working in the worktree."""
    for name in STALE_LOCKS:
        (git.git_dir(path) / name).unlink(missing_ok=True)


def _save(path: Path) -> str | None:
    """Keep uncommitted work, and commits that are on no branch, under a ref of their own."""
    head, branch = git.ask(path, "rev-parse", "HEAD"), git.current_branch(path)
    if git.dirty(path):
        commit = _snapshot(path, head, branch or "a detached HEAD")
    elif branch or git.ask(path, "for-each-ref", "--count=1", f"--contains={head}"):
        return None
    else:
        commit = head
    ref = f"refs/mc/saved/{branch or 'detached'}/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    git.ask(path, "update-ref", ref, commit)
    return ref


def _snapshot(path: Path, head: str, whose: str) -> str:
    """A commit of the whole work tree as it is, untracked files included, made beside the slot's own index."""
    index = git.git_dir(path) / "mc-saved.index"
    aside = {**SAVER, "GIT_INDEX_FILE": str(index)}
    try:
        git.ask(path, "read-tree", head, variables=aside)
        git.ask(path, "add", "--all", variables=aside, timeout=git.CHECKOUT_SECONDS)
        tree = git.ask(path, "write-tree", variables=aside)
        message = f"Uncommitted work of {whose}"
        return git.ask(path, "commit-tree", tree, "-p", head, "-m", message, variables=aside)
    finally:
        index.unlink(missing_ok=True)
