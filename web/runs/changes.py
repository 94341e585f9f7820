"""Changes of a run, read from its git repository: for the API, and for the Changes tab of a ticket."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import Field
from typing_extensions import TypedDict

import auth
from database import end_read
from models import Run
from redaction import OMISSION_MARK, Redaction
from tickets.lifecycle.schemas import FileJson
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body, FilePath
from web.api.resource import ANYBODY, RUNS, Call, Resource
from workers.contract import spec as specs
from workers.repository import changes, git
from workers.repository.changes import FileChange
from workers.repository.git import DiffText, GitError, GitFailed, GitHung

from . import diff, diff_highlight

blueprint = Resource("changes", __name__)

MAX_PATCH_BYTES = 256 << 10
MAX_FILES = 200
MAX_GIT_THREADS = 4
"""Threads that may wait for git. In a repository in which it hangs, each does so for the whole time limit of a call."""
GIT_SLOTS = threading.BoundedSemaphore(MAX_GIT_THREADS)
WAIT_SECONDS = 3.0
MAX_UNFOLDED_LINES = 400
"""Number of diff lines above which a file is shown collapsed."""


MAX_LINE = 10_000_000
CONTEXT_SIZE = 20
"""Number of lines by which a diff is expanded."""


class ChangesJson(TypedDict):
    base: str
    head: str
    files: list[FileJson]
    patch: str
    truncated: bool


class PatchQuery(Body):
    """Size limit of the patch, and the file to restrict it to."""

    path: FilePath | None = None
    max_bytes: int = Field(1 << 20, ge=0, le=4 << 20)


@dataclass(frozen=True, slots=True)
class CommitRange:
    """Range of a run's commits: from the commit that it started from to the head of its branch."""

    repository: Path
    base: str
    head: str

    @classmethod
    def from_run(cls, run: Run) -> CommitRange:
        """Return the range of a run. Raises `NotFound`, with the reason, if its changes are not on this machine."""
        if not run.repository or not run.branch or not run.base_sha:
            raise NotFound("This run has no branch of its own.", run=run.id)
        if run.host != auth.get_instance().settings.machine_name:
            raise NotFound(f"This run's changes are on {run.host}, where it ran.", run=run.id)
        return cls(Path(run.repository), run.base_sha, run.branch)

    def resolve_head(self) -> str:
        """Resolve the head commit of the branch. Raises `GitFailed` when the branch does not exist."""
        head = git.resolve_revision(self.repository, self.head)
        if head is None:
            raise GitFailed(f"The branch {self.head} does not exist")
        return head


@contextmanager
def hold_git_slot() -> Iterator[None]:
    """Hold a slot for calls of git, so that pages without git still answer. Raises `GitHung` when none becomes free."""
    if not GIT_SLOTS.acquire(timeout=WAIT_SECONDS):
        raise GitHung("git does not answer earlier requests: try again later")
    try:
        yield
    finally:
        GIT_SLOTS.release()


@blueprint.reads("/runs/<number:run>/changes", rights=ANYBODY | RUNS)
def read_changes(call: Call, run: Run, query: PatchQuery) -> ChangesJson:
    """Read the commits of a run as changed files and a patch against the commit that it started from."""
    commit_range = CommitRange.from_run(run)
    end_read(call.session)
    try:
        with hold_git_slot():
            changed_files = changes.list_changes(commit_range.repository, commit_range.base, commit_range.head)
            patch = changes.read_patch(
                commit_range.repository, commit_range.base, commit_range.head, query.path, max_bytes=query.max_bytes
            )
    except (GitError, OSError) as error:
        raise NotFound(
            "The changes of this run are no longer available.", run=run.id, reason=str(error)[:500]
        ) from error
    files = [FileJson.read(change) for change in changed_files]
    return {
        "base": commit_range.base,
        "head": commit_range.head,
        "files": files,
        "patch": redact_patch(patch, _read_redaction(run)),
        "truncated": patch.truncated,
    }


@dataclass(frozen=True, slots=True)
class FileDiff:
    """A changed file with its diff. `hunks` is None if the size limit was reached before it."""

    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None
    hunks: tuple[diff.Hunk, ...] | None

    @property
    def gaps(self) -> list[diff.Gap | None]:
        return diff.find_gaps(self.hunks or ())

    @property
    def folded(self) -> bool:
        return self.hunks is None or sum(len(hunk.lines) for hunk in self.hunks) > MAX_UNFOLDED_LINES


@dataclass(frozen=True, slots=True)
class ChangesView:
    """A run's changes for the Changes tab, from the commit `base` to `head`.

    `problem` is the reason why there is nothing to show.
    """

    run: int
    branch: str = ""
    base: str = ""
    head: str = ""
    files: tuple[FileDiff, ...] = ()
    more: int = 0
    truncated: bool = False
    problem: str | None = None

    @property
    def insertions(self) -> int:
        return sum(file.insertions or 0 for file in self.files)

    @property
    def deletions(self) -> int:
        return sum(file.deletions or 0 for file in self.files)


