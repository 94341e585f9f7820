"""The settings page: maintenance pause, projects, API tokens, and the settings in use."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import reading, writing
from models import Scope
from settings import Settings, list_keys
from tickets.alerts import channels
from tickets.operations import retention, tokens
from tickets.operations.tokens import NewToken
from tickets.shared import runtime_flags
from tickets.shared.errors import DomainError
from tickets.team import agents, profiles, projects
from tickets.workflow import landing
from web.site import former_address, layout
from web.site.errors import convert_validation_error

blueprint = Blueprint("settings_page", __name__)
layout.add_nav_item("settings", "/settings", "settings", "Settings", "Machine", go="s")

View = dict[str, Any]
MAX_REASON_LENGTH = 300
LIFETIMES = [("365", "1 year"), ("30", "30 days"), ("7", "7 days"), ("", "No expiration")]
LIMITS_GROUP = "caps of the web"
LIMIT_PREFIXES = ("web_workers", "threads", "sse_", "ws_", "body_limit", "attachment_limit")
SCOPES = [
    (Scope.SERVICE.value, "Service: tickets and events"),
    (Scope.VIEWER.value, "Viewer: reads"),
    (Scope.TRIAGE.value, "Triage: triages tickets"),
    (Scope.REVIEWER.value, "Reviewer: approves or requests changes"),
    (Scope.ORCHESTRATOR.value, "Orchestrator: triages and decides"),
    (Scope.OPERATOR.value, "Operator: everything"),
]


@blueprint.get("/settings")
@auth.allow(Right.OPERATOR)
def show_settings() -> str:
    return _render_page()


def _render_page(**more: Any) -> str:
    instance = auth.get_instance()
    with reading(instance.engine) as session:
        layout.load_layout(session)
        context: View = {
            "paused": runtime_flags.get_pause_reason(session),
            "projects": projects.list_projects(session),
            "tokens": tokens.list_tokens(session),
            "retention": retention.list_kinds(session, instance.settings.retention.model_dump()),
            "alert_channels": [row.name for row in channels.list_channels(session) if row.enabled],
            "team": {"agents": len(agents.list_members(session)), "profiles": len(profiles.list_profiles(session))},
        }
    context |= {"ways": landing.OPTION_LABELS, "drafts_link": former_address.build_handover_link()}
    context |= {"groups": list_settings(instance.settings), "config_file": str(instance.settings.config_file)}
    context |= {"choices": {"scope": SCOPES, "days": LIFETIMES}, "form": {}, "errors": {}, "secret": None}
    return layout.render_page("team/settings.html", "settings", [("Settings", None)], **(context | more))


def list_settings(settings: Settings) -> list[tuple[str, list[View]]]:
    """List the settings by group, with key, environment variable and value. Passwords in URLs are left out."""
    groups: dict[str, list[View]] = {}
    for path, variable in list_keys().items():
        value: Any = settings
        for name in path:
            value = getattr(value, name)
        group = path[0] if len(path) > 1 else LIMITS_GROUP if path[0].startswith(LIMIT_PREFIXES) else "general"
        groups.setdefault(group, []).append(
            {"key": path[-1], "variable": variable, "value": _format_value(path[-1], value)}
        )
    return list(groups.items())


def _format_value(key: str, value: Any) -> str:
    match value:
        case None | ():
            return "not set"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return ", ".join(map(str, value))
    if key == "database_url":
        parts = urlsplit(str(value))
        return (
            str(value).replace(parts.netloc, parts.netloc.rsplit("@", 1)[-1], 1) if "@" in parts.netloc else str(value)
        )
    return str(value)


# ---------------------------------------------------------------------------------------------------------- maintenance


@blueprint.post("/settings/pause")
def pause() -> Response:
    """Pause dispatch: no new runs are started until somebody resumes it, and live runs continue."""
    reason = " ".join(request.form.get("reason", "").split())[:MAX_REASON_LENGTH]
    with writing(auth.get_instance().engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, reason or "maintenance", auth.get_actor())
    layout.flash_note("Paused. No new runs start; current runs continue.", "warn")
    return redirect("/settings", 303)


@blueprint.post("/settings/resume")
def resume() -> Response:
    with writing(auth.get_instance().engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, None, auth.get_actor())
    layout.flash_note("Resumed. Tickets start again.")
    return redirect("/settings", 303)


# --------------------------------------------------------------------------------------------------------------- tokens


@blueprint.post("/settings/tokens")
def issue_token() -> str | tuple[str, int]:
    """Issue a token and render the page with its secret, which is shown only once."""
    form = request.form.to_dict()
    body = {"name": form.get("name", "").strip(), "scope": form.get("scope"), "days": form.get("days") or None}
    try:
        with writing(auth.get_instance().engine) as session:
            row, secret = tokens.issue_token(session, NewToken.model_validate(body), auth.get_actor())
    except ValidationError as error:
        return _render_page(form=form, errors=convert_validation_error(error).detail["fields"]), 422
    except DomainError as refusal:
        return _render_page(form=form, errors={"name": refusal.message}), refusal.status
    return _render_page(secret={"name": row.name, "secret": secret})


@blueprint.post("/settings/tokens/<number:token>/revoke")
def revoke_token(token: int) -> Response:
    with writing(auth.get_instance().engine) as session:
        row = tokens.revoke_token(session, token, auth.get_actor())
    layout.flash_note(f"Token {row.name} was revoked: requests with it are refused.")
    return redirect("/settings#tokens", 303)
