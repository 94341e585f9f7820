"""Branches and folders of a project's repository on this machine, read before the transaction that may depend on them."""

from __future__ import annotations

from pathlib import Path

import auth
from database import reading
from tickets.planning.folder_reviews import NewFolderReview
from tickets.team import projects
from tickets.team.projects import EditProject, NewProject
from workers.repository import changes, git
from workers.repository.git import GitError
from workers.repository.projects import find_repository


def read_branches(folder: str) -> list[str] | None:
    """Read the branches from which runs can start in a folder, None where the folder cannot be read on this machine."""
    place = Path(folder)
    try:
        if not place.is_absolute() or not place.is_dir():
            return None
        repository = find_repository(place)
        return git.list_base_branches(repository) if repository else []
    except (GitError, OSError):
        return None


def read_branches_for_new_project(body: NewProject) -> list[str] | None:
    """Read the branches for a new project."""
    return read_branches(body.folder)


def read_branches_for_edit(body: EditProject, slug: str) -> list[str] | None:
    """Read the branches for a change of folder or base branch, None for any other change."""
    if body.folder is None and body.base_branch is None:
        return None
    with reading(auth.get_instance().engine) as session:
        folder = body.folder or projects.get_project(session, slug).folder
    return read_branches(folder)


def find_reviewed_commit(body: NewFolderReview, slug: str) -> str | None:
    """Find the commit of a project's base branch that has this folder. None where there is no such folder here."""
    with reading(auth.get_instance().engine) as session:
        project = projects.get_project(session, slug)
    return changes.find_folder_commit(Path(project.folder), project.base_branch, body.folder)
