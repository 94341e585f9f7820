"""Trial merges of the branches of open tickets on this host, so that conflicts are known before the approval.

1. Read which open tickets have a branch here, and what was tried.
2. Read the heads of all these branches and of their bases, with one call of git for each repository.
3. Try each merge whose branch or base has moved, outside of any transaction.
4. Store the results, and compare the touched lines of all open tickets if anything has changed.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from database import reading, writing
from redaction import SHAPES
from tickets.workflow import branch_states
from tickets.workflow.branch_states import BranchWork, TrialResult
from workers.host.job_thread import JobThread
from workers.repository import git, trial_merge
from workers.repository.trial_merge import BranchHead

from .job_context import JobContext

INTERVAL_SECONDS = 5.0
MAX_REPOSITORY_SECONDS = 30.0
"""After this time the rest of a repository is left to the next pass. One in which git hangs keeps no other from its turn."""
Tried = frozenset[tuple[int, str | None, str | None]]


def make_pass(context: JobContext, compared: Tried = frozenset()) -> Tried:
    """Try the merges of all branches that have moved. `compared` is the answer of the pass before, if it may be trusted."""
    with reading(context.engine) as session:
        work = branch_states.list_work(session, context.host)
    if results := _try_branches(work):
        with writing(context.engine) as session:
            branch_states.record_trials(session, results)
    with reading(context.engine) as session:
        tried = branch_states.list_tried(session)
        overlaps = branch_states.compute_overlaps(session) if tried != compared else {}
    if overlaps:
        with writing(context.engine) as session:
            branch_states.record_overlaps(session, overlaps)
    return tried


def _try_branches(work: list[BranchWork]) -> list[TrialResult]:
    works_by_base: dict[tuple[str, str], list[BranchWork]] = defaultdict(list)
    for entry in work:
        works_by_base[entry.repository, entry.base].append(entry)
    return [
        result
        for (repository, base), entries in works_by_base.items()
        for result in _try_repository(Path(repository), base, entries)
    ]


def _try_repository(repository: Path, base: str, works: list[BranchWork]) -> list[TrialResult]:
    deadline = time.monotonic() + MAX_REPOSITORY_SECONDS
    try:
        heads = trial_merge.list_heads(repository, [base, *(work.branch for work in works)])
        base_sha = heads[base].commit if base in heads else git.resolve_branch(repository, base)
    except (git.GitError, OSError, ValueError):  # the project page says what is wrong with its repository
        return []
    results = []
    for work in works:
        head = heads.get(work.branch)
        if head and base_sha and not work.is_tried(base_sha, head.commit) and time.monotonic() < deadline:
            results.append(_try_merge(repository, work, head, base_sha))
    return results


def _try_merge(repository: Path, work: BranchWork, head: BranchHead, base_sha: str) -> TrialResult:
    place = work.ticket_id, head.commit, head.tree, work.base, base_sha
    try:
        trial = trial_merge.try_merge(repository, base_sha, head.commit)
    except (git.GitError, OSError) as error:
        return TrialResult(*place, problem=SHAPES.clean_text(" ".join(str(error).split())))
    return TrialResult(
        *place,
        conflicts=[SHAPES.clean_text(path) for path in trial.conflicts],
        spans={SHAPES.clean_text(path): spans for path, spans in trial.spans.items()},
    )


class TrialMerger:
    """Makes passes in a thread of its own, as git may be slow. `tick` begins one when it is due."""

    def __init__(self, context: JobContext, log: Callable[[str], None]) -> None:
        self._context = context
        self._last = -math.inf
        self._compared: Tried = frozenset()
        self._thread = JobThread("trial-merge", "trying merges", log)

    @property
    def is_trying(self) -> bool:
        return self._thread.is_alive

    def tick(self) -> None:
        """Begin a pass when one is due and none is running."""
        if self.is_trying or time.monotonic() - self._last < INTERVAL_SECONDS:
            return
        self._last = time.monotonic()
        self._thread.start(self._work)

    def _work(self) -> None:
        self._compared = make_pass(self._context, self._compared)
