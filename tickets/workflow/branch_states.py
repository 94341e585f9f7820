"""Branches of tickets as they were last observed: their commits, and what a merge into the base would meet.

A job tries the merges (`jobs/trial_merges.py`), and a run's report tells of its branch. Pages only read the rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations, islice
from typing import Any, NamedTuple

from sqlalchemy import and_, bindparam, case, func, select
from sqlalchemy.orm import Session, aliased

from database import fetch_rows, in_ids
from models import Attempt, BranchState, Project, Run, Ticket, TicketStatus, ago, now
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.ticket_row import AnyTicket

OPEN_WORK = (TicketStatus.IN_PROGRESS, TicketStatus.NEEDS_INPUT, TicketStatus.IN_REVIEW)
"""States in which a ticket's branch is compared with those of others."""
MAX_TICKETS = 200
RETRY_INTERVAL = timedelta(minutes=5)
MAX_CONFLICTS = 50
MAX_OVERLAPS = 20
MAX_PLACES = 4
"""Number of common places of two tickets, so that those with one leave room for the others."""
OBSERVER = Actor.system("trial-merge")
Spans = Mapping[str, Sequence[Sequence[int]]]
"""Touched places of each file, between gaps of lines, in their order. See `workers/repository/trial_merge.py`."""
Place = tuple[str, int | None, int | None]
"""Path with first and last line, or with neither for a file as a whole."""


@dataclass(frozen=True, slots=True)
class BranchWork:
    """An open ticket with a branch on this host, and the commits whose merge was tried last."""

    ticket_id: int
    repository: str
    branch: str
    base: str
    tried_base: str | None = None
    tried_head: str | None = None

    def is_tried(self, base_sha: str, head_sha: str) -> bool:
        return (self.tried_base, self.tried_head) == (base_sha, head_sha)


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The observation of one ticket's branch. `problem` says why the merge could not be tried."""

    ticket_id: int
    head_sha: str
    tree_sha: str
    base: str
    base_sha: str
    conflicts: Sequence[str] = ()
    spans: Spans | None = None
    problem: str = ""


class Overlap(NamedTuple):
    """Lines that another open ticket touches too. Without lines, both change the file as a whole."""

    ticket: str
    path: str
    first: int | None
    last: int | None

    @property
    def place(self) -> str:
        if self.first is None:
            return self.path
        return (
            f"{self.path} line {self.first}"
            if self.first == self.last
            else f"{self.path} lines {self.first}-{self.last}"
        )


class MergeNote(NamedTuple):
    """The result of a ticket's trial merge for display. `is_current` until the branch or its base moves."""

    base: str
    conflicts: tuple[str, ...]
    overlaps: tuple[Overlap, ...]
    problem: str = ""
    is_current: bool = True

    @property
    def conflict_text(self) -> str:
        count = len(self.conflicts)
        return f"Conflicts with {self.base} in {count} {'file' if count == 1 else 'files'}"

    @property
    def overlapping(self) -> tuple[str, ...]:
        """The other tickets, each once."""
        return tuple(dict.fromkeys(overlap.ticket for overlap in self.overlaps))

    @property
    def has_finding(self) -> bool:
        return bool(self.conflicts or self.overlaps)


# ------------------------------------------------------------------------------------------------------------- reading


LATER_RUN = aliased(Run)
NEWEST_IN_REPOSITORY = (
    select(func.max(LATER_RUN.id))
    .where(LATER_RUN.ticket_id == Ticket.id, LATER_RUN.repository.is_not(None), LATER_RUN.branch.is_not(None))
    .scalar_subquery()
)
OPEN_BRANCHES = (
    select(
        Ticket.id,
        Run.repository,
        Run.branch,
        Project.base_branch,
        case(
            (and_(BranchState.problem != "", BranchState.checked < ago(RETRY_INTERVAL)), None),
            else_=BranchState.tried_base,
        ),
        BranchState.tried_head,
    )
    .join(Project, Project.id == Ticket.project_id)
    .join(Run, Run.id == NEWEST_IN_REPOSITORY)
    .outerjoin(BranchState, BranchState.ticket_id == Ticket.id)
    .where(Ticket.status.in_(OPEN_WORK), Run.host == bindparam("host"))
    .order_by(Ticket.id.desc())
    .limit(MAX_TICKETS)
)


def list_work(session: Session, host: str) -> list[BranchWork]:
    """List the open tickets whose branches are on this host, the newest first.

    A merge that git could not try counts as not tried after `RETRY_INTERVAL`.
    """
    return [
        BranchWork(ticket_id, repository or "", branch or "", base, *tried)
        for ticket_id, repository, branch, base, *tried in session.execute(OPEN_BRANCHES, {"host": host})
    ]


def find_state(session: Session, ticket_id: int) -> BranchState | None:
    return session.get(BranchState, ticket_id)


NOTES = select(
    BranchState.ticket_id,
    BranchState.base,
    BranchState.conflicts,
    BranchState.overlaps,
    BranchState.problem,
    BranchState.tried_head == BranchState.head_sha,
).where(in_ids(BranchState.ticket_id, "tickets"), BranchState.tried_base.is_not(None))


def load_notes(session: Session, tickets: Iterable[AnyTicket]) -> dict[int, MergeNote]:
    """Load the result of the last trial merge of each of these tickets that is open work, with one query at most."""
    ids = [ticket.id for ticket in tickets if ticket.status in OPEN_WORK]
    if not ids:
        return {}
    return {
        ticket_id: MergeNote(base or "", tuple(conflicts), tuple(Overlap(*row) for row in overlaps), problem, current)
        for ticket_id, base, conflicts, overlaps, problem, current in fetch_rows(session, NOTES, tickets=ids)
    }


