"""`mc review`: have a folder of a project reviewed by an agent or a council."""

from __future__ import annotations

from pathlib import Path

import click

from tickets.planning import folder_reviews
from tickets.planning.folder_reviews import NewFolderReview
from tickets.team import projects
from workers.repository import changes

from .common import reading, require_operator, validate_fields, writing


@click.command(short_help="Review a folder of a project.")
@click.argument("folder")
@click.option("--project", required=True, metavar="PROJECT", help="The short name of the project.")
@click.option("--reviewer", metavar="AGENT", help="An agent or a council; without it, the project's reviewer.")
def review(folder: str, project: str, reviewer: str | None) -> None:
    """Review FOLDER of a project as it is on its base branch (. for all files), with the findings on a ticket."""
    settings, actor = require_operator()
    body = validate_fields(NewFolderReview, folder=folder, reviewer=reviewer)
    with reading(settings) as session:
        row = projects.get_project(session, project)
    commit = changes.find_folder_commit(Path(row.folder), row.base_branch, body.folder)
    with writing(settings) as session:
        ticket = folder_reviews.request_review(session, project, body, commit, actor)
        text = f"{ticket.identifier}: {ticket.title}"
    click.echo(text)


COMMANDS: tuple[click.Command, ...] = (review,)
