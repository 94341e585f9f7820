"""API of reviews by agents: their reports, their results, and tickets from their findings."""

from __future__ import annotations

from typing_extensions import TypedDict

from models import Ticket
from tickets.lifecycle.schemas import FindingJson, ReviewJson, read_tickets
from tickets.planning import assessments, finding_tickets
from tickets.planning.assessments import NewAssessment
from tickets.planning.finding_tickets import CreateFindingTickets
from tickets.shared.ticket_fields import TicketJson
from tickets.workflow import code_reviews
from tickets.workflow.code_reviews import CommentedFinding
from web.api.page import Page
from web.api.resource import ANYBODY, RUNS, Call, Resource

from .review_places import read_file_lengths

blueprint = Resource("code_reviews", __name__)


class AssessmentJson(TypedDict):
    verdict: str
    findings: int


@blueprint.reads("/tickets/<ticket>/reviews", rights=ANYBODY | RUNS)
def list_reviews(call: Call, ticket: Ticket) -> Page[ReviewJson]:
    """List the newest reviews of a ticket by agents, with their findings."""
    rows = code_reviews.list_reviews(call.session, ticket.id)
    findings = code_reviews.list_findings(call.session, rows)
    items = [ReviewJson.read(row, findings=[_read_finding(finding) for finding in findings[row.id]]) for row in rows]
    return {"items": items, "next": None}


def _read_finding(finding: CommentedFinding) -> FindingJson:
    comment = finding.comment
    place = {"comment": comment.id, "path": comment.path, "line": comment.line, "body": comment.body}
    return FindingJson.read(finding.facts, ticket=finding.ticket, **place)


@blueprint.writes("POST", "/tickets/<ticket>/assessment", rights=RUNS, examine=read_file_lengths)
def report_assessment(call: Call, ticket: Ticket, body: NewAssessment) -> AssessmentJson:
    """Report a review. It counts when the run ends with DONE, and a later report replaces it."""
    row = assessments.report_assessment(call.session, ticket, body, call.examination, call.actor)
    return {"verdict": body.verdict, "findings": len(row.findings)}


@blueprint.writes("POST", "/tickets/<ticket>/reviews/<number:review>/tickets")
def create_finding_tickets(call: Call, ticket: Ticket, review: int, body: CreateFindingTickets) -> Page[TicketJson]:
    """Create a ticket for each of these findings, or return the one that it has."""
    rows = finding_tickets.create_tickets(call.session, ticket, review, body, call.actor)
    return {"items": read_tickets(call.session, rows), "next": None}
