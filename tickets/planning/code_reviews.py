"""Reviews by agents and councils: start one for a commit, settle the part of each agent, and act on the verdict.

Each agent of a review works a ticket of its own, through the ordinary queue; the reviewed ticket stays in review. A review
belongs to its commit: on newer ones, and once a person has decided, its result is only recorded. Anything but a report in
its proper form needs a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import in_ids
from models import (
    TERMINAL,
    ActorKind,
    Agent,
    AgentKind,
    BlockReason,
    CodeReview,
    Gate,
    LineComment,
    Planning,
    Project,
    ReviewAssessment,
    ReviewFinding,
    ReviewVerdict,
    Run,
    Ticket,
    TicketStatus,
    now,
)
from redaction import cut_text
from tickets.conversation.reviews import MAX_COMMENTS
from tickets.lifecycle import comments, editing, transitions
from tickets.lifecycle.comments import MISSION_CONTROL
from tickets.lifecycle.moves import Role
from tickets.shared import display_names, events, lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import DomainError
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.team import agents
from tickets.workflow import branch_states, code_reviews, landing, ticket_phases
from tickets.workflow.code_reviews import CommentedFinding

from . import assessments
from .assessments import MergedFinding

MAX_FINDING_BYTES = 8000
MAX_REPORT_BYTES = 80_000
MAX_AGE = timedelta(hours=12)
"""Time after which a review that has not ended needs a person."""
WORKING_STATES = (TicketStatus.TODO, TicketStatus.IN_PROGRESS, TicketStatus.WAITING)
"""States in which the ticket of an assessment may still bring a report."""
DESCRIPTION = "{reviewer} reviews {subject} at commit {commit}. The result is on {ticket}."
VERDICT_WORDS = {
    ReviewVerdict.APPROVE: "approves",
    ReviewVerdict.REQUEST_CHANGES: "requests changes",
    ReviewVerdict.NEEDS_PERSON: "asks for a person's review",
}


@dataclass(frozen=True, slots=True)
class ReviewSubject:
    """The changes from commit `base` to `commit`, or a folder at a commit."""

    commit: str
    base: str | None = None
    folder: str | None = None

    def describe(self, ticket: Ticket) -> str:
        return ticket.identifier if self.base else f"the folder {self.folder}" if self.folder else "all files"


# --------------------------------------------------------------------------------------------------------------- start


def start_review(session: Session, ticket: Ticket, subject: ReviewSubject, reviewer: str, actor: Actor) -> CodeReview:
    """Start a review with a ticket for each agent of the reviewer. Where nobody is left to review, it needs a person."""
    review = _add_review(session, ticket, subject, reviewer)
    names = list_assessors(session, ticket.id, reviewer)
    payload = {"review": review.id, "reviewer": reviewer, "agents": names, "commit": subject.commit}
    events.append(session, ticket.id, "review_started", payload, actor)
    for name in names:
        _add_assessment(session, ticket, review, subject.describe(ticket), name, actor)
    if not names:
        _end_review(session, review, ReviewVerdict.NEEDS_PERSON, f"{reviewer} has no agent that may review this work.")
    return review


def refuse_review(session: Session, ticket: Ticket, subject: ReviewSubject, reviewer: str, reason: str) -> CodeReview:
    """Record that this commit is not reviewed automatically, which needs a person."""
    review = _add_review(session, ticket, subject, reviewer)
    _end_review(session, review, ReviewVerdict.NEEDS_PERSON, reason)
    return review


def _add_review(session: Session, ticket: Ticket, subject: ReviewSubject, reviewer: str) -> CodeReview:
    facts = {"commit_sha": subject.commit, "base_sha": subject.base, "folder": subject.folder}
    review = CodeReview(ticket_id=ticket.id, reviewer=reviewer, **facts)
    session.add(review)
    session.flush()
    return review


SUBMISSIONS = select(Run.agent, Run.profile).where(
    in_ids(Run.ticket_id, "tickets"), Run.outcome.in_(ticket_phases.SUBMITTED_OUTCOMES)
)


def list_assessors(session: Session, ticket_id: int, reviewer: str) -> list[str]:
    """List the runnable agents of a reviewer that neither did the work nor share a profile with who did."""
    submissions = session.execute(SUBMISSIONS, {"tickets": [ticket_id]}).all()
    workers, profiles = {row.agent for row in submissions}, {row.profile for row in submissions}
    team = {agent.name: agent for agent in agents.list_members(session)}
    agent = team.get(reviewer)
    candidates = [team[name] for name in _list_members(agent) if name in team] if agent else []
    return [
        candidate.name
        for candidate in candidates
        if candidate.runnable and candidate.name not in workers and candidate.profile not in {None, *profiles}
    ]


def _list_members(agent: Agent) -> list[str]:
    return list(agent.members) if agent.kind is AgentKind.COUNCIL else [agent.name]


def _add_assessment(
    session: Session, ticket: Ticket, review: CodeReview, subject: str, agent: str, actor: Actor
) -> None:
    """Create the ticket on which an agent reviews. There is nothing to plan, as it changes nothing."""
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    commit = review.commit_sha[:10]
    facts = {
        "title": f"Review {subject} at {commit}"[:200],
        "description": DESCRIPTION.format(reviewer=agent, subject=subject, commit=commit, ticket=ticket.identifier),
        "priority": ticket.priority.label,
        "assigned_to": agent,
        "project": project.slug if project else None,
        "tags": [code_reviews.TAG],
        "gate": Gate.NONE,
    }
    work = transitions.create_ticket(session, NewTicket.model_validate(facts), actor)
    work.planning = Planning.NONE
    session.add(ReviewAssessment(review_id=review.id, ticket_id=work.id, agent=agent))
    session.flush()


# -------------------------------------------------------------------------------------------------------------- settle


def settle_report(session: Session, assessment: ReviewAssessment, outcome: str, summary: str, max_rounds: int) -> None:
    """Settle an assessment whose run has ended with a verdict of its own. Without a proper report it needs a person."""
    if outcome not in ticket_phases.SUBMITTED_OUTCOMES or assessment.verdict is None:
        _discard_report(assessment, summary.strip() or "It ended without a report.")
    _settle_assessment(session, assessment, max_rounds, move="adopt")


def check_review(session: Session, review_id: int, max_rounds: int) -> str | None:
    """Withdraw a review that has become pointless, or settle those of its assessments that will bring no report.

    Returns "withdrawn", "failed", or None where the review goes on.
    """
    review = code_reviews.get_review(session, review_id)
    if review.ended is not None:
        return None
    if reason := _find_stale_reason(session, review):
        withdraw_review(session, review, reason)
        return "withdrawn"
    parts = code_reviews.list_assessments(session, review.id)
    failed = [
        (part, reason) for part in parts if part.settled is None and (reason := _find_failure(session, review, part))
    ]
    for part, reason in failed:
        _discard_report(part, reason)
        _settle_assessment(session, part, max_rounds, move="cancel")
    if not parts:  # their tickets were deleted
        _conclude(session, review, parts, max_rounds)
    return "failed" if failed or not parts else None


def withdraw_review(session: Session, review: CodeReview, reason: str) -> None:
    """End a review without a verdict, and stop the runs that work on it."""
    review.ended, review.note = now(), reason
    for assessment in code_reviews.list_assessments(session, review.id):
        if assessment.settled is None:
            assessment.settled = now()
            _close_work(session, assessment, "cancel", reason)
    payload = {"review": review.id, "reviewer": review.reviewer, "reason": reason}
    events.append(session, review.ticket_id, "review_withdrawn", payload, MISSION_CONTROL)


def _find_failure(session: Session, review: CodeReview, assessment: ReviewAssessment) -> str | None:
    """Return why an assessment will bring no report, None while it may."""
    work = lookup.get_ticket(session, assessment.ticket_id)
    if work.status not in WORKING_STATES:
        state = display_names.format_status(work.status)
        return f"{work.identifier} is {state}. {work.failure_reason or ''}".strip()
    is_late = review.created < now() - MAX_AGE
    return f"{work.identifier} brought no report within {MAX_AGE.total_seconds() / 3600:g} hours." if is_late else None


def _discard_report(assessment: ReviewAssessment, reason: str) -> None:
    assessment.verdict, assessment.findings = ReviewVerdict.NEEDS_PERSON, []
    assessment.summary = cut_text(reason, assessments.MAX_SUMMARY_CHARACTERS)


def _settle_assessment(session: Session, assessment: ReviewAssessment, max_rounds: int, *, move: str) -> None:
    """Settle an assessment and close its ticket by this move. The last one of a review ends the review."""
    assessment.settled = now()
    session.flush()
    _close_work(session, assessment, move, "The review has ended.")
    parts = code_reviews.list_assessments(session, assessment.review_id)
    review = code_reviews.get_review(session, assessment.review_id)
    if review.ended is None and all(part.settled for part in parts):
        _conclude(session, review, parts, max_rounds)


def _close_work(session: Session, assessment: ReviewAssessment, move: str, note: str) -> None:
    """Close the ticket of an assessment, which stops its run, and take it off the board."""
    work = lookup.get_ticket(session, assessment.ticket_id)
    if work.status not in TERMINAL:
        role = Role.HUMAN if move == "cancel" else None
        work = transitions.transition(session, work.id, move, MISSION_CONTROL, role=role, note=note)
    editing.edit_ticket(session, work, EditTicket(version=work.version, archived=True), MISSION_CONTROL)


# ------------------------------------------------------------------------------------------------------------ conclude


def _conclude(session: Session, review: CodeReview, parts: Sequence[ReviewAssessment], max_rounds: int) -> None:
    """Merge the assessments, and act on the strictest verdict where the review still applies."""
    verdict = assessments.choose_verdict(part.verdict for part in parts)
    merged = assessments.merge_findings({part.agent: part.findings for part in parts})
    left_out = f"\n\n{len(merged) - MAX_COMMENTS} milder findings are left out." if len(merged) > MAX_COMMENTS else ""
    note = _find_stale_reason(session, review) or _find_limit(session, review, verdict, max_rounds) or ""
    _end_review(session, review, verdict, note, _compose_summary(parts) + left_out, merged[:MAX_COMMENTS])


def _compose_summary(parts: Sequence[ReviewAssessment]) -> str:
    if len(parts) == 1:
        return parts[0].summary
    words = {part.agent: VERDICT_WORDS[part.verdict or ReviewVerdict.NEEDS_PERSON] for part in parts}
    return "\n\n".join(f"**{part.agent}** {words[part.agent]}: {part.summary}" for part in parts)


def _find_stale_reason(session: Session, review: CodeReview) -> str | None:
    """Return why the result of a review no longer applies, None while it does."""
    ticket = lookup.get_ticket(session, review.ticket_id)
    if review.base_sha is None:
        return f"{ticket.identifier} is closed." if ticket.status in TERMINAL else None
    if ticket.status is not TicketStatus.IN_REVIEW or landing.is_pending(ticket):
        return f"{ticket.identifier} was decided meanwhile."
    state = branch_states.find_state(session, ticket.id)
    if state is None or state.head_sha != review.commit_sha:
        return "The branch has newer commits."
    return None


def _find_limit(session: Session, review: CodeReview, verdict: ReviewVerdict, max_rounds: int) -> str | None:
    """Return why reviewers may request no further changes, None while they may."""
    rounds = comments.count_send_backs(session, review.ticket_id, ActorKind.REVIEWER)
    if verdict is ReviewVerdict.REQUEST_CHANGES and rounds >= max_rounds:
        return f"Reviewers have requested changes {rounds} times in a row, so a person decides."
    return None


def _end_review(
    session: Session,
    review: CodeReview,
    verdict: ReviewVerdict,
    note: str = "",
    summary: str = "",
    findings: Sequence[MergedFinding] = (),
) -> None:
    """End a review with its verdict, store the findings, and act on it. A `note` says why it is only recorded."""
    review.ended, review.verdict, review.note, review.summary = now(), verdict, note, summary
    rows = [_add_finding(session, review, finding) for finding in findings]
    is_final = review.base_sha is not None and not note and verdict is not ReviewVerdict.NEEDS_PERSON
    is_moved = is_final and _make_move(session, review, compose_report(review, rows))
    payload = {"review": review.id, "verdict": verdict.value, "words": VERDICT_WORDS[verdict], "note": review.note}
    events.append(session, review.ticket_id, "review_ended", payload | {"findings": len(rows)}, _build_actor(review))
    if not is_moved:
        comments.write(session, review.ticket_id, compose_report(review, rows), _build_actor(review))
    if review.base_sha is None:
        _close_folder_ticket(session, review)


def _build_actor(review: CodeReview) -> Actor:
    return Actor(ActorKind.REVIEWER, review.reviewer)


def _make_move(session: Session, review: CodeReview, text: str) -> bool:
    """Approve or request changes as the reviewer. A refusal is noted, and the ticket is left to a person."""
    approves = review.verdict is ReviewVerdict.APPROVE
    facts: dict[str, Any] = {"note": text} if approves else {"body": text}
    move = "approve" if approves else "request_changes"
    try:
        transitions.transition(session, review.ticket_id, move, _build_actor(review), **facts)
    except DomainError as error:  # raised before anything is written
        review.note = error.message
        return False
    return True


def _close_folder_ticket(session: Session, review: CodeReview) -> None:
    """Complete the ticket of a folder review, or block it for a person where there is no result."""
    ticket = lookup.get_ticket(session, review.ticket_id)
    if ticket.status is not TicketStatus.WAITING:
        return  # a person has taken it up
    if review.verdict is not ReviewVerdict.NEEDS_PERSON:
        transitions.transition(session, ticket.id, "adopt", MISSION_CONTROL, note="The review has ended.")
        return
    transitions.transition(session, ticket.id, "wake", MISSION_CONTROL)
    facts: dict[str, Any] = {"reason": BlockReason.NEEDS_HUMAN, "next_action": "Read the review, or request it again."}
    transitions.transition(session, ticket.id, "block", MISSION_CONTROL, owner="operator", **facts)


def _add_finding(session: Session, review: CodeReview, finding: MergedFinding) -> CommentedFinding:
    """Store a finding as a line comment on the reviewed commit, with the facts of the finding beside it."""
    body = cut_text("\n\n".join(filter(None, [finding.title, finding.detail.strip()])), MAX_FINDING_BYTES)
    place: dict[str, Any] = {"path": finding.path, "line": finding.line, "commit_sha": review.commit_sha}
    comment = LineComment(ticket_id=review.ticket_id, author=review.reviewer, is_old=False, body=body, **place)
    session.add(comment)
    session.flush()
    row = ReviewFinding(
        comment_id=comment.id,
        review_id=review.id,
        severity=finding.severity,
        category=finding.category,
        title=finding.title,
        found_by=list(finding.found_by),
    )
    session.add(row)
    session.flush()
    return CommentedFinding(row, comment, None)


def compose_report(review: CodeReview, rows: Sequence[CommentedFinding]) -> str:
    """Compose the one text of a review, in Markdown: verdict, note, summary and findings."""
    words = VERDICT_WORDS[review.verdict or ReviewVerdict.NEEDS_PERSON]
    head = f"{review.reviewer} {words} (commit {review.commit_sha[:10]}). {review.note}".strip()
    lines = "\n".join(_format_finding(review, row) for row in rows)
    return cut_text("\n\n".join(filter(None, [head, review.summary, lines])), MAX_REPORT_BYTES)


def _format_finding(review: CodeReview, finding: CommentedFinding) -> str:
    facts, comment = finding.facts, finding.comment
    by = f", found by {' and '.join(facts.found_by)}" if facts.found_by != [review.reviewer] else ""
    place = f"`{comment.path}:{comment.line}`"
    text = f"- **{facts.severity}** {facts.category}{by}. Comment {comment.id} on {place}: {comment.body}"
    return text.replace("\n", "\n  ")
