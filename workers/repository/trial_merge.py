"""Try a merge in the object store alone: the files that would conflict, and the lines of the base that the work touches.

No work tree, index or branch is changed. The lines are counted in the base's present head, so that those of two
branches can be compared wherever each began.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import git

MAX_DIFF_BYTES = 4 << 20
MAX_FILES = 300
MAX_SPANS = 100
"""Changed places of one file. More are joined to one."""
HUNK_HEADER = re.compile(r"@@ -(\d+)(?:,(\d+))? ")
Span = tuple[int, int]
"""A changed place between two gaps of lines, where gap n follows line n. Changes that share a gap conflict in git."""


@dataclass(frozen=True, slots=True)
class BranchHead:
    """The commit of a branch, and the tree of its files."""

    commit: str
    tree: str


@dataclass(frozen=True, slots=True)
class TrialMerge:
    """The result of a trial: conflicting files, and the touched spans of each file. One without spans is touched as a whole."""

    conflicts: tuple[str, ...]
    spans: dict[str, list[Span]]


def list_heads(repository: Path, branches: Iterable[str]) -> dict[str, BranchHead]:
    """List the heads of those local branches that exist, with one call of git. Raises `git.GitError`."""
    references = [f"refs/heads/{git.validate_revision(branch)}" for branch in branches]
    output = git.check_output(
        repository, "for-each-ref", "--format=%(objectname) %(tree) %(refname:lstrip=2)", *references
    )
    rows = [line.split(" ", 2) for line in output.splitlines()]
    return {branch: BranchHead(commit, tree) for commit, tree, branch in rows}


def try_merge(repository: Path, base: str, head: str) -> TrialMerge:
    """Merge two commits without keeping the result. Raises `git.GitError`, also where they have no common ancestor."""
    options = ("--write-tree", "--name-only", "--no-messages", "-z")
    done = git.run(repository, "merge-tree", *options, git.validate_revision(base), git.validate_revision(head))
    if done.code not in (0, 1):
        raise git.GitFailed(f"git cannot try to merge {head[:10]}: {done.error_text}")
    tree, *conflicts = done.text.removesuffix("\0").split("\0")
    return TrialMerge(tuple(dict.fromkeys(filter(None, conflicts))), _read_spans(repository, base, tree))


def _read_spans(repository: Path, base: str, tree: str) -> dict[str, list[Span]]:
    options = (*git.DIFF_OPTIONS, "--no-renames", "--unified=0")
    done = git.run(repository, "diff", *options, base, tree, "--", keep=MAX_DIFF_BYTES)
    if done.code != 0 and not done.truncated:
        raise git.GitFailed(f"git cannot compare {base[:10]} with its merge: {done.error_text}")
    return parse_spans(done.text)


def parse_spans(patch: str) -> dict[str, list[Span]]:
    """Parse a patch without context and without renames into the touched spans of each file."""
    spans: dict[str, list[Span]] = {}
    current: list[Span] = []
    for line in patch.split("\n"):
        if line.startswith("diff --git "):
            sides = line.removeprefix("diff --git ")
            path = sides[: len(sides) // 2].strip('"').removeprefix("a/")
            current = spans.setdefault(path, []) if len(spans) < MAX_FILES else []
        elif match := HUNK_HEADER.match(line):
            current.append(_parse_span(int(match[1]), int(match[2] or 1)))
    return {path: _limit_spans(parts) for path, parts in spans.items()}


def _parse_span(first: int, count: int) -> Span:
    """Convert a hunk's lines of the base into gaps. An insertion stands in the one gap after its line."""
    return (first - 1, first - 1 + count) if count else (first, first)


def _limit_spans(spans: list[Span]) -> list[Span]:
    return spans if len(spans) <= MAX_SPANS else [(spans[0][0], spans[-1][1])]
