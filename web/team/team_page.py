"""The team: who may be given work, with which profile, how busy they are, what they spend, and what this machine has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any, TypeVar

from flask import Blueprint, redirect, request
from pydantic import BaseModel, ValidationError
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import Agent, AgentKind, Profile
from tickets.dispatch import budgets
from tickets.dispatch.budgets import Budgets, Scope, Spent
from tickets.shared.errors import DomainError
from tickets.team import agents, installed_programs, profiles, team_status
from tickets.team.agents import EditAgent, NewAgent
from tickets.team.profiles import EditProfile, NewProfile
from web.site import layout, team_forms
from web.site.errors import invalid

blueprint = Blueprint("team_page", __name__)
layout.nav("team", "/team", "users", "Team", "Machine", go="m")

View = dict[str, Any]
Errors = dict[str, str]
Body = TypeVar("Body", bound=BaseModel)
PROGRAMS = [("script", "Script, built in"), ("claude", "Claude Code"), ("codex", "Codex")]
MODES = [("headless", "Headless: over pipes"), ("tui", "Its own screen in tmux")]
PERMISSIONS = [
    ("default", "As the program has it"),
    ("accept_edits", "Accept edits in the workspace"),
    ("ask", "Ask a person on the ticket"),
    ("bypass", "Allow everything"),
]
KINDS = {"agent": "agent", "human": "person"}


# ------------------------------------------------------------------------------------------------------------ the page


@blueprint.get("/team")
def show_team() -> str:
    with reading(auth.instance().engine) as session:
        layout.around(session)
        shown = {"agents": _agents(session), "profiles": _profiles(session)}
        shown |= {"machines": _machines(session), "uses": _uses(session)}
    return layout.page("team.html", "team", [("Team", None)], **shown)


def _agents(session: Session) -> list[View]:
    busy, judged = agents.load(session), team_status.programs_by_profile(session)
    spent = budgets.spent_today_by_agent(session, auth.instance().settings.zone)
    return [
        {
            "row": agent,
            "kind": KINDS.get(agent.kind.value, "system"),
            "busy": busy.get(agent.name, 0),
            "spent": _spent(spent.get(agent.name)),
            "program": judged.get(agent.profile or ""),
        }
        for agent in agents.members(session)
    ]


def _profiles(session: Session) -> list[View]:
    spent = budgets.spent_today(session, auth.instance().settings.zone)
    users: dict[str, list[str]] = {}
    for agent in agents.members(session):
        users.setdefault(agent.profile or "", []).append(agent.name)
    return [
        {
            "row": profile,
            "facts": [part for part in (profile.model, profile.effort, profile.mode.value) if part],
            "users": users.get(profile.name, []),
            "spent": _spent(spent.get(profile.name)),
        }
        for profile in profiles.profiles(session)
    ]


def _spent(spent: Spent | None) -> View | None:
    """What was spent today; None for nobody who ran."""
    return {"runs": spent.runs, "cost": spent.cost_usd, "tokens": spent.tokens} if spent else None


def _machines(session: Session) -> list[View]:
    by_host = groupby(installed_programs.known(session), key=lambda row: row.host)
    return [
        {"host": host, "checked": rows[0].checked, "programs": [installed_programs.judge(row) for row in rows]}
        for host, rows in ((host, list(each)) for host, each in by_host)
    ]


def _uses(session: Session) -> list[View]:
    """Today's budgets of the settings and of every profile."""
    allowed = Budgets.of(auth.instance().settings)
    today = {Scope.DAY: budgets.spent_today(session, allowed.zone)}
    every = [*budgets.allowances(allowed, None)]
    for profile in profiles.profiles(session):
        every += [each for each in budgets.allowances(allowed, profile) if each.profile]
    return [{"words": use.words(), "share": min(1.0, use.share)} for use in budgets.uses(every, today)]


# ------------------------------------------------------------------------------------------------------------- agents


@blueprint.get("/team/agents/new")
def ask_agent() -> str:
    return _agent_form({"kind": "agent", "runnable": True, "capacity": 1}, {})


@blueprint.post("/team/agents/new")
def add_agent() -> Response | tuple[str, int]:
    def save(session: Session) -> str:
        body = {"name": team_forms.words(request.form, "name") or "", "kind": request.form.get("kind", "")}
        made = agents.add_agent(
            session, NewAgent.model_validate(body | team_forms.agent_body(request.form)), auth.actor()
        )
        return f"{made.name} is on the team."

    return _saved(save, lambda errors: _agent_form(_typed("runnable"), errors))


@blueprint.get("/team/agents/<name>")
def show_agent(name: str) -> str:
    with reading(auth.instance().engine) as session:
        agent = agents.agent_named(session, name)
    return _agent_form(team_forms.agent_values(agent), {}, agent)


