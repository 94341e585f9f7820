"""Disagreements between the state of tickets and the facts, and done tickets whose evidence is to be verified again.

Each disagreement becomes one inbox item for as long as the ticket stays in its state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, exists, or_, select, true
from sqlalchemy.orm import Session, aliased

from models import (
    TERMINAL,
    Agent,
    Attempt,
    BlockReason,
    Evidence,
    EvidenceSource,
    EvidenceStatus,
    InboxItem,
    Landing,
    LandingState,
    RelationKind,
    Run,
    RunState,
    Ticket,
    TicketEvent,
    TicketRelationship,
    TicketStatus,
    WakeKind,
    now,
)
from tickets.lifecycle.moves import OPEN
from tickets.operations.inbox_items import NewItem
from tickets.shared import display_names, events
from tickets.shared.actors import Actor
from tickets.shared.canary import IS_ORDINARY_TICKET

MAX_FINDINGS = 25
"""Items of one kind that one sweep files. The rest is left to the next one."""
GRACE = timedelta(minutes=15)
"""How long a state may disagree with the facts, as they follow each other by a pass or two."""
VERIFIED_DAYS = 30
MAX_CANDIDATES = 50
RECHECKED = "evidence_rechecked"
"""Type of the event that a done ticket's evidence was verified again, or could not be."""

