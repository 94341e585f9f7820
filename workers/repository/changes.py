"""Read-only views of a run's changes: the changed files, their line counts and the diff."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import git
from .git import DiffText
from .projects import find_repository

STATUS_NAMES = {
    "A": "added",
    "C": "copied",
    "D": "deleted",
    "M": "modified",
    "R": "renamed",
    "T": "retyped",
}
REPLACEMENT_CHARACTER = "\ufffd"
QUOTED_CHARACTERS = re.compile(r'[\x00-\x1f\x7f"\\]')
MAX_FILE_BYTES = 1 << 20
ESCAPES = dict(zip('\a\b\t\n\v\f\r"\\', 'abtnvfr"\\', strict=True))
"""Letters after a backslash. Other control characters are octal numbers."""


@dataclass(frozen=True, slots=True)
class FileChange:
    """One changed file. `status` is one of the values of STATUS_NAMES. Line counts are None for a binary file."""

    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None

    @property
    def diff_header(self) -> str:
        """The line with which git begins the file's part of a diff. A file that becomes a link has two parts."""
        return f"diff --git {_quote_path('a/' + (self.old_path or self.path))} {_quote_path('b/' + self.path)}"


def list_changes(repository: Path, base: str, head: str) -> list[FileChange]:
    """List the files that differ between two commits, with renames detected, by path. Raises `git.GitError`."""
    fields = iter(git.run_diff(repository, base, head, "--find-renames", "--raw", "--numstat", "-z").split("\0")[:-1])
    names: dict[str, tuple[str, str | None]] = {}
    counts: dict[str, tuple[int | None, int | None]] = {}
    for field in fields:
        if field.startswith(":"):
            letter, old, path = _parse_raw(field, fields)
            names[path] = letter, old
        else:
            path, counts_of_path = _parse_counts(field, fields)
            counts[path] = counts_of_path
    return [
        FileChange(path, old, STATUS_NAMES.get(letter, "modified"), *counts.get(path, (None, None)))
        for path, (letter, old) in names.items()
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


def read_lines(repository: Path, commit: str, path: str) -> list[str]:
    """Read the lines of a text file of a commit, named by its full hash, without those after `MAX_FILE_BYTES`.

    Raises `git.GitError` for a commit or file that does not exist.
    """
    done = git.run(repository, "cat-file", "blob", f"{commit}:{path}", keep=MAX_FILE_BYTES)
    if done.code != 0 and not done.truncated:
        raise git.GitFailed(f"{path} is not a file of commit {commit[:10]}")
    lines = done.stdout.decode("utf-8", "replace").split("\n")
    return lines[:-1] if done.truncated or not lines[-1] else lines


def count_lines(repository: Path, commit: str, paths: Iterable[str]) -> dict[str, int]:
    """Count the lines of these files of a commit, without paths that are no file of it. Raises `git.GitError`."""
    lengths: dict[str, int] = {}
    for path in paths:
        with suppress(git.GitFailed):
            lengths[path] = len(read_lines(repository, commit, path))
    return lengths


def find_folder_commit(project: Path, base_branch: str, folder: str) -> str | None:
    """Find the commit of a project's base branch where it has this folder, empty for its root. None where it has none."""
    try:
        repository = find_repository(project)
        commit = git.resolve_branch(repository, base_branch) if repository else None
        if repository is None or commit is None:
            return None
        done = git.run(repository, "cat-file", "-t", f"{commit}:{folder}")
        return commit if done.text.strip() == "tree" else None
    except (git.GitError, OSError):
        return None


def _find_stored_names(repository: Path, base: str, head: str) -> dict[str, str]:
    """Find the names of changed files as git stores them, by the shown ones: a name need not be UTF-8."""
    span = (git.validate_revision(base), git.validate_revision(head), "--")
    done = git.run(repository, "diff", "--name-only", "-z", "--no-renames", *span)
    return {name.decode("utf-8", "replace"): os.fsdecode(name) for name in done.stdout.split(b"\0")}


def _parse_raw(field: str, further: Iterator[str]) -> tuple[str, str | None, str]:
    """Parse an entry of `--raw`: status letter, old path of a renamed or copied file, and path."""
    letter = field.rsplit(" ", 1)[1][0]
    old = next(further) if letter in "RC" else None
    return letter, old, next(further)


def _parse_counts(field: str, further: Iterator[str]) -> tuple[str, tuple[int | None, int | None]]:
    """Parse an entry of `--numstat`: path, inserted and deleted lines. A renamed file's two paths are separate fields."""
    inserted, deleted, path = field.split("\t", 2)
    if not path:
        next(further)
        path = next(further)
    return path, (None, None) if inserted == "-" else (int(inserted), int(deleted))


def _quote_path(path: str) -> str:
    """Quote a path as git does with `core.quotePath=false`."""
    if not QUOTED_CHARACTERS.search(path):
        return path
    return f'"{QUOTED_CHARACTERS.sub(lambda match: _escape_character(match[0]), path)}"'


def _escape_character(character: str) -> str:
    letter = ESCAPES.get(character)
    return f"\\{letter}" if letter else f"\\{ord(character):03o}"
