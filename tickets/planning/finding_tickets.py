"""Tickets from the findings of a review: one for each finding, however often it is asked for."""

from __future__ import annotations

from pydantic import Field
from sqlalchemy.orm import Session

from models import CodeReview, Project, Severity, Ticket
from tickets.lifecycle import transitions
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body, NewTicket
from tickets.shared.rights import Act
from tickets.workflow import code_reviews
from tickets.workflow.code_reviews import CommentedFinding

PRIORITIES = {Severity.CRITICAL: "high", Severity.IMPORTANT: "normal", Severity.MINOR: "low"}
DESCRIPTION = (
    "{severity} ({category}), found by {agents} in the review of {ticket}: `{path}:{line}` of commit {commit}."
)


class CreateFindingTickets(Body):
    """The numbers of the findings' comments. Without them, all findings of the review."""

    findings: list[int] | None = Field(None, min_length=1, max_length=200)


def create_tickets(
    session: Session, ticket: Ticket, review_id: int, body: CreateFindingTickets, actor: Actor
) -> list[Ticket]:
    """Create a ticket for each of these findings, linked with the reviewed one. Returns those that exist already too.

    Raises `Forbidden`, and `NotFound` for a review or a finding that the ticket does not have.
    """
    rights.require(actor, Act.SPEAK)
    review = code_reviews.get_review(session, review_id)
    rows = {row.comment.id: row for row in code_reviews.list_findings(session, [review])[review.id]}
    numbers = list(dict.fromkeys(body.findings or rows))
    if review.ticket_id != ticket.id or not rows.keys() >= set(numbers):
        raise NotFound(f"{ticket.identifier} has no such findings in review {review_id}.", review=review_id)
    return [_get_or_create(session, ticket, review, rows[number], actor) for number in numbers]


def _get_or_create(
    session: Session, ticket: Ticket, review: CodeReview, finding: CommentedFinding, actor: Actor
) -> Ticket:
    if finding.facts.created_ticket_id is not None:
        return lookup.get_ticket(session, finding.facts.created_ticket_id)
    created = transitions.create_ticket(session, _build_ticket(session, ticket, review, finding), actor)
    finding.facts.created_ticket_id = created.id
    payload = {"created": created.identifier, "comment": finding.comment.id}
    events.append(session, ticket.id, "finding_ticket_created", payload, actor)
    return created


def _build_ticket(session: Session, ticket: Ticket, review: CodeReview, finding: CommentedFinding) -> NewTicket:
    """Build a ticket for triage. The reviewer's text is quoted, so that nothing in it is a step of the script agent."""
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    row, comment = finding.facts, finding.comment
    place = {"path": comment.path, "line": comment.line, "commit": review.commit_sha[:10]}
    facts = {"severity": row.severity, "category": row.category, "ticket": ticket.identifier}
    head = DESCRIPTION.format(agents=" and ".join(row.found_by), **facts, **place)
    quote = "\n".join(f"> {line}" for line in comment.body.splitlines())
    kind = "relates_to" if review.base_sha is None else "caused_by"
    return NewTicket.model_validate(
        {
            "title": row.title,
            "description": f"{head}\n\n{quote}",
            "status": "inbox",
            "priority": PRIORITIES[row.severity],
            "project": project.slug if project else None,
            "tags": [code_reviews.TAG],
            "relationships": [{"kind": kind, "ticket": ticket.identifier}],
        }
    )
