"""Reviews on the Changes tab: what changed since a person's last one, comments on lines, and sending them to the agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import LineComment, ReviewedCommit, ReviewFinding, Run, Ticket
from tickets.conversation import reviews
from tickets.conversation.reviews import NewReview
from tickets.planning import finding_tickets
from tickets.planning.finding_tickets import CreateFindingTickets
from tickets.runs.notify_run import notify_run
from tickets.shared import paging
from tickets.shared.errors import Invalid
from tickets.shared.lookup import get_ticket
from tickets.workflow import code_reviews
from tickets.workflow.code_reviews import CommentedFinding
from web.runs import changes, line_comments
from web.site import layout, markdown

blueprint = Blueprint("review_page", __name__)

View = dict[str, Any]
COMMENT_FIELDS = ("path", "line", "body")


@dataclass(frozen=True, slots=True)
class ReviewHistory:
    """The line comments of a ticket, and the commit that the person who looks at it reviewed last.

    `findings` are those of agents among the comments, by their numbers, and `reviews` what came of each of their reviews.
    """

    comments: list[LineComment]
    reviewed: ReviewedCommit | None
    findings: dict[int, ReviewFinding]
    reviews: list[View]


def load_history(session: Session, ticket: Ticket) -> ReviewHistory:
    comments = reviews.list_comments(session, ticket.id)
    return ReviewHistory(
        comments,
        reviews.find_reviewed_commit(session, ticket.id, auth.get_actor().name),
        code_reviews.find_findings(session, comments),
        _load_reviews(session, ticket),
    )


def _load_reviews(session: Session, ticket: Ticket) -> list[View]:
    rows = code_reviews.list_reviews(session, ticket.id)
    findings = code_reviews.list_findings(session, rows)
    return [
        {
            "row": row,
            "summary_html": markdown.render_html(row.summary),
            "findings": [_build_finding(finding, is_on_diff=bool(row.base_sha)) for finding in findings[row.id]],
        }
        for row in rows
    ]


def _build_finding(finding: CommentedFinding, *, is_on_diff: bool) -> View:
    return finding._asdict() | {"html": "" if is_on_diff else markdown.render_html(finding.comment.body)}


def build_changes(run: Run, history: ReviewHistory) -> View:
    """Build the changes of a run, all or those since the last review of the person, with the line comments."""
    since = history.reviewed if request.args.get("since") == "review" else None
    view = changes.load_changes(run, since.commit_sha if since else None)
    context: View = {"changes": view, "reviewed": history.reviewed, "since": since}
    if view.problem or not history.comments or not run.repository:
        return context
    comments, elsewhere = line_comments.place_comments(view, Path(run.repository), history.comments, history.findings)
    return context | {"comments": comments, "comments_elsewhere": elsewhere}


@blueprint.post("/ticket/<reference>/review")
def send_review(reference: str) -> Response:
    """Send a review to the agent, as a change request where the form has the version of the ticket."""
    review, caller = _read_review(request.form), auth.get_caller()
    with writing(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        outcome = reviews.send_review(session, ticket, review, caller.actor, caller.identity)
    if outcome["became"] == "message":
        layout.flash_note(outcome["text"])
    notify_run(auth.get_instance().settings, outcome["run"])
    return redirect(f"/ticket/{ticket.identifier}", 303)


def _read_review(form: MultiDict[str, str]) -> NewReview:
    """Read a review, whose comments are in repeated fields. A line as it was has a minus before its number."""
    columns = [form.getlist(f"comment_{name}") for name in COMMENT_FIELDS]
    if len(set(map(len, columns))) > 1:
        raise Invalid("Each line comment needs a path, a line and a text.", field="comments")
    comments = [
        {"path": path, "line": line.removeprefix("-"), "is_old": line.startswith("-"), "body": body}
        for path, line, body in zip(*columns, strict=True)
    ]
    fields: Mapping[str, Any] = {name: form[name] for name in ("base", "head", "body", "version") if form.get(name)}
    return NewReview.model_validate({**fields, "comments": comments})


@blueprint.get("/ticket/<reference>/line-comments/<number:comment>")
def show_comment(reference: str, comment: int) -> str:
    """Render one line comment as a fragment. Only the page that shows it knows the number that its line has now."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        row = reviews.get_comment(session, ticket.id, comment)
        finding = code_reviews.find_findings(session, [row]).get(row.id)
    view = line_comments.view_comment(row, paging.parse_number(request.args.get("line")), finding)
    return layout.render_part("ticket/_line_comment", ticket={"identifier": ticket.identifier}, comment=view)


@blueprint.post("/ticket/<reference>/line-comments/<number:comment>")
def resolve_comment(reference: str, comment: int) -> Response:
    is_resolved = request.form.get("resolved") == "yes"
    with writing(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        reviews.resolve_comment(session, ticket.id, comment, is_resolved, auth.get_actor())
    return redirect(f"/ticket/{ticket.identifier}?tab=changes#line-comment-{comment}", 303)


@blueprint.post("/ticket/<reference>/reviews/<number:review>/tickets")
def create_finding_tickets(reference: str, review: int) -> Response:
    """Create a ticket from one finding of a review, or from all of them."""
    numbers = [int(number) for number in request.form.getlist("finding") if number.isdecimal()]
    body = CreateFindingTickets(findings=numbers or None)
    with writing(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        created = finding_tickets.create_tickets(session, ticket, review, body, auth.get_actor())
    layout.flash_note(f"Tickets from findings: {', '.join(row.identifier for row in created)}.")
    return redirect(f"/ticket/{ticket.identifier}?tab=changes#code-review-{review}", 303)
