"""What a run changed, read from its repository: for programs, and for the tab of a ticket."""

from __future__ import annotations

import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import Field
from typing_extensions import TypedDict

from database import end_read
from models import Run
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body, Line
from web.api.resource import ANYBODY, RUNS, Call, Resource
from workers.repository import changes
from workers.repository.git import GitError

from . import diff

blueprint = Resource("changes", __name__)

SHOWN_BYTES = 256 << 10
SHOWN_FILES = 200
FOLDED_LINES = 400
"""A file with more lines than that is shown folded."""


class FileJson(TypedDict):
    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None


class ChangesJson(TypedDict):
    base: str
    head: str
    files: list[FileJson]
    patch: str
    truncated: bool


class Wanted(Body):
    """All of the patch, or that of one file."""

    path: Line | None = None
    max_bytes: int = Field(1 << 20, ge=0, le=4 << 20)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a run's changes lie: from the commit it started from to the end of its branch."""

    repository: Path
    base: str
    head: str

    @classmethod
    def of(cls, run: Run) -> Span:
        """Raises `NotFound`, with the reason, for a run whose changes are not to be seen from here."""
        if not run.repository or not run.branch or not run.base_sha:
            raise NotFound("This run has no branch of its own.", run=run.id)
        if run.host != socket.gethostname():
            raise NotFound(f"This run worked on {run.host}; its changes are there.", run=run.id)
        return cls(Path(run.repository), run.base_sha, run.branch)


@blueprint.reads("/runs/<number:run>/changes", rights=ANYBODY | RUNS)
def read_changes(call: Call, run: Run, query: Wanted) -> ChangesJson:
    """Read what a run has committed: the files, and the patch against where it started."""
    span = Span.of(run)
    end_read(call.session)
    try:
        listed = changes.files(span.repository, span.base, span.head)
        patch = changes.patch(span.repository, span.base, span.head, query.path, max_bytes=query.max_bytes)
    except (GitError, OSError) as error:
        raise NotFound("The changes of this run can no longer be read.", run=run.id, reason=str(error)[:500]) from error
    files = [FileJson(**asdict(each)) for each in listed]  # type: ignore[typeddict-item]
    return {"base": span.base, "head": span.head, "files": files, "patch": patch.text, "truncated": patch.truncated}


@dataclass(frozen=True, slots=True)
class ShownFile:
    """One file as it is shown; `hunks` is None where the size limit was reached before it."""

    path: str
    old_path: str | None
    status: str
    insertions: int | None
    deletions: int | None
    hunks: tuple[diff.Hunk, ...] | None

    @property
    def folded(self) -> bool:
        return self.hunks is None or sum(len(hunk.lines) for hunk in self.hunks) > FOLDED_LINES


@dataclass(frozen=True, slots=True)
class Shown:
    """A run's changes as the tab shows them; `problem` says why there is nothing to see."""

    run: int
    branch: str = ""
    base: str = ""
    files: tuple[ShownFile, ...] = ()
    more: int = 0
    truncated: bool = False
    problem: str | None = None

    @property
    def insertions(self) -> int:
        return sum(file.insertions or 0 for file in self.files)

    @property
    def deletions(self) -> int:
        return sum(file.deletions or 0 for file in self.files)


def shown(run: Run) -> Shown:
    """What the newest run has committed, cut at a size that a page can carry."""
    try:
        span = Span.of(run)
        listed = changes.files(span.repository, span.base, span.head)
        patch = changes.patch(span.repository, span.base, span.head, max_bytes=SHOWN_BYTES)
    except NotFound as error:
        return Shown(run.generation, problem=error.message)
    except (GitError, OSError):
        return Shown(run.generation, problem="The branch or where it started from is no longer in the repository.")
    hunks = _whole(diff.parse(patch.text), patch.truncated)
    files = tuple(
        ShownFile(each.path, each.old_path, each.status, each.insertions, each.deletions, hunks.get(place))
        for place, each in enumerate(listed[:SHOWN_FILES])
    )
    more = max(0, len(listed) - SHOWN_FILES)
    return Shown(run.generation, span.head, span.base, files, more, patch.truncated)


def _whole(parsed: list[tuple[diff.Hunk, ...]], truncated: bool) -> dict[int, tuple[diff.Hunk, ...]]:
    """The hunks by the place of their file; that of the cut is left out, since its last line may be half a one."""
    return dict(enumerate(parsed[:-1] if truncated else parsed))
