"""Submitted work that its project's reviewer has not reviewed, by the commit that was observed last."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import bindparam, exists, false, func, select
from sqlalchemy.orm import Session

from models import BranchState, CodeReview, Project, ReviewAssessment, Run, Ticket, TicketStatus
from tickets.workflow import landing

MAX_TICKETS = 100


class SubmittedWork(NamedTuple):
    """The changes of a ticket in review, from commit `base` to `commit`, and who reviews them."""

    ticket_id: int
    repository: str
    base: str
    commit: str
    reviewer: str


NEWEST_RUN = (
    select(func.max(Run.id))
    .where(Run.ticket_id == Ticket.id, Run.repository.is_not(None), Run.branch.is_not(None))
    .correlate(Ticket)
    .scalar_subquery()
)
IS_REVIEWED = exists().where(
    CodeReview.ticket_id == Ticket.id,
    CodeReview.commit_sha == BranchState.head_sha,
    CodeReview.reviewer == Project.reviewer,
)
SUBMITTED = (
    select(Ticket.id, Run.repository, Run.base_sha, BranchState.head_sha, Project.reviewer)
    .join(Project, Project.id == Ticket.project_id)
    .join(BranchState, BranchState.ticket_id == Ticket.id)
    .join(Run, Run.id == NEWEST_RUN)
    .where(
        Ticket.status == TicketStatus.IN_REVIEW,
        Ticket.archived == false(),
        landing.IS_NOT_PENDING,
        Project.reviewer.is_not(None),
        Project.archived == false(),
        Run.base_sha.is_not(None),
        Run.base_sha != BranchState.head_sha,
        Run.host == bindparam("host"),
        ~IS_REVIEWED,
        ~exists().where(ReviewAssessment.ticket_id == Ticket.id),
    )
    .order_by(Ticket.id)
    .limit(MAX_TICKETS)
)


def list_submitted(session: Session, host: str) -> list[SubmittedWork]:
    """List the work in review on this host whose newest commit is not reviewed, the oldest tickets first."""
    return [SubmittedWork._make(row) for row in session.execute(SUBMITTED, {"host": host})]


IS_SUBMITTED = (
    select(Ticket.id)
    .join(BranchState, BranchState.ticket_id == Ticket.id)
    .join(Project, Project.id == Ticket.project_id)
    .where(
        Ticket.id == bindparam("ticket"),
        Ticket.status == TicketStatus.IN_REVIEW,
        landing.IS_NOT_PENDING,
        BranchState.head_sha == bindparam("commit"),
        ~IS_REVIEWED,
    )
)


def is_submitted(session: Session, work: SubmittedWork) -> bool:
    """Return whether this commit still waits for its review."""
    return session.scalar(IS_SUBMITTED, {"ticket": work.ticket_id, "commit": work.commit}) is not None
