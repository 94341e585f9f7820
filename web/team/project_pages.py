"""Adding a project from a folder or an address, and changing one."""

from __future__ import annotations

import shlex
import socket
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import reading, writing
from models import DraftState, Gate, Landing, Project, ProjectDraft, now
from tickets.shared.errors import DomainError
from tickets.team import installed_programs, projects
from tickets.team.projects import EditProject, NewDraft, NewProject
from tickets.workflow import landing
from web.site import layout, team_forms
from web.site.errors import invalid

blueprint = Blueprint("project_pages", __name__)

View = dict[str, Any]
LATE_SECONDS = 20
GATES = {
    Gate.PERSON: "A person approves",
    Gate.REVIEWER: "A reviewer approves",
    Gate.CHECKS: "The checks pass",
    Gate.NONE: "Nothing further",
}
LANDINGS = {
    Landing.LEAVE: "Approval closes the ticket; you merge when you like.",
    Landing.MERGE: "A merge commit on the base branch, in this machine's repository.",
    Landing.SQUASH: "One commit on the base branch, with the ticket's title and the branch's subjects.",
    Landing.PUSH: "To the remote, with your own git credentials.",
    Landing.PULL_REQUEST: "Pushes the branch, then asks gh (GitHub) or glab (GitLab).",
}
NO_FORGE = "Neither gh nor glab is installed here: install one and log in, or approval is refused."
FRESH = {"max_runs": 2, "gate": Gate.PERSON.value, "landing": Landing.LEAVE.value}
"""What a new project's form begins with."""
OPERATOR = auth.allow(Right.OPERATOR)


@blueprint.get("/settings/projects/new")
@OPERATOR
def ask_source() -> str:
    return _source_form(request.args.get("source", ""), None)


@blueprint.post("/settings/projects/new")
def want_project() -> Response | tuple[str, int]:
    """Ask for a look at the folder or address; the next page waits for it."""
    source = request.form.get("source", "").strip()
    try:
        with writing(auth.instance().engine) as session:
            number = projects.ask(session, NewDraft(source=source), auth.actor()).id
    except ValidationError:
        return _source_form(source, "Give an absolute path such as /home/me/code, or an address to clone from."), 422
    except DomainError as refused:
        return _source_form(source, refused.message), refused.status
    return redirect(f"/settings/projects/drafts/{number}", 303)


def _source_form(source: str, error: str | None) -> str:
    return _render("project_new.html", "New project", source=source, error=error, draft=None)


@blueprint.get("/settings/projects/drafts/<number:draft>")
@OPERATOR
def show_draft(draft: int) -> str:
    with reading(auth.instance().engine) as session:
        found = projects.draft(session, draft)
    if found.state is not DraftState.READY:
        late = not found.clone and (now() - found.created).total_seconds() > LATE_SECONDS
        return _render("project_new.html", "New project", source=found.source, error=None, draft=found, late=late)
    return _draft_form(found, (found.facts or {}) | FRESH, {})


@blueprint.post("/settings/projects/drafts/<number:draft>")
def add_project(draft: int) -> Response | tuple[str, int]:
    with reading(auth.instance().engine) as session:
        found = projects.draft(session, draft)
    facts = found.facts or {}
    try:
        body = {name: facts.get(name) for name in ("folder", "clone_url")} | _body()
        with writing(auth.instance().engine) as session:
            made = projects.add(
                session, NewProject.model_validate(body | {"slug": request.form.get("slug", "")}), auth.actor()
            )
    except (ValidationError, DomainError) as error:
        errors, status = _refusal(error)
        return _draft_form(found, facts | request.form.to_dict(), errors), status
    layout.note(f"Project {made.name} was added: new tickets can be worked in it.")
    return redirect("/settings#projects", 303)


def _draft_form(draft: ProjectDraft, values: View, errors: dict[str, str]) -> str:
    branches = (draft.facts or {}).get("branches", [])
    return _form("New project", values, errors, None, branches, draft.message)


@blueprint.get("/settings/projects/<slug>")
@OPERATOR
def show_project(slug: str) -> str:
    with reading(auth.instance().engine) as session:
        project = projects.project_named(session, slug)
    values: View = {name: getattr(project, name) for name in ("slug", "name", "folder", "clone_url", "base_branch")}
    values |= {"max_runs": project.max_runs, "gate": project.gate.value, "landing": project.landing.value}
    values["version"] = project.version
    values |= {name: shlex.join(getattr(project, name) or []) for name in ("check_command", "setup_command")}
    return _form(project.name, values | {"link_files": "\n".join(project.link_files)}, {}, project)


@blueprint.post("/settings/projects/<slug>")
def edit_project(slug: str) -> Response | tuple[str, int]:
    with reading(auth.instance().engine) as session:
        project = projects.project_named(session, slug)
    try:
        body: View = {"version": request.form.get("version"), "folder": request.form.get("folder")} | _body()
        if request.form.get("archive"):
            body |= {"archived": True}
        with writing(auth.instance().engine) as session:
            projects.edit(session, slug, EditProject.model_validate(body), auth.actor())
    except (ValidationError, DomainError) as error:
        errors, status = _refusal(error)
        return _form(project.name, request.form.to_dict(), errors, project), status
    layout.note(f"Project {project.name} was {'archived' if request.form.get('archive') else 'changed'}.")
    return redirect("/settings#projects", 303)


def _body() -> View:
    """The fields that adding and changing have in common; raises `Invalid` for a command that cannot be read."""
    form = request.form
    commands = {name: team_forms.argv(form, name) or None for name in ("check_command", "setup_command")}
    links = [line.strip() for line in form.get("link_files", "").splitlines() if line.strip()]
    plain = {name: form.get(name, "") for name in ("name", "base_branch", "gate", "max_runs")}
    chosen = {"landing": form["landing"]} if "landing" in form else {}
    return plain | chosen | commands | {"link_files": links}


def _refusal(error: ValidationError | DomainError) -> tuple[dict[str, str], int]:
    """What to say beside which field, and the status of the answer."""
    refused = invalid(error) if isinstance(error, ValidationError) else error
    fields = refused.detail.get("fields") or {refused.detail.get("field", "form"): refused.message}
    return {str(name).split(".")[0]: str(said) for name, said in fields.items()}, refused.status


def _form(
    title: str, values: View, errors: dict[str, str], project: Project | None, branches: Any = (), message: str = ""
) -> str:
    choices: View = {
        "gate": [(gate.value, words) for gate, words in GATES.items()],
        "landing": _landings(),
        "base_branch": [(branch, branch) for branch in branches],
    }
    shown = {"form": values, "errors": errors, "row": project, "choices": choices, "message": message}
    return _render("project_form.html", title, **shown)


def _landings() -> list[tuple[str, str, str]]:
    """Each with its words and its help; what this machine has no program for says so."""
    with reading(auth.instance().engine) as session:
        lacking = installed_programs.lacking(session, installed_programs.FORGES)
    helps = {Landing.PULL_REQUEST: NO_FORGE} if socket.gethostname() in lacking else {}
    return [(way.value, landing.WAYS[way], helps.get(way, words)) for way, words in LANDINGS.items()]


def _render(template: str, title: str, **shown: Any) -> str:
    crumbs: list[tuple[str, str | None]] = [("Settings", "/settings"), (title, None)]
    return layout.page(template, "settings", crumbs, title=title, **shown)