OTHER = aliased(Ticket)
LIVE_TICKETS = select(Run.ticket_id).where(Run.state != RunState.ENDED)
HAS_LIVE_RUN = exists().where(Run.ticket_id == Ticket.id, Run.state != RunState.ENDED)


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A disagreement between the state of a ticket and the facts. `title` and `body` are about `{ticket}`, in its `{state}`."""

    kind: str
    where: ColumnElement[bool]
    title: str
    body: str


def _leads_here(kind: RelationKind) -> ColumnElement[bool]:
    """Return the condition that a relationship leads from the other ticket to this one."""
    ends = (TicketRelationship.ticket_id == OTHER.id, TicketRelationship.other_id == Ticket.id)
    return and_(TicketRelationship.kind == kind, *ends)


def _mentions(column: Any, value: str) -> ColumnElement[bool]:
    """Return the condition that the text of a JSON column has this string."""
    return cast(column, Text).contains(f'"{value}"', autoescape=True)


IS_OPEN = OTHER.status.in_(OPEN)
OPEN_CHILDREN = (
    select(TicketRelationship.other_id)
    .join(OTHER, OTHER.id == TicketRelationship.ticket_id)
    .where(TicketRelationship.kind == RelationKind.CHILD_OF, IS_OPEN)
)
OPEN_ATTEMPTS = select(Attempt.parent_id).join(OTHER, OTHER.id == Attempt.ticket_id).where(IS_OPEN)
"""By their parents. Read from the open tickets, since most tickets of a board are closed."""
HAS_ATTEMPT = exists().where(Attempt.parent_id == Ticket.id)
HAS_BLOCKER = exists().where(_leads_here(RelationKind.BLOCKS))
HAS_OPEN_BLOCKER = exists().where(_leads_here(RelationKind.BLOCKS), IS_OPEN)
AWAITS_ENDED = exists().where(OTHER.id == Ticket.wake_ticket_id, OTHER.status.in_(TERMINAL))
AWAITS_REMOVED = and_(Ticket.wake_ticket_id.is_(None), _mentions(Ticket.wake, WakeKind.TICKET))
HAS_REPOSITORY = exists().where(Run.ticket_id == Ticket.id, Run.repository.is_not(None))
HAS_COMMITS = exists().where(
    Evidence.ticket_id == Ticket.id, Evidence.kind == "commit", Evidence.status == EvidenceStatus.OK
)
HAS_CHECK = exists().where(
    Evidence.ticket_id == Ticket.id, Evidence.kind == "check", Evidence.status == EvidenceStatus.OK
)
RUNNABLE = select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))

CONDITIONS = (
    Disagreement(
        "sweep-no-run",
        and_(Ticket.status == TicketStatus.IN_PROGRESS, Ticket.assigned_to.in_(RUNNABLE), ~HAS_LIVE_RUN),
        "{ticket} is in progress, but nothing works on it",
        "It belongs to an agent and has no live run. Return it to To do, or block it with the reason.",
    ),
    Disagreement(
        "sweep-stray-run",
        and_(Ticket.status != TicketStatus.IN_PROGRESS, Ticket.id.in_(LIVE_TICKETS)),
        "A run of {ticket} has not ended, though its state is {state}",
        "Its run was to stop. Look at it on the ticket's page before the ticket goes on.",
    ),
    Disagreement(
        "sweep-awaits-ended",
        and_(Ticket.status == TicketStatus.WAITING, or_(AWAITS_ENDED, AWAITS_REMOVED)),
        "{ticket} waits for a ticket that is closed or gone",
        "Nothing else wakes it. Wake it, or park it with another condition.",
    ),
    Disagreement(
        "sweep-unblocked",
        and_(
            Ticket.status == TicketStatus.BLOCKED,
            _mentions(Ticket.block, BlockReason.DEPENDENCY),
            HAS_BLOCKER,
            ~HAS_OPEN_BLOCKER,
        ),
        "{ticket} is blocked by tickets that are all closed",
        "Unblock it if nothing else holds it.",
    ),
    Disagreement(
        "sweep-open-children",
        and_(Ticket.status.in_(TERMINAL), or_(Ticket.id.in_(OPEN_CHILDREN), Ticket.id.in_(OPEN_ATTEMPTS))),
        "{ticket} is closed, but a part of it is open",
        "Close the open child or attempt, or reopen the ticket.",
    ),
    Disagreement(
        "sweep-ended-attempts",
        and_(Ticket.status.in_(OPEN), HAS_ATTEMPT, Ticket.id.not_in(OPEN_ATTEMPTS)),
        "{ticket} waits for attempts that have all ended",
        "No attempt was kept. Start others, or close the ticket.",
    ),
    Disagreement(
        "sweep-no-commits",
        and_(
            Ticket.status == TicketStatus.IN_REVIEW,
            Ticket.landing.is_distinct_from(LandingState.PENDING),
            HAS_REPOSITORY,
            ~HAS_COMMITS,
        ),
        "{ticket} is in review without a commit",
        "Its project has a repository, and its runs left no commit on the branch. Request changes if there should be one.",
    ),
)
UNMERGED = "sweep-unmerged"
EVIDENCE = "sweep-evidence"


def list_findings(session: Session) -> list[NewItem]:
    """List the items to file: one for each disagreement that has none yet."""
    return [
        _build_item(condition, ticket) for condition in CONDITIONS for ticket in session.scalars(_select_new(condition))
    ]


def _select_new(condition: Disagreement) -> Any:
    """Select the tickets that fulfil a condition for long enough, and have no item of it since they came into their state."""
    is_new = (Ticket.moved < now() - GRACE, IS_ORDINARY_TICKET, ~has_item(condition.kind), condition.where)
    return select(Ticket).where(*is_new).order_by(Ticket.id.desc()).limit(MAX_FINDINGS)


def has_item(kind: str) -> ColumnElement[bool]:
    """Return the condition that an item of this kind was filed for a ticket since it came into its state."""
    return exists().where(InboxItem.ticket_id == Ticket.id, InboxItem.kind == kind, InboxItem.created >= Ticket.moved)


def _build_item(condition: Disagreement, ticket: Ticket) -> NewItem:
    state = display_names.format_status_label(ticket.status)
    title = condition.title.format(ticket=ticket.identifier, state=state)
    return NewItem(kind=condition.kind, title=title, body=condition.body, ticket=ticket.identifier)


# --------------------------------------------------------------------------------------------------------- done tickets


@dataclass(frozen=True, slots=True)
class DoneWork:
    """The verified work of a done ticket: the last run with commits, and the commit that its check passed on.

    `landed` is the commit with which its base branch got it, None where Mission Control did not merge it.
    """

    ticket: Ticket
    run: Run
    commit: str
    has_check: bool
    landed: str | None
    base: str | None


def list_done(session: Session, host: str, *missing: ColumnElement[bool]) -> list[DoneWork]:
    """List the verified work of tickets done lately on this host that fulfil conditions, the newest first."""
    since = now() - timedelta(days=VERIFIED_DAYS)
    is_here = exists().where(Run.ticket_id == Ticket.id, Run.host == host)
    conditions = (Ticket.status == TicketStatus.DONE, Ticket.closed > since, IS_ORDINARY_TICKET, HAS_COMMITS, is_here)
    query = (
        select(Ticket)
        .where(*conditions, *missing)
        .order_by(Ticket.closed.desc(), Ticket.id.desc())
        .limit(MAX_CANDIDATES)
    )
    candidates = (_load_work(session, ticket) for ticket in session.scalars(query).all())
    return [work for work in candidates if work and work.run.host == host]


def list_unmerged_candidates(session: Session, host: str) -> list[DoneWork]:
    """List the done work that its base branch should have, and for which no item says that it has not."""
    return [work for work in list_done(session, host, ~has_item(UNMERGED)) if work.base]


def list_recheck_candidates(session: Session, host: str) -> list[DoneWork]:
    """List the done work with a passed check that was not verified again since the ticket was closed."""
    rechecked = exists().where(
        TicketEvent.ticket_id == Ticket.id, TicketEvent.event_type == RECHECKED, TicketEvent.ts >= Ticket.closed
    )
    return [work for work in list_done(session, host, HAS_CHECK, ~rechecked, ~has_item(EVIDENCE)) if work.has_check]


def _load_work(session: Session, ticket: Ticket) -> DoneWork | None:
    facts = (
        Evidence.ticket_id == ticket.id,
        Evidence.source == EvidenceSource.FACT,
        Evidence.status == EvidenceStatus.OK,
    )
    rows = session.scalars(select(Evidence).where(*facts).order_by(Evidence.id.desc())).all()
    commits = next((row for row in rows if row.kind == "commit"), None)
    commit = (commits.data or {}).get("head_sha") if commits else None
    run = session.get(Run, commits.run_id) if commits and commits.run_id else None
    if run is None or run.repository is None or not commit:
        return None
    has_check = any(row.kind == "check" and row.run_id == run.id for row in rows)
    return DoneWork(ticket, run, commit, has_check, *_read_landing(rows))


def _read_landing(rows: Sequence[Evidence]) -> tuple[str | None, str | None]:
    """Return commit and base branch of the last landing on a branch of the repository, or None twice."""
    facts = next((row.data or {} for row in rows if row.kind == "landing"), {})
    if facts.get("policy") not in (Landing.MERGE, Landing.SQUASH):
        return None, None
    return facts.get("commit"), facts.get("base")


def record_recheck(session: Session, work: DoneWork, result: str, detail: str, actor: Actor) -> None:
    """Record on a ticket that its evidence was verified again: held, failed, or skipped with the reason."""
    payload = {"result": result, "commit": work.commit, "detail": detail}
    events.append(session, work.ticket.id, RECHECKED, payload, actor, work.run.id)
