"""A run's changes for people to read: which files, how much, and the text; nothing here writes."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file. `status` is one of STATUSES' values; line counts are None for a binary file."""

    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None


def list_changes(repository: Path, base: str, head: str) -> list[FileChange]:
    """The files that differ between two commits, renames recognised, by path. Raises `git.GitError`."""
    span = (git.validate_revision(base), git.validate_revision(head), "--")
    names = git.check_output(repository, "diff", *git.PLAIN_DIFF, "--find-renames", "--name-status", "-z", *span)
    numbers = git.check_output(repository, "diff", *git.PLAIN_DIFF, "--find-renames", "--numstat", "-z", *span)
    return [
        FileChange(path, old, STATUS_NAMES.get(letter, "modified"), *counts)
        for (letter, old, path), counts in zip(_parse_names(names), _parse_counts(numbers), strict=True)
    ]


def read_patch(repository: Path, base: str, head: str, path: str | None = None, *, max_bytes: int) -> DiffText:
    """The change as a unified diff, of one file (a renamed one with what it was) or of all, cut after
    `max_bytes`.

    A path that did not change gives an empty text. Raises `git.GitError`.
    """
    if path is None:
        return git.read_diff(repository, base, head, max_bytes=max_bytes)
    change = next((candidate for candidate in list_changes(repository, base, head) if candidate.path == path), None)
    if change is None:
        return DiffText("", truncated=False)
    paths = [change.old_path, change.path] if change.old_path else [change.path]
    return git.read_diff(repository, base, head, paths=paths, max_bytes=max_bytes)


def _parse_names(output: str) -> Iterator[tuple[str, str | None, str]]:
    """Status letter, former path of a renamed or copied file, path."""
    fields = iter(output.split("\0")[:-1])
    for status in fields:
        old = next(fields) if status[0] in "RC" else None
        yield status[0], old, next(fields)


def _parse_counts(output: str) -> Iterator[tuple[int | None, int | None]]:
    """Inserted and deleted lines; a renamed file's two paths follow its counts as fields of their own."""
    fields = iter(output.split("\0")[:-1])
    for field in fields:
        inserted, deleted, path = field.split("\t", 2)
        if not path:
            next(fields), next(fields)
        yield (None, None) if inserted == "-" else (int(inserted), int(deleted))
