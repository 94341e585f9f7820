"""The team page: members with their profile, load and spending, profiles, budgets, and installed agent programs."""

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
from protocol import AGENT_PROGRAMS, PERMISSION_POLICIES
from settings import PRICES_SOURCE
from tickets.dispatch import budgets
from tickets.dispatch.budgets import Budgets, BudgetScope, BudgetTotals
from tickets.runs import prompt
from tickets.shared.errors import DomainError
from tickets.team import agents, installed_programs, profiles, team_status
from tickets.team.agents import EditAgent, NewAgent
from tickets.team.profiles import EditProfile, NewProfile
from web.site import layout, team_forms
from web.site.errors import convert_validation_error

blueprint = Blueprint("team_page", __name__)
layout.add_nav_item("team", "/team", "users", "Team", "Machine", go="m")

View = dict[str, Any]
Errors = dict[str, str]
Body = TypeVar("Body", bound=BaseModel)
PROGRAMS = [
    (name, f"{program.title}, built in" if program.built_in else program.title)
    for name, program in AGENT_PROGRAMS.items()
]
DEFAULT_PROGRAM = next(name for name, program in AGENT_PROGRAMS.items() if not program.built_in)
MODES = [("headless", "Headless: over pipes"), ("tui", "Its own screen in tmux")]
PERMISSIONS = [(name, policy.title, policy.explanation) for name, policy in PERMISSION_POLICIES.items()]
PLAN_FIRST = [("no", "Start without a plan"), ("yes", "Plan first, approved by a person")]
KINDS = {"agent": "agent", "human": "person"}


# ------------------------------------------------------------------------------------------------------------ the page


@blueprint.get("/team")
def show_team() -> str:
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        context: View = {"agents": _list_agents(session), "profiles": _list_profiles(session)}
        context |= {
            "policies": PERMISSION_POLICIES,
            "machines": _list_machines(session),
            "uses": _list_budget_uses(session),
        }
    context |= {"prices": auth.get_instance().settings.all_prices, "prices_source": PRICES_SOURCE}
    return layout.render_page("team/team_page.html", "team", [("Team", None)], **context)


def _list_agents(session: Session) -> list[View]:
    busy, judged = agents.count_live_runs(session), team_status.load_program_statuses(session)
    spending = budgets.load_spending_today_by_agent(session, auth.get_instance().settings.zone)
    return [
        {
            "row": agent,
            "kind": KINDS.get(agent.kind.value, "system"),
            "busy": busy.get(agent.name, 0),
            "spent": _format_spending(spending.get(agent.name)),
            "program": judged.get(agent.profile or ""),
        }
        for agent in agents.list_members(session)
    ]


def _list_profiles(session: Session) -> list[View]:
    spending = budgets.load_spending_today(session, auth.get_instance().settings.zone)
    users: dict[str, list[str]] = {}
    for agent in agents.list_members(session):
        users.setdefault(agent.profile or "", []).append(agent.name)
    return [
        {
            "row": profile,
            "facts": [part for part in (profile.model, profile.effort, profile.mode.value) if part],
            "users": users.get(profile.name, []),
            "spent": _format_spending(spending.get(profile.name)),
        }
        for profile in profiles.list_profiles(session)
    ]


def _format_spending(spending: BudgetTotals | None) -> View | None:
    """Build the view of today's spending, or None without runs."""
    return {"runs": spending.runs, "cost": spending.cost_usd, "tokens": spending.tokens} if spending else None


def _list_machines(session: Session) -> list[View]:
    by_host = groupby(installed_programs.list_programs(session), key=lambda row: row.host)
    return [
        {"host": host, "checked": rows[0].checked, "programs": [installed_programs.assess_program(row) for row in rows]}
        for host, rows in ((host, list(group)) for host, group in by_host)
    ]


def _list_budget_uses(session: Session) -> list[View]:
    """List today's use of the budgets of the settings and of every profile."""
    allowed = Budgets.from_settings(auth.get_instance().settings)
    today = {BudgetScope.DAY: budgets.load_spending_today(session, allowed.zone)}
    allowances = [*budgets.list_allowances(allowed, None)]
    for profile in profiles.list_profiles(session):
        allowances += [allowance for allowance in budgets.list_allowances(allowed, profile) if allowance.profile]
    return [{"words": use.words(), "share": min(1.0, use.share)} for use in budgets.compute_uses(allowances, today)]


# ------------------------------------------------------------------------------------------------------------- agents


@blueprint.get("/team/agents/new")
def ask_agent() -> str:
    return _render_agent_form({"kind": "agent", "runnable": True, "capacity": 1}, {})


@blueprint.post("/team/agents/new")
def add_agent() -> Response | tuple[str, int]:
    def save(session: Session) -> str:
        body = {"name": team_forms.read_text(request.form, "name") or "", "kind": request.form.get("kind", "")}
        agent = agents.add_agent(
            session, NewAgent.model_validate(body | team_forms.build_agent_body(request.form)), auth.get_actor()
        )
        return f"{agent.name} was added to the team."

    return _save_form(save, lambda errors: _render_agent_form(_read_form("runnable"), errors))


@blueprint.get("/team/agents/<name>")
def show_agent(name: str) -> str:
    with reading(auth.get_instance().engine) as session:
        agent = agents.get_agent(session, name)
    return _render_agent_form(team_forms.build_agent_values(agent), {}, agent)


