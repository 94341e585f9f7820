"""Read-only views of a run's changes: the changed files, their line counts and the diff."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import git
from .git import DiffText

STATUS_NAMES = {
    "A": "added",
    "C": "copied",
    "D": "deleted",
    "M": "modified",
    "R": "renamed",
    "T": "retyped",
}
REPLACEMENT_CHARACTER = "\ufffd"


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file. `status` is one of the values of STATUS_NAMES. Line counts are None for a binary file."""

    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None


def list_changes(repository: Path, base: str, head: str) -> list[FileChange]:
    """List the files that differ between two commits, with renames detected, by path. Raises `git.GitError`."""
    span = (git.validate_revision(base), git.validate_revision(head), "--")
    names = git.check_output(repository, "diff", *git.PLAIN_DIFF, "--find-renames", "--name-status", "-z", *span)
    numbers = git.check_output(repository, "diff", *git.PLAIN_DIFF, "--find-renames", "--numstat", "-z", *span)
    return [
        FileChange(path, old, STATUS_NAMES.get(letter, "modified"), *counts)
        for (letter, old, path), counts in zip(_parse_names(names), _parse_counts(numbers), strict=True)
    ]


def read_patch(repository: Path, base: str, head: str, path: str | None = None, *, max_bytes: int) -> DiffText:
    """Read a unified diff of all files or one (a renamed one with its old path), truncated after `max_bytes`.

    Empty for a path that did not change. Raises `git.GitError`.
    """
    if path is None:
        return git.read_diff(repository, base, head, max_bytes=max_bytes)
    change = next((candidate for candidate in list_changes(repository, base, head) if candidate.path == path), None)
    if change is None:
        return DiffText("", truncated=False)
    paths = [change.old_path, change.path] if change.old_path else [change.path]
    if any(REPLACEMENT_CHARACTER in name for name in paths):
        stored_names = _find_stored_names(repository, base, head)
        paths = [stored_names.get(name, name) for name in paths]
    return git.read_diff(repository, base, head, paths=paths, max_bytes=max_bytes)


def _find_stored_names(repository: Path, base: str, head: str) -> dict[str, str]:
    """Find the names of changed files as git stores them, by the shown ones: a name need not be UTF-8."""
    span = (git.validate_revision(base), git.validate_revision(head), "--")
    done = git.run(repository, "diff", "--name-only", "-z", "--no-renames", *span)
    return {name.decode("utf-8", "replace"): os.fsdecode(name) for name in done.stdout.split(b"\0")}


def _parse_names(output: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield status letter, old path of a renamed or copied file, and path."""
    fields = iter(output.split("\0")[:-1])
    for status in fields:
        old = next(fields) if status[0] in "RC" else None
        yield status[0], old, next(fields)


def _parse_counts(output: str) -> Iterator[tuple[int | None, int | None]]:
    """Yield inserted and deleted lines. A renamed file's two paths follow its counts as separate fields."""
    fields = iter(output.split("\0")[:-1])
    for field in fields:
        inserted, deleted, path = field.split("\t", 2)
        if not path:
            next(fields), next(fields)
        yield (None, None) if inserted == "-" else (int(inserted), int(deleted))