# ----------------------------------------------------------------------------------------------------------- recording


def record_head(session: Session, ticket_id: int, commit: str, tree: str | None) -> None:
    """Record the commit that a ticket's branch has now."""
    state = session.get(BranchState, ticket_id)
    if state is None:
        state = BranchState(ticket_id=ticket_id)
        session.add(state)
    state.head_sha, state.tree_sha, state.checked = commit, tree, now()


def record_trials(session: Session, results: Iterable[TrialResult]) -> None:
    """Record the results of trial merges. `record_overlaps` then compares them."""
    for result in results:
        record_head(session, result.ticket_id, result.head_sha, result.tree_sha)
        state = session.get_one(BranchState, result.ticket_id)
        before = _get_finding(state)
        state.base, state.tried_base, state.tried_head = result.base, result.base_sha, result.head_sha
        state.conflicts, state.spans = list(result.conflicts[:MAX_CONFLICTS]), dict(result.spans or {})
        state.problem = result.problem
        _append_event(session, state, before)


IS_COMPARED = Ticket.status.in_(OPEN_WORK), BranchState.tried_base.is_not(None)
COMPARED = (
    select(
        BranchState.ticket_id,
        BranchState.tried_base,
        BranchState.spans,
        Ticket.identifier,
        Ticket.project_id,
        Attempt.parent_id,
    )
    .join(Ticket, Ticket.id == BranchState.ticket_id)
    .outerjoin(Attempt, Attempt.ticket_id == Ticket.id)
    .where(*IS_COMPARED)
    .order_by(Ticket.id.desc())
    .limit(MAX_TICKETS)
)
TRIED = select(BranchState.ticket_id, BranchState.tried_base, BranchState.tried_head).join(Ticket).where(*IS_COMPARED)


def list_tried(session: Session) -> frozenset[tuple[int, str | None, str | None]]:
    """List what was tried of the open tickets. While it is unchanged, so are their overlaps."""
    return frozenset((ticket_id, base, head) for ticket_id, base, head in session.execute(TRIED))


def compute_overlaps(session: Session) -> dict[int, list[Overlap]]:
    """Compare the touched lines of all open tickets. Tickets without overlaps have an empty list.

    Only branches that were tried on the same commit of the same project are compared, since their lines are counted there.
    Attempts at one ticket are not compared with each other.
    """
    rows = session.execute(COMPARED).all()
    overlaps: dict[int, list[Overlap]] = {row.ticket_id: [] for row in rows}
    groups: dict[tuple[int | None, str | None], list[Any]] = defaultdict(list)
    for row in rows:
        groups[row.project_id, row.tried_base].append(row)
    for one, other in (pair for group in groups.values() for pair in combinations(group, 2)):
        if one.parent_id is None or one.parent_id != other.parent_id:
            for place in find_overlaps(one.spans, other.spans)[:MAX_PLACES]:
                overlaps[one.ticket_id].append(Overlap(other.identifier, *place))
                overlaps[other.ticket_id].append(Overlap(one.identifier, *place))
    return {ticket_id: overlaps_of_ticket[:MAX_OVERLAPS] for ticket_id, overlaps_of_ticket in overlaps.items()}


def record_overlaps(session: Session, overlaps: Mapping[int, Sequence[Overlap]]) -> None:
    """Store the overlaps of these tickets where they have changed."""
    states = select(BranchState).where(BranchState.ticket_id.in_(overlaps)).order_by(BranchState.ticket_id)
    for state in session.scalars(states):
        rows = [list(overlap) for overlap in overlaps[state.ticket_id]]
        if rows != state.overlaps:
            before = _get_finding(state)
            state.overlaps = rows
            _append_event(session, state, before)


def find_overlaps(one: Spans, other: Spans) -> list[Place]:
    """Find the first places that both changes touch, as path with first and last line, by path."""
    paths = sorted(one.keys() & other.keys())
    places = (place for path in paths for place in _find_common(path, one[path], other[path]))
    return list(islice(places, MAX_OVERLAPS))


def _find_common(path: str, one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> Iterator[Place]:
    """Find the common places of one file: two spans meet where they share a gap. A file without spans is one place."""
    if not one or not other:
        yield path, None, None
    first, second = 0, 0
    while first < len(one) and second < len(other):
        start, end = max(one[first][0], other[second][0]), min(one[first][1], other[second][1])
        if start <= end:
            yield path, max(1, min(start + 1, end)), max(1, end)
        if one[first][1] <= other[second][1]:
            first += 1
        else:
            second += 1


def _get_finding(state: BranchState) -> tuple[list[str], list[str]]:
    """Return what people are told: the conflicting files, and the overlapping tickets."""
    return list(state.conflicts or []), sorted({row[0] for row in state.overlaps or []})


def _append_event(session: Session, state: BranchState, before: tuple[list[str], list[str]]) -> None:
    """Tell pages and the log when the finding has changed."""
    conflicts, names = after = _get_finding(state)
    if after != before:
        parts = [f"conflicts with {state.base} in {', '.join(conflicts[:5])}"] if conflicts else []
        parts += [f"overlaps {', '.join(names)}"] if names else []
        detail = " and ".join(parts) or f"merges into {state.base} without conflicts or overlaps"
        payload = {"detail": detail, "conflicts": conflicts, "overlaps": names}
        events.append(session, state.ticket_id, "ticket_merge_tried", payload, OBSERVER)
