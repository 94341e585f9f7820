"""Pages that add a project from a folder or a clone URL, and edit one."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import reading, writing
from models import DraftState, Gate, Landing, Project, ProjectDraft, now
from tickets.shared import display_names
from tickets.shared.errors import DomainError
from tickets.team import installed_programs, projects, repositories
from tickets.team.projects import EditProject, NewDraft, NewProject, TrustDecision
from tickets.team.repositories import NewSlotRequest
from tickets.workflow import landing
from web.site import layout, phase_forms, team_forms
from web.site.errors import convert_validation_error

from . import home_folders, project_branches, project_trust

blueprint = Blueprint("project_pages", __name__)

View = dict[str, Any]
DRAFT_TIMEOUT_SECONDS = 20
LANDINGS = {
    Landing.LEAVE: "Approval closes the ticket. You merge when you want.",
    Landing.MERGE: "A merge commit on the base branch, in this machine's repository.",
    Landing.SQUASH: "One commit on the base branch, with the ticket's title and the branch's subjects.",
    Landing.PUSH: "To the push address, with your own git credentials.",
    Landing.PULL_REQUEST: "Pushes the branch, then asks gh (GitHub) or glab (GitLab).",
}
NO_FORGE = "Neither gh nor glab is installed here: install one and log in, or approval is refused."
TRUST_NOTES = {
    True: "Trusted. The repository configuration of {project} is used from the next run.",
    False: "Trust withdrawn. The repository configuration of {project} is no longer used.",
}
DEFAULTS = {"max_runs": 2, "gate": Gate.PERSON.value, "landing": Landing.LEAVE.value, "ports": 4}
"""Initial values of a new project's form."""
COMMANDS = ("check_command", "setup_command", "teardown_command")
LISTS = ("copy_files", "link_files", "allowed_commands", "denied_commands")
"""Fields of which each line is one value."""
OPERATOR = auth.allow(Right.OPERATOR)


@blueprint.get("/settings/projects/new")
@OPERATOR
def ask_source() -> str:
    return _render_source_form(request.args.get("source", ""), None)


@blueprint.post("/settings/projects/new")
def want_project() -> Response | tuple[str, int]:
    """Request an inspection of the folder or clone URL, for whose result the next page waits."""
    entered = request.form.get("found") or request.form.get("source", "").strip()
    source = home_folders.expand_home(entered, _find_home())
    try:
        with writing(auth.get_instance().engine) as session:
            number = projects.request_draft(session, NewDraft(source=source), auth.get_actor()).id
    except ValidationError:
        return _render_source_form(
            source, "Give an absolute path such as /home/me/code or ~/code, or an address to clone from."
        ), 422
    except DomainError as refusal:
        return _render_source_form(source, refusal.message), refusal.status
    return redirect(f"/settings/projects/drafts/{number}", 303)


def _render_source_form(source: str, error: str | None) -> str:
    return _render(
        "team/new_project.html", "New project", source=source, error=error, draft=None, folders=_list_new_folders()
    )


def _find_home() -> Path | None:
    home = auth.get_instance().settings.ambient.environment.get("HOME")
    return Path(home) if home else None


def _list_new_folders() -> list[tuple[str, str]]:
    """List the git folders below the home that are no projects yet, as (path, path with `~`)."""
    home = _find_home()
    if home is None:
        return []
    with reading(auth.get_instance().engine) as session:
        added = {project.folder for project in projects.list_projects(session)}
    folders = [folder for folder in home_folders.list_repositories(home) if str(folder) not in added]
    return [(str(folder), home_folders.shorten_home(folder, home)) for folder in folders]


@blueprint.get("/settings/projects/drafts/<number:draft>")
@OPERATOR
def show_draft(draft: int) -> str:
    with reading(auth.get_instance().engine) as session:
        row = projects.get_draft(session, draft)
    if row.state is not DraftState.READY:
        late = not row.clone and (now() - row.created).total_seconds() > DRAFT_TIMEOUT_SECONDS
        return _render("team/new_project.html", "New project", source=row.source, error=None, draft=row, late=late)
    return _render_draft_form(row, (row.facts or {}) | DEFAULTS, {})


