"""Line comments beside a diff: each at its line, which may have moved since, or outdated where the line is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from models import LineComment, ReviewFinding
from web.site import markdown
from workers.repository import changes
from workers.repository.git import GitError

from . import diff
from .changes import MAX_PATCH_BYTES, ChangesView, FileDiff, hold_git_slot

MAX_FOLLOWED_COMMITS = 20
"""Number of commits from which lines are followed, each by two calls of git."""


@dataclass(frozen=True, slots=True)
class CommentView:
    """A line comment as the page shows it, with the number that its line has now. None where it is gone.

    `finding` has the severity and the category of a comment that a review by an agent made.
    """

    row: LineComment
    html: Markup
    answer_html: Markup
    line: int | None
    finding: ReviewFinding | None


@dataclass(frozen=True, slots=True)
class FileComments:
    """The comments of a file: those at a line of its diff, by the name of that line, and the others."""

    by_line: dict[str, list[CommentView]]
    others: list[CommentView]


@dataclass(frozen=True, slots=True)
class Anchor:
    """A line of one of the commits that a diff compares."""

    path: str
    line: int


def view_comment(row: LineComment, line: int | None, finding: ReviewFinding | None) -> CommentView:
    return CommentView(row, markdown.render_html(row.body), markdown.render_html(row.answer), line, finding)


def place_comments(
    view: ChangesView, repository: Path, rows: Sequence[LineComment], findings: Mapping[int, ReviewFinding]
) -> tuple[dict[str, FileComments], list[CommentView]]:
    """Place the comments in the files of a diff, by path, and list those of other files."""
    anchors = _find_anchors(repository, view, rows)
    files = {file.path: FileComments({}, []) for file in view.files}
    lines = {file.path: _list_lines(file) for file in view.files}
    paths = {(file.old_path or file.path, True): file for file in view.files}
    paths |= {(file.path, False): file for file in view.files}
    rest: list[CommentView] = []
    for row in rows:
        anchor = anchors.get(row.id)
        file = paths.get((anchor.path if anchor else row.path, row.is_old))
        comment = view_comment(row, anchor.line if anchor else None, findings.get(row.id))
        name = f"{'-' if row.is_old else ''}{comment.line}"
        if file is None:
            rest.append(comment)
        elif name in lines[file.path]:
            files[file.path].by_line.setdefault(name, []).append(comment)
        else:
            files[file.path].others.append(comment)
    return files, rest


def _list_lines(file: FileDiff) -> set[str]:
    """List the names of the lines at which a diff can show a comment."""
    lines = [line for hunk in file.hunks or () for line in hunk.lines if line.kind != "note"]
    return {f"-{line.old}" if line.kind == "removed" else str(line.new) for line in lines}


def _find_anchors(repository: Path, view: ChangesView, rows: Sequence[LineComment]) -> dict[int, Anchor]:
    """Find the lines where the comments belong now, by comment.

    Those whose line or commit is gone are left out, and those of reviews before the last `MAX_FOLLOWED_COMMITS`.
    """
    anchors: dict[int, Anchor] = {}
    movements: dict[tuple[str, bool], Movement | None] = {}
    for row in reversed(rows):
        key = row.commit_sha, row.is_old
        if key not in movements and len(movements) < MAX_FOLLOWED_COMMITS:
            movements[key] = _load_movement(repository, row.commit_sha, view.base if row.is_old else view.head)
        movement = movements.get(key)
        anchor = movement.follow(Anchor(row.path, row.line)) if movement else None
        if anchor:
            anchors[row.id] = anchor
    return anchors


@dataclass(frozen=True, slots=True)
class Movement:
    """The way of lines from one commit to another: changed files by their old path, and their hunks."""

    files: dict[str, changes.FileChange]
    hunks: dict[str, tuple[diff.Hunk, ...]]

    def follow(self, anchor: Anchor) -> Anchor | None:
        """Follow a line to the other commit. None where it is gone, or cannot be followed."""
        change = self.files.get(anchor.path)
        if change is None:
            return anchor
        hunks = self.hunks.get(change.diff_header)
        line = None if change.status == "deleted" or hunks is None else diff.map_line(hunks, anchor.line)
        return Anchor(change.path, line) if line else None


def _load_movement(repository: Path, commit: str, target: str) -> Movement | None:
    """Load what changed between two commits. None when one of them no longer exists."""
    if commit == target:
        return Movement({}, {})
    try:
        with hold_git_slot():
            changed_files = changes.list_changes(repository, commit, target)
            patch = changes.read_patch(repository, commit, target, max_bytes=MAX_PATCH_BYTES)
    except (GitError, OSError):
        return None
    files = {change.old_path or change.path: change for change in changed_files if change.status != "copied"}
    return Movement(files, diff.parse_diff(patch.text, truncated=patch.truncated))
