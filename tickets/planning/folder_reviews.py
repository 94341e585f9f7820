"""Reviews of a folder of a project on demand, each with a ticket of its own on which the findings are."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from sqlalchemy.orm import Session

from models import Project, Ticket
from tickets.lifecycle import transitions
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.shared.inputs import Body, Name, NewTicket, Title
from tickets.team import agents, projects
from tickets.workflow.code_reviews import TAG

from . import assessments, code_reviews
from .code_reviews import ReviewSubject

DESCRIPTION = "{reviewer} reviews {files} of {project} as of commit {commit}. The findings are on the tab Changes."


def normalize_folder(path: str) -> str:
    """Return the path of a folder without dots and slashes at its ends, empty for the whole repository."""
    folder = path.strip().removeprefix("./").rstrip("/")
    return "" if folder in ("", ".") else assessments.require_relative(folder)


class NewFolderReview(Body):
    """A folder of the project's repository, `.` for all of it, and who reviews it: by default the project's reviewer."""

    folder: Annotated[Title, AfterValidator(normalize_folder)]
    reviewer: Name | None = None


def request_review(session: Session, slug: str, body: NewFolderReview, commit: str | None, actor: Actor) -> Ticket:
    """Create the ticket of a folder review and start it. `commit` is None where the repository has no such folder.

    Raises `NotFound`, `Invalid`.
    """
    project = projects.get_project(session, slug)
    reviewer = _choose_reviewer(session, project, body.reviewer)
    if commit is None:
        message = f"{project.base_branch} of {project.name} has no folder {body.folder or '.'} on this machine."
        raise Invalid(message, field="folder")
    files = f"the folder {body.folder}" if body.folder else "all files"
    text = DESCRIPTION.format(reviewer=reviewer, files=files, project=project.name, commit=commit[:10])
    new_ticket = {"title": f"Review {files} of {project.name}"[:200], "description": text, "project": slug}
    waiting = {"status": "waiting", "wake": {"kind": "manual"}, "tags": [TAG]}
    ticket = transitions.create_ticket(session, NewTicket.model_validate(new_ticket | waiting), actor)
    code_reviews.start_review(session, ticket, ReviewSubject(commit, None, body.folder), reviewer, actor)
    return ticket


def _choose_reviewer(session: Session, project: Project, name: str | None) -> str:
    if not (name or project.reviewer):
        message = (
            f"{project.name} has no reviewer. Name an agent or a council, or choose one in the project's settings."
        )
        raise Invalid(message, field="reviewer")
    return agents.require_reviewer(session, name or project.reviewer or "")