@blueprint.post("/settings/projects/drafts/<number:draft>")
def add_project(draft: int) -> Response | tuple[str, int]:
    with reading(auth.get_instance().engine) as session:
        row = projects.get_draft(session, draft)
    facts = row.facts or {}
    try:
        body = {name: facts.get(name) for name in ("folder", "clone_url")} | _read_body()
        branches = project_branches.read_branches(str(facts.get("folder", ""))) or facts.get("branches")
        with writing(auth.get_instance().engine) as session:
            project = projects.add_project(
                session,
                NewProject.model_validate(body | {"slug": request.form.get("slug", "")}),
                auth.get_actor(),
                branches,
            )
    except (ValidationError, DomainError) as error:
        errors, status = _parse_refusal(error)
        return _render_draft_form(row, facts | request.form.to_dict(), errors), status
    layout.flash_note(f"Project {project.name} was added: new tickets can be worked in it.")
    return redirect("/settings#projects", 303)


def _render_draft_form(draft: ProjectDraft, values: View, errors: dict[str, str]) -> str:
    branches = (draft.facts or {}).get("branches", [])
    return _render_form("New project", values, errors, None, branches, draft.message)


@blueprint.get("/settings/projects/<slug>")
@OPERATOR
def show_project(slug: str) -> str:
    with reading(auth.get_instance().engine) as session:
        project = projects.get_project(session, slug)
    values: View = {name: getattr(project, name) for name in ("slug", "name", "folder", "clone_url", "base_branch")}
    values |= {"max_runs": project.max_runs, "gate": project.gate.value, "landing": project.landing.value}
    values |= {"push_address": project.push_address, "sign_landings": project.sign_landings}
    values |= {"ticket_template": project.ticket_template}
    values |= {"version": project.version, "ports": project.ports}
    values |= {name: shlex.join(getattr(project, name) or []) for name in COMMANDS}
    values |= {name: "\n".join(getattr(project, name)) for name in LISTS} | {"network": project.network}
    return _render_form(project.name, values, {}, project)


@blueprint.post("/settings/projects/<slug>")
def edit_project(slug: str) -> Response | tuple[str, int]:
    with reading(auth.get_instance().engine) as session:
        project = projects.get_project(session, slug)
    try:
        body: View = {"version": request.form.get("version"), "folder": request.form.get("folder")} | _read_body()
        if request.form.get("archive"):
            body |= {"archived": True}
        edit = EditProject.model_validate(body)
        branches = project_branches.read_branches_for_edit(edit, slug)
        with writing(auth.get_instance().engine) as session:
            projects.edit_project(session, slug, edit, auth.get_actor(), branches)
    except (ValidationError, DomainError) as error:
        errors, status = _parse_refusal(error)
        return _render_form(project.name, request.form.to_dict(), errors, project), status
    layout.flash_note(f"Project {project.name} was {'archived' if request.form.get('archive') else 'changed'}.")
    return redirect("/settings#projects", 303)


@blueprint.post("/settings/projects/<slug>/trust")
def decide_trust(slug: str) -> Response:
    """Trust the configuration that the person has read on the page, or withdraw the trust."""
    decision = TrustDecision(digest=request.form.get("digest") or None)
    with writing(auth.get_instance().engine) as session:
        project = projects.decide_trust(session, slug, decision, auth.get_actor())
    layout.flash_note(TRUST_NOTES[decision.digest is not None].format(project=project.name))
    return redirect(f"/settings/projects/{slug}#brought", 303)


@blueprint.post("/settings/projects/<slug>/slots")
def request_slot(slug: str) -> Response:
    """Request that a workspace is cleaned, set aside or deleted by its machine."""
    fields = {name: request.form.get(name, "") for name in ("host", "slot", "action")}
    with writing(auth.get_instance().engine) as session:
        repositories.request_slot(session, slug, NewSlotRequest.model_validate(fields), auth.get_actor())
    layout.flash_note(f"{fields['slot']} will be changed by {fields['host']} in a moment.")
    return redirect(f"/settings/projects/{slug}#slots", 303)


