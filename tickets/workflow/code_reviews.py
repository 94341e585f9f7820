"""Reviews by agents as they are stored: those of a ticket, their assessments and findings, and which are at work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import CodeReview, LineComment, ReviewAssessment, ReviewFinding, Ticket, TicketStatus
from tickets.shared.errors import NotFound

TAG = "review"
"""The tag of tickets that a review creates."""
REVIEWED_STATES = (TicketStatus.IN_REVIEW, TicketStatus.WAITING)
"""States of tickets with an open review: that of their changes, or that of a folder."""
MAX_REVIEWS_LISTED = 20
MAX_OPEN_LISTED = 200


def get_review(session: Session, review_id: int) -> CodeReview:
    """Get a review. Raises `NotFound`."""
    review = session.get(CodeReview, review_id)
    if review is None:
        raise NotFound(f"There is no review {review_id}.", review=review_id)
    return review


ASSESSMENT = select(ReviewAssessment).where(ReviewAssessment.ticket_id == bindparam("ticket"))


def find_assessment(session: Session, ticket_id: int) -> ReviewAssessment | None:
    """Find the assessment that the runs of a ticket make. None for every ordinary ticket."""
    return session.scalar(ASSESSMENT, {"ticket": ticket_id})


def find_subject(session: Session, ticket_id: int) -> CodeReview | None:
    """Find the review to which the runs of a ticket belong. None for every ordinary ticket."""
    assessment = find_assessment(session, ticket_id)
    return session.get(CodeReview, assessment.review_id) if assessment else None


def list_assessments(session: Session, review_id: int) -> list[ReviewAssessment]:
    query = select(ReviewAssessment).where(ReviewAssessment.review_id == review_id).order_by(ReviewAssessment.id)
    return list(session.scalars(query))


def list_reviews(session: Session, ticket_id: int) -> list[CodeReview]:
    """List the newest reviews of a ticket, newest first."""
    query = select(CodeReview).where(CodeReview.ticket_id == ticket_id).order_by(CodeReview.id.desc())
    return list(session.scalars(query.limit(MAX_REVIEWS_LISTED)))


def list_open(session: Session) -> list[CodeReview]:
    """List the reviews that have not ended, the oldest first."""
    query = select(CodeReview).where(CodeReview.ended.is_(None)).order_by(CodeReview.id)
    return list(session.scalars(query.limit(MAX_OPEN_LISTED)))


OPEN_REVIEWERS = (
    select(CodeReview.ticket_id, CodeReview.reviewer)
    .where(in_ids(CodeReview.ticket_id, "tickets"), CodeReview.ended.is_(None))
    .order_by(CodeReview.id)
)


def find_open_reviewers(session: Session, ticket_ids: Sequence[int]) -> dict[int, str]:
    """Find who is reviewing each of these tickets now."""
    if not ticket_ids:
        return {}
    return {ticket_id: name for ticket_id, name in fetch_rows(session, OPEN_REVIEWERS, tickets=list(ticket_ids))}  # noqa: C416 - rows are not pairs to mypy


class CommentedFinding(NamedTuple):
    """A finding with its line comment, and the identifier of the ticket that was created from it."""

    facts: ReviewFinding
    comment: LineComment
    ticket: str | None


FINDINGS = (
    select(ReviewFinding, LineComment, Ticket.identifier)
    .join(LineComment, LineComment.id == ReviewFinding.comment_id)
    .outerjoin(Ticket, Ticket.id == ReviewFinding.created_ticket_id)
    .order_by(ReviewFinding.comment_id)
)


def list_findings(session: Session, reviews: Sequence[CodeReview]) -> dict[int, list[CommentedFinding]]:
    """List the findings of these reviews, by review."""
    findings: dict[int, list[CommentedFinding]] = {review.id: [] for review in reviews}
    if findings:
        for row in session.execute(FINDINGS.where(ReviewFinding.review_id.in_(findings))):
            findings[row.ReviewFinding.review_id].append(CommentedFinding._make(row))
    return findings


def find_findings(session: Session, comments: Sequence[LineComment]) -> dict[int, ReviewFinding]:
    """Find what reviewers found among these line comments, by the number of the comment."""
    ids = [comment.id for comment in comments]
    query = select(ReviewFinding).where(ReviewFinding.comment_id.in_(ids))
    return {finding.comment_id: finding for finding in session.scalars(query)} if ids else {}