def load_changes(run: Run, since: str | None = None) -> ChangesView:
    """Load the changes of a run, all or those since a commit, with the patch truncated at `MAX_PATCH_BYTES`."""
    try:
        commit_range = CommitRange.from_run(run)
        commit_range = replace(commit_range, base=since or commit_range.base)
        with hold_git_slot():
            head = commit_range.resolve_head()
            changed_files = changes.list_changes(commit_range.repository, commit_range.base, head)
            patch = changes.read_patch(commit_range.repository, commit_range.base, head, max_bytes=MAX_PATCH_BYTES)
    except NotFound as error:
        return ChangesView(run.generation, problem=error.message)
    except GitHung as error:
        return ChangesView(run.generation, problem=f"The changes cannot be read now: {error}.")
    except (GitError, OSError):
        return ChangesView(run.generation, problem="The branch or its base commit is no longer in the repository.")
    files = _build_files(changed_files[:MAX_FILES], patch, _read_redaction(run))
    more = max(0, len(changed_files) - MAX_FILES)
    return ChangesView(
        run.generation, commit_range.head, commit_range.base, head, tuple(files), more, truncated=patch.truncated
    )


def _build_files(changed_files: Sequence[FileChange], patch: DiffText, redaction: Redaction) -> Iterator[FileDiff]:
    """Build the files of a patch, with secrets redacted and the first ones highlighted."""
    hunks = diff.parse_diff(patch.text, truncated=patch.truncated)
    if redaction.has_secret(patch.text):
        hunks = {header: tuple(_redact_hunk(hunk, redaction) for hunk in parts) for header, parts in hunks.items()}
    remaining, budget = diff_highlight.MAX_CHARACTERS, diff_highlight.TimeBudget()
    for change in changed_files:
        parts = hunks.get(change.diff_header)
        remaining -= diff_highlight.measure_hunks(parts or ())
        if parts and remaining >= 0:
            parts = diff_highlight.highlight_hunks(change.path, parts, budget)
        yield FileDiff(change.path, change.old_path, change.status, change.insertions, change.deletions, parts)


class ContextLines(Body):
    """Unchanged lines of a file that a diff leaves out, some of those from `start` to `end` (the last one when None).

    The line numbers of the old file are higher by `shift`. `run` and `view` are those of the page.
    """

    path: FilePath
    head: str = Field(pattern=f"^{git.SHA_PATTERN.pattern}$")
    start: int = Field(ge=1, le=MAX_LINE)
    end: int | None = Field(None, ge=1, le=MAX_LINE)
    shift: int = Field(0, ge=-MAX_LINE, le=MAX_LINE)
    run: int | None = None
    view: str = ""


def load_context(run: Run, section: ContextLines) -> tuple[diff.Line, ...]:
    """Load up to `CONTEXT_SIZE` lines of a changed file: the last ones of a gap, or the first ones after the last hunk.

    Raises `NotFound` when the branch has moved on since the page was loaded, or the file has no such lines.
    """
    commit_range, path = CommitRange.from_run(run), section.path
    try:
        with hold_git_slot():
            head = commit_range.resolve_head()
            paths = {change.path for change in changes.list_changes(commit_range.repository, commit_range.base, head)}
            if head != section.head or path not in paths:
                raise NotFound("The branch has new commits. Reload the page to see them.")
            texts = _read_redaction(run).redact_lines(changes.read_lines(commit_range.repository, head, path))
    except (GitError, OSError) as error:
        raise NotFound("The file can no longer be read.", path=path, reason=str(error)[:500]) from error
    first, last = _choose_lines(section, len(texts))
    numbered = [
        diff.Line("same", number + section.shift, number, texts[number - 1]) for number in range(first, last + 1)
    ]
    return diff_highlight.highlight_context(path, numbered)


def _choose_lines(section: ContextLines, length: int) -> tuple[int, int]:
    if section.end is None:
        return section.start, min(length, section.start + CONTEXT_SIZE - 1)
    last = min(length, section.end)
    return max(section.start, last - CONTEXT_SIZE + 1), last


def _read_redaction(run: Run) -> Redaction:
    """Read the secrets of a run, which its agent may have committed."""
    return specs.read_redaction(auth.get_instance().settings.run_path(run.id))


def redact_patch(patch: DiffText, redaction: Redaction) -> str:
    """Redact the secrets in a patch, with the beginning of one at its end if it was cut."""
    if not patch.truncated:
        return redaction.redact_text(patch.text)
    text = patch.text[: redaction.find_open_end(patch.text)]
    return redaction.redact_text(text + OMISSION_MARK).removesuffix(OMISSION_MARK)


def _redact_hunk(hunk: diff.Hunk, redaction: Redaction) -> diff.Hunk:
    texts = redaction.redact_lines([line.text for line in hunk.lines])
    lines = tuple(replace(line, text=text) for line, text in zip(hunk.lines, texts, strict=True))
    return replace(hunk, heading=redaction.redact_text(hunk.heading), lines=lines)
