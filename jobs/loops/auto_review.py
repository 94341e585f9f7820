"""The job `mc-auto-review`: start the reviews of submitted work, and settle those that bring no report.

1. Withdraw reviews of work that was decided or has newer commits, and settle assessments that failed, with "needs a person".
2. For each ticket in review of a project with a reviewer, whose newest commit that reviewer has not reviewed: measure the
   diff. A larger one than `review_max_diff_lines` is a warning, an incident and "needs a person"; for any other, create the
   tickets on which the agents review it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from database import reading, writing
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from models import TaskOutcome
from tickets.operations import incidents
from tickets.planning import code_reviews, review_queue
from tickets.planning.code_reviews import ReviewSubject
from tickets.planning.review_queue import SubmittedWork
from tickets.schedule import tasks
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.workflow import code_reviews as stored_reviews
from workers.repository import changes
from workers.repository.git import GitError

TASK = "mc-auto-review"
REVIEWS = Actor.service(TASK)
OVERSIZED_TEXT = (
    "The diff has {lines} changed lines, more than review_max_diff_lines ({limit}), so a person reviews it."
)
WARNING_RESULTS = frozenset({"failed", "oversized", "without_reviewer", "unreadable"})
"""Results that leave a ticket to a person, or for the next pass."""
ACTED_RESULTS = frozenset({"withdrawn", "started"})


def make_pass(context: JobContext) -> JobResult:
    """Settle open reviews and start new ones."""
    with reading(context.engine) as session:
        open_reviews = stored_reviews.list_open(session)
    counts: Counter[str] = Counter()
    for review in open_reviews:
        counts[_settle_review(context, review.id) or "open"] += 1
    with reading(context.engine) as session:
        submitted = review_queue.list_submitted(session, context.host)
    problems = []
    for work in submitted:
        result = _start_review(context, work)
        counts[result] += 1
        if result == "unreadable":
            problems.append(f"The commit {work.commit[:10]} in {work.repository} cannot be read, so it is not reviewed")
    outcome = _choose_outcome(counts)
    notes = {"problems": problems} if problems else {tasks.HAS_ENTRY: True} if outcome is TaskOutcome.WARNING else {}
    return JobResult(outcome, {**counts, **notes})


def _choose_outcome(counts: Counter[str]) -> TaskOutcome:
    if WARNING_RESULTS & counts.keys():
        return TaskOutcome.WARNING
    return TaskOutcome.ACTED if ACTED_RESULTS & counts.keys() else TaskOutcome.NOOP


def _settle_review(context: JobContext, review_id: int) -> str | None:
    with writing(context.engine) as session:
        return code_reviews.check_review(session, review_id, context.retry.review_rounds)


def _start_review(context: JobContext, work: SubmittedWork) -> str:
    """Start the review of one commit, unless the ticket has moved since it was read."""
    lines = _measure_diff(work)
    if not lines:
        return "unreadable" if lines is None else "without_changes"
    limit = context.settings.review_max_diff_lines
    with writing(context.engine) as session:
        if not review_queue.is_submitted(session, work):
            return "moved"
        ticket, subject = lookup.get_ticket(session, work.ticket_id), ReviewSubject(work.commit, work.base)
        if lines <= limit:
            review = code_reviews.start_review(session, ticket, subject, work.reviewer, REVIEWS)
            return "started" if review.ended is None else "without_reviewer"
        text = OVERSIZED_TEXT.format(lines=lines, limit=limit)
        code_reviews.refuse_review(session, ticket, subject, work.reviewer, text)
        incident: dict[str, Any] = {"ticket_id": ticket.id, "actor": REVIEWS}
        title = f"{ticket.identifier} is too large for an automatic review"
        incidents.raise_incident(session, f"review:oversized:{ticket.identifier}", title, text, **incident)
        return "oversized"


def _measure_diff(work: SubmittedWork) -> int | None:
    """Count the changed lines of a submission, with one for each binary file. None where git cannot tell."""
    try:
        files = changes.list_changes(Path(work.repository), work.base, work.commit)
    except (GitError, OSError):
        return None
    return sum((file.insertions or 0) + (file.deletions or 0) or 1 for file in files)
