"""Projects: a repository that tickets are worked in, how it is checked, and how many may work in it at once."""

from __future__ import annotations

import re

from pydantic import Field
from sqlalchemy import false, select
from sqlalchemy.orm import Session

from models import Gate, Project

from . import events
from .actors import Actor
from .errors import Conflict, Invalid, NotFound
from .facts import Body, Line, Name

Argv = list[Line]


class NewProject(Body):
    """`folder` is absolute; commands are argument lists, started without a shell."""

    slug: Name
    name: Line
    folder: Line
    base_branch: Line = "main"
    clone_url: Line | None = None
    check_command: Argv | None = Field(None, min_length=1, max_length=64)
    setup_command: Argv | None = Field(None, min_length=1, max_length=64)
    link_files: list[Line] = Field(default=[], max_length=32)
    gate: Gate = Gate.PERSON
    max_runs: int = Field(2, ge=1, le=32)


BRANCH = re.compile(r"^(?!-)(?!.*(\.\.|//|@\{|\\))[A-Za-z0-9._/-]{1,200}(?<![./])$")


def add(session: Session, body: NewProject, actor: Actor) -> Project:
    """Raises `Invalid` for a folder or branch that could not be used safely, `Conflict` for a known slug."""
    if not body.folder.startswith("/") or ".." in body.folder.split("/"):
        raise Invalid("the folder of a project is an absolute path without '..'", field="folder")
    if not BRANCH.match(body.base_branch):
        raise Invalid("that is not a branch name git would accept", field="base_branch")
    for name in body.link_files:
        if name.startswith(("/", "-")) or ".." in name.split("/"):
            raise Invalid("files to link in are named relative to the project's folder", field="link_files", value=name)
    if session.scalar(select(Project.id).where(Project.slug == body.slug)) is not None:
        raise Conflict(f"there is already a project named {body.slug}", slug=body.slug)
    project = Project(**body.model_dump())
    session.add(project)
    session.flush()
    events.append(session, None, "project_added", {"project": project.slug, "folder": project.folder}, actor)
    return project


def project_named(session: Session, slug: str) -> Project:
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound(f"there is no project named {slug!r}", field="project")
    return project


def all_projects(session: Session) -> list[Project]:
    return list(session.scalars(select(Project).where(Project.archived == false()).order_by(Project.name)))