def _load_machines(project: Project) -> list[View]:
    """Load the workspaces of a project on each machine."""
    with reading(auth.get_instance().engine) as session:
        states = repositories.list_states(session, project.id)
        requested_slots = repositories.list_requested_slots(session, project.id)
    return [
        {
            "state": state,
            "slots": [
                {
                    "entry": entry,
                    "run": (entry.get("holder") or "").removeprefix("run-"),
                    "pending": (state.host, entry["name"]) in requested_slots,
                }
                for entry in state.slots
            ],
        }
        for state in states
    ]


def _read_body() -> View:
    """Read the fields common to new and edited projects. Raises `Invalid` for a command with unbalanced quotes."""
    form = request.form
    commands = {name: team_forms.parse_argv(form, name) or None for name in COMMANDS}
    lists = {name: [line.strip() for line in form.get(name, "").splitlines() if line.strip()] for name in LISTS}
    plain = {name: form.get(name, "") for name in ("name", "base_branch", "gate", "max_runs")}
    optional: View = {name: form[name] for name in ("landing", "ports") if name in form}
    where = {
        "push_address": form.get("push_address", "").strip() or None,
        "sign_landings": bool(form.get("sign_landings")),
        "ticket_template": form.get("ticket_template", "").replace("\r\n", "\n"),
    }
    optional |= {"phases": phase_forms.parse_phases(form)} if phase_forms.parse_rows(form) else {}
    return plain | optional | where | commands | lists | {"network": "network" in form}


def _parse_refusal(error: ValidationError | DomainError) -> tuple[dict[str, str], int]:
    """Return the error messages by field, and the HTTP status."""
    refusal = convert_validation_error(error) if isinstance(error, ValidationError) else error
    fields = refusal.detail.get("fields") or {refusal.detail.get("field", "form"): refusal.message}
    return {str(name).split(".")[0]: str(message) for name, message in fields.items()}, refusal.status


def _render_form(
    title: str, values: View, errors: dict[str, str], project: Project | None, branches: Any = (), message: str = ""
) -> str:
    choices: View = {
        "gate": [(gate.value, words) for gate, words in display_names.GATES.items()],
        "landing": _list_landings(),
        "base_branch": [(branch, branch) for branch in branches],
    }
    with reading(auth.get_instance().engine) as session:
        offered_phases = phase_forms.load_choices(session)
        template = projects.list_phases(session, project.id) if project else []
        confinement = installed_programs.describe_confinement(session, auth.get_instance().settings.machine_name)
    context: View = {"form": values, "errors": errors, "row": project, "choices": choices, "message": message}
    context |= {"phases": phase_forms.parse_rows(request.form) or phase_forms.build_rows(template)}
    context |= {"confinement": confinement, "offered_phases": offered_phases}
    if project:
        days = auth.get_instance().settings.retention.slots
        context |= {"machines": _load_machines(project), "days": days}
    context["brought"] = project_trust.load_configuration(project) if project else None
    return _render("team/project_form.html", title, **context)


def _list_landings() -> list[tuple[str, str, str]]:
    """List the ways of landing as (value, label, help), where the help says if this machine lacks the program for it."""
    with reading(auth.get_instance().engine) as session:
        lacking = installed_programs.find_hosts_without(session, installed_programs.FORGE_CLIENTS)
    helps = {Landing.PULL_REQUEST: NO_FORGE} if auth.get_instance().settings.machine_name in lacking else {}
    return [(way.value, landing.OPTION_LABELS[way], helps.get(way, words)) for way, words in LANDINGS.items()]


def _render(template: str, title: str, **context: Any) -> str:
    crumbs: list[tuple[str, str | None]] = [("Settings", "/settings"), (title, None)]
    return layout.render_page(template, "settings", crumbs, title=title, **context)