@blueprint.post("/team/agents/<name>")
def edit_agent(name: str) -> Response | tuple[str, int]:
    with reading(auth.instance().engine) as session:
        agent = agents.agent_named(session, name)

    def save(session: Session) -> str:
        agents.edit_agent(session, name, EditAgent.model_validate(team_forms.agent_body(request.form)), auth.actor())
        return f"{name} was changed."

    return _saved(save, lambda errors: _agent_form(_typed("runnable") | {"name": name}, errors, agent))


@blueprint.post("/team/agents/<name>/cooldown")
def end_cooldown(name: str) -> Response:
    with writing(auth.instance().engine) as session:
        agents.edit_agent(session, name, EditAgent(cooldown_until=None), auth.actor())
    layout.note(f"{name} may work again.")
    return redirect("/team", 303)


def _agent_form(values: View, errors: Errors, agent: Agent | None = None) -> str:
    with reading(auth.instance().engine) as session:
        names = [(profile.name, profile.name) for profile in profiles.profiles(session)]
    choices = {
        "profile": [("", "None: a person or a group"), *names],
        "kind": [_titled(kind.value) for kind in AgentKind],
    }
    return _form("team_agent.html", agent.name if agent else "New agent", values, errors, row=agent, choices=choices)


# ------------------------------------------------------------------------------------------------------------ profiles


@blueprint.get("/team/profiles/new")
def ask_profile() -> str:
    return _profile_form({"program": "claude", "mode": "headless", "permissions": "accept_edits"}, {})


@blueprint.post("/team/profiles/new")
def add_profile() -> Response | tuple[str, int]:
    def save(session: Session) -> str:
        body = {"name": team_forms.words(request.form, "name") or ""} | team_forms.profile_body(request.form)
        made = profiles.add_profile(session, NewProfile.model_validate(body), auth.actor())
        return f"Profile {made.name} was added. Give it to an agent to use it."

    return _saved(save, lambda errors: _profile_form(_typed(), errors))


@blueprint.get("/team/profiles/<name>")
def show_profile(name: str) -> str:
    with reading(auth.instance().engine) as session:
        profile = profiles.profile_named(session, name)
    return _profile_form(team_forms.profile_values(profile), {}, profile)


@blueprint.post("/team/profiles/<name>")
def edit_profile(name: str) -> Response | tuple[str, int]:
    with reading(auth.instance().engine) as session:
        profile = profiles.profile_named(session, name)

    def save(session: Session) -> str:
        body = EditProfile.model_validate(team_forms.profile_body(request.form))
        profiles.edit_profile(session, name, body, auth.actor())
        return f"Profile {name} was changed; it holds for the runs that start from now on."

    return _saved(save, lambda errors: _profile_form(_typed() | {"name": name}, errors, profile))


def _profile_form(values: View, errors: Errors, profile: Profile | None = None) -> str:
    shown = {
        "choices": {"program": PROGRAMS, "mode": MODES, "permissions": PERMISSIONS},
        "budgets": team_forms.budget_fields(values),
        "limits": team_forms.limit_fields(values, auth.instance().settings),
        "log_in_variables": profiles.LOG_IN_VARIABLES,
    }
    title = profile.name if profile else "New profile"
    return _form("team_profile.html", title, values, errors, row=profile, **shown)


# ---------------------------------------------------------------------------------------------------------------- both


def _form(template: str, title: str, values: View, errors: Errors, **shown: Any) -> str:
    crumbs: list[tuple[str, str | None]] = [("Team", "/team"), (title, None)]
    return layout.page(template, "team", crumbs, title=title, form=values, errors=errors, **shown)


def _saved(save: Callable[[Session], str], again: Callable[[Errors], str]) -> Response | tuple[str, int]:
    """Save in one transaction and go back to the team; what was refused is said beside its field."""
    try:
        with writing(auth.instance().engine) as session:
            done = save(session)
    except ValidationError as error:
        return again(_by_field(invalid(error))), 422
    except DomainError as refused:
        return again(_by_field(refused)), refused.status
    layout.note(done)
    return redirect("/team", 303)


def _by_field(refused: DomainError) -> Errors:
    """Each complaint under the name of its field; `form` holds those of none."""
    fields = refused.detail.get("fields") or {refused.detail.get("field", "form"): refused.message}
    return {str(name).split(".")[0]: str(said) for name, said in fields.items()}


def _typed(*flags: str) -> View:
    """The form as it was sent, for a person to correct."""
    return request.form.to_dict() | {flag: flag in request.form for flag in flags}


def _titled(value: str) -> tuple[str, str]:
    return value, value.capitalize()
