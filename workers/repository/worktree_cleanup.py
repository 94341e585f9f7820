"""Clean a worktree without losing work, by saving uncommitted changes as a commit under a separate ref."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from workers.host import private_dirs

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
SAVED_REFS = "refs/mc/saved"
SHARED_REFS = ("refs/heads", "refs/tags", "refs/remotes", SAVED_REFS)
"""References that outlive a worktree, unlike `refs/worktree` and `refs/bisect`."""
MAX_UNTRACKED_BYTES = 256 << 20
"""The size of a list of untracked files. Packages and build folders are in it."""


class Uncleanable(Exception):
    """The worktree contains something that can neither be saved nor removed, such as a nested repository."""


class Unsaved(Exception):
    """The worktree contains work that a saved ref cannot hold."""


@dataclass(frozen=True, slots=True)
class WorktreeContent:
    """The content of a worktree that HEAD lacks, ignored files and repositories included."""

    files: frozenset[str]
    repositories: frozenset[str]

    def is_new_file(self, name: str) -> bool:
        return name not in self.files and not self._is_in_repository(name)

    def is_new_repository(self, name: str) -> bool:
        """Return True for a repository (its name ends in a slash) with nothing in it that was there before."""
        entries = self.files | self.repositories
        return not self._is_in_repository(name) and not any(entry.startswith(name) for entry in entries)

    def _is_in_repository(self, name: str) -> bool:
        return name.startswith(tuple(self.repositories))


@dataclass(frozen=True, slots=True)
class WorktreeChanges:
    """The uncommitted content of a worktree.

    `tracked` are changed files and submodules, `new_files` are untracked and not ignored, `repositories` are untracked
    repositories and other worktrees inside.
    """

    tracked: tuple[git.DirtyPath, ...]
    new_files: tuple[str, ...]
    repositories: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.tracked or self.new_files or self.repositories)

    @property
    def files(self) -> list[str]:
        """The changed and the new files."""
        return [*(change.path for change in self.tracked if not change.is_submodule), *self.new_files]

    @property
    def submodules(self) -> list[str]:
        return [change.path for change in self.tracked if change.is_submodule]


def clean_worktree(path: Path) -> str | None:
    """Save uncommitted work, then remove it. Ignored files stay. Returns the ref under which it is saved.

    Untracked files are removed first: by the same `.gitignore` as they were saved, and before tracked files are restored,
    which a link in the place of their folder would prevent.

    A tracked file that git still reports as modified afterwards has just been written by git itself, so its difference
    is one of line endings or modes, not of content.
    """
    remove_locks(path)
    saved_ref = save_work(path)
    changes = read_changes(path)
    _require_none([*changes.repositories, *changes.submodules])
    git.check_output(path, "clean", "--quiet", "-f", "-d", timeout=git.CHECKOUT_SECONDS)
    git.check_output(path, "reset", "--quiet", "--hard", timeout=git.CHECKOUT_SECONDS)
    private = git.find_git_dir(path)
    for trace, command in UNFINISHED_OPERATIONS.items():
        if (private / trace).exists():
            git.run(path, *command)
    changes = read_changes(path)
    _require_none([*changes.new_files, *changes.repositories, *changes.submodules])
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
    """Read the uncommitted content, without files that only git's own conversion makes look modified.

    The index bits with which an agent may have hidden edits are cleared, as git would lose these edits.
    """
    git.clear_hiding_bits(path)
    untracked = _list_untracked(path)
    repositories = tuple(name for name in untracked if name.endswith("/"))
    new_files = tuple(name for name in untracked if not name.endswith("/"))
    return WorktreeChanges(tuple(git.find_dirty_paths(path, untracked="no")), new_files, repositories)


def save_work(path: Path) -> str | None:
    """Save uncommitted files, or commits that are on no branch, under a separate ref. Repeated tries leave one ref."""
    head, branch = git.check_output(path, "rev-parse", "HEAD"), git.find_current_branch(path)
    changes = read_changes(path)
    if changes.tracked or changes.new_files:
        snapshot = [*changes.tracked, *map(git.DirtyPath, changes.new_files)]
        commit = _commit_snapshot(path, head, branch or "a detached HEAD", snapshot)
    elif git.check_output(path, "for-each-ref", "--count=1", f"--contains={head}", *SHARED_REFS):
        return None
    else:
        commit = head
    if previous_ref := _find_same_work(path, commit):
        return previous_ref
    ref = f"{SAVED_REFS}/{branch or 'detached'}/{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    git.check_output(path, "update-ref", ref, commit)
    return ref


def read_content(path: Path) -> WorktreeContent:
    """Read the content that HEAD lacks, for a later `remove_new_changes`."""
    entries = _list_untracked(path, excludes=())
    files = [name for name in entries if not name.endswith("/")]
    return WorktreeContent(frozenset([*read_changes(path).files, *files]), frozenset(entries) - set(files))


def remove_new_changes(path: Path, before: WorktreeContent) -> None:
    """Remove the uncommitted content that was not there before, such as the reports that a check command writes.

    Tracked files come first, since `.gitignore` decides about the others. A repository with earlier files stays.
    """
    modified = [change.path for change in read_changes(path).tracked if not change.is_submodule]
    git.restore_paths(path, [name for name in modified if name not in before.files])
    after = read_changes(path)
    for name in filter(before.is_new_file, after.new_files):
        (path / name).unlink(missing_ok=True)
        _remove_empty_parents(path, path / name)
    for name in filter(before.is_new_repository, after.repositories):
        private_dirs.remove_tree(path / name)


def _remove_empty_parents(root: Path, file: Path) -> None:
    for parent in file.parents:
        if parent == root or any(parent.iterdir()):
            return
        parent.rmdir()


def save_everything(path: Path) -> None:
    """Save the work of a worktree and of the worktrees inside. `Unsaved` names what no ref of the repository can hold."""
    remove_locks(path)
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
    done = git.run(path, *arguments, keep=MAX_UNTRACKED_BYTES)
    if done.code != 0:
        raise git.GitFailed(f"git {arguments[0]} failed ({done.code}): {done.error_text}")
    return [os.fsdecode(entry) for entry in done.stdout.split(b"\0") if entry]


def _list_untracked(path: Path, excludes: Sequence[str] = ("--exclude-standard",)) -> list[str]:
    """List untracked files that the `excludes` do not ignore, and repositories (which end in a slash)."""
    return _read_entries(path, "ls-files", "--others", *excludes, "-z")


def _find_same_work(path: Path, commit: str) -> str | None:
    """Find a saved ref that holds the same files on the same commit, whatever branch was checked out then."""
    output = git.check_output(path, "for-each-ref", "--format=%(refname) %(tree) %(parent)", SAVED_REFS)
    refs_by_content = {content: ref for ref, _, content in (line.partition(" ") for line in output.splitlines())}
    return refs_by_content.get(git.check_output(path, "log", "-1", "--format=%T %P", commit))


def _commit_snapshot(path: Path, head: str, branch_label: str, changes: Sequence[git.DirtyPath]) -> str:
    """Commit the changes of the work tree, untracked files included, with a separate index."""
    with tempfile.TemporaryDirectory(prefix="mc-index-") as folder:
        aside = {**SAVE_IDENTITY, "GIT_INDEX_FILE": str(Path(folder, "index"))}
        git.check_output(path, "read-tree", head, variables=aside)
        git.stage_changes(path, changes, aside)
        tree = git.check_output(path, "write-tree", variables=aside)
        parents = ("-p", head, *_commit_staged(path, head, tree))
        message = f"Uncommitted work of {branch_label}"
        return git.check_output(path, "commit-tree", tree, *parents, "-m", message, variables=aside)


def _commit_staged(path: Path, head: str, work_tree: str) -> tuple[str, ...]:
    """Commit the content of the index that neither HEAD nor the work tree has, and return it as an option for a parent.

    It takes its time from HEAD, so that the same content is the same commit.
    """
    if git.check_output(path, "ls-files", "--unmerged"):
        return ()
    staged_tree = git.check_output(path, "write-tree")
    head_tree, time = git.check_output(path, "log", "-1", "--format=%T %cI", head).split(" ")
    if staged_tree in (head_tree, work_tree):
        return ()
    variables = {**SAVE_IDENTITY, "GIT_AUTHOR_DATE": time, "GIT_COMMITTER_DATE": time}
    commit = ("commit-tree", staged_tree, "-p", head, "-m", "Staged content")
    return "-p", git.check_output(path, *commit, variables=variables)