@blueprint.post("/team/agents/<name>")
def edit_agent(name: str) -> Response | tuple[str, int]:
    with reading(auth.get_instance().engine) as session:
        agent = agents.get_agent(session, name)

    def save(session: Session) -> str:
        agents.edit_agent(
            session, name, EditAgent.model_validate(team_forms.build_agent_body(request.form)), auth.get_actor()
        )
        return f"{name} was changed."

    return _save_form(save, lambda errors: _render_agent_form(_read_form("runnable") | {"name": name}, errors, agent))


@blueprint.post("/team/agents/<name>/cooldown")
def end_cooldown(name: str) -> Response:
    with writing(auth.get_instance().engine) as session:
        agents.edit_agent(session, name, EditAgent(cooldown_until=None), auth.get_actor())
    layout.flash_note(f"The cooldown of {name} has ended.")
    return redirect("/team", 303)


def _render_agent_form(values: View, errors: Errors, agent: Agent | None = None) -> str:
    with reading(auth.get_instance().engine) as session:
        names = [(profile.name, profile.name) for profile in profiles.list_profiles(session)]
    choices = {
        "profile": [("", "None: a person or a group"), *names],
        "kind": [_build_option(kind.value) for kind in AgentKind],
    }
    return _render_form(
        "team/agent_form.html", agent.name if agent else "New agent", values, errors, row=agent, choices=choices
    )


# ------------------------------------------------------------------------------------------------------------ profiles


@blueprint.get("/team/profiles/new")
def ask_profile() -> str:
    return _render_profile_form(
        {"program": DEFAULT_PROGRAM, "mode": "headless", "permissions": "workspace", "own_configuration": True}, {}
    )


@blueprint.post("/team/profiles/new")
def add_profile() -> Response | tuple[str, int]:
    def save(session: Session) -> str:
        body = {"name": team_forms.read_text(request.form, "name") or ""} | team_forms.build_profile_body(request.form)
        profile = profiles.add_profile(session, NewProfile.model_validate(body), auth.get_actor())
        return f"Profile {profile.name} was added. Give it to an agent to use it."

    return _save_form(save, lambda errors: _render_profile_form(_read_form(), errors))


@blueprint.get("/team/profiles/<name>")
def show_profile(name: str) -> str:
    with reading(auth.get_instance().engine) as session:
        profile = profiles.get_profile(session, name)
    return _render_profile_form(team_forms.build_profile_values(profile), {}, profile)


@blueprint.post("/team/profiles/<name>")
def edit_profile(name: str) -> Response | tuple[str, int]:
    with reading(auth.get_instance().engine) as session:
        profile = profiles.get_profile(session, name)

    def save(session: Session) -> str:
        body = EditProfile.model_validate(team_forms.build_profile_body(request.form))
        profiles.edit_profile(session, name, body, auth.get_actor())
        return f"Profile {name} was changed. The change applies to new runs."

    return _save_form(save, lambda errors: _render_profile_form(_read_form() | {"name": name}, errors, profile))


def _render_profile_form(values: View, errors: Errors, profile: Profile | None = None) -> str:
    with reading(auth.get_instance().engine) as session:
        confinement = installed_programs.describe_confinement(session, auth.get_instance().settings.machine_name)
    context = {
        "confinement": confinement,
        "choices": {"program": PROGRAMS, "mode": MODES, "permissions": PERMISSIONS, "plan_first": PLAN_FIRST},
        "budgets": team_forms.build_budget_fields(values),
        "budget_notes": team_forms.build_budget_notes(values, auth.get_instance().settings),
        "limits": team_forms.build_limit_fields(values, auth.get_instance().settings),
        "instruction": prompt.ORDER,
        "log_in_variables": [name for program in AGENT_PROGRAMS.values() for name in program.variables],
    }
    title = profile.name if profile else "New profile"
    return _render_form("team/profile_form.html", title, values, errors, row=profile, **context)


# ------------------------------------------------------------------------------------------------ shared by both forms


def _render_form(template: str, title: str, values: View, errors: Errors, **context: Any) -> str:
    crumbs: list[tuple[str, str | None]] = [("Team", "/team"), (title, None)]
    return layout.render_page(template, "team", crumbs, title=title, form=values, errors=errors, **context)


def _save_form(save: Callable[[Session], str], again: Callable[[Errors], str]) -> Response | tuple[str, int]:
    """Save a form in one transaction and redirect to the team page, or show the form again with its errors."""
    try:
        with writing(auth.get_instance().engine) as session:
            done = save(session)
    except ValidationError as error:
        return again(_group_by_field(convert_validation_error(error))), 422
    except DomainError as refusal:
        return again(_group_by_field(refusal)), refusal.status
    layout.flash_note(done)
    return redirect("/team", 303)


def _group_by_field(refusal: DomainError) -> Errors:
    """Group error messages by field name, with `form` for those of no field."""
    fields = refusal.detail.get("fields") or {refusal.detail.get("field", "form"): refusal.message}
    return {str(name).split(".")[0]: str(message) for name, message in fields.items()}


def _read_form(*flags: str) -> View:
    """Read the submitted values, to show the form again after an error."""
    return request.form.to_dict() | {flag: flag in request.form for flag in flags}


def _build_option(value: str) -> tuple[str, str]:
    return value, value.capitalize()
