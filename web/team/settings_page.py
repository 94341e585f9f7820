"""Settings: the maintenance pause, projects, tokens of programs, and what is set where."""

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
from settings import Settings, keys
from tickets.operations import tokens
from tickets.operations.tokens import NewToken
from tickets.shared import runtime_flags
from tickets.shared.errors import DomainError
from tickets.team import agents, profiles, projects
from tickets.workflow import landing
from web.site import layout
from web.site.errors import invalid

blueprint = Blueprint("settings_page", __name__)
layout.nav("settings", "/settings", "settings", "Settings", "Machine", go="s")

View = dict[str, Any]
REASON_CHARACTERS = 300
LIFETIMES = [("365", "a year"), ("30", "30 days"), ("7", "a week"), ("", "until it is revoked")]
CAPS = "caps of the web"
CAPPED = ("web_workers", "threads", "sse_", "ws_", "body_limit", "attachment_limit")
SCOPES = [
    (Scope.SERVICE.value, "Service: tickets and events"),
    (Scope.VIEWER.value, "Viewer: reads"),
    (Scope.ORCHESTRATOR.value, "Orchestrator: triages and decides"),
    (Scope.OPERATOR.value, "Operator: everything"),
]


@blueprint.get("/settings")
@auth.allow(Right.OPERATOR)
def show_settings() -> str:
    return _page()


def _page(**more: Any) -> str:
    instance = auth.instance()
    with reading(instance.engine) as session:
        layout.around(session)
        shown: View = {
            "paused": runtime_flags.paused(session),
            "projects": projects.all_projects(session),
            "tokens": tokens.all_tokens(session),
            "team": {"agents": len(agents.members(session)), "profiles": len(profiles.profiles(session))},
        }
    shown["ways"] = landing.WAYS
    shown |= {"groups": in_use(instance.settings), "config_file": str(instance.settings.config_file)}
    shown |= {"choices": {"scope": SCOPES, "days": LIFETIMES}, "form": {}, "errors": {}, "secret": None}
    return layout.page("settings.html", "settings", [("Settings", None)], **(shown | more))


def in_use(settings: Settings) -> list[tuple[str, list[View]]]:
    """Every setting by its group: key, variable and the value in use. The store's address is shown without a password."""
    groups: dict[str, list[View]] = {}
    for path, variable in keys().items():
        value: Any = settings
        for name in path:
            value = getattr(value, name)
        group = path[0] if len(path) > 1 else CAPS if path[0].startswith(CAPPED) else "general"
        groups.setdefault(group, []).append({"key": path[-1], "variable": variable, "value": _said(path[-1], value)})
    return list(groups.items())


def _said(key: str, value: Any) -> str:
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
    """Nothing new is started until somebody resumes; runs that are at work go on."""
    reason = " ".join(request.form.get("reason", "").split())[:REASON_CHARACTERS]
    with writing(auth.instance().engine) as session:
        runtime_flags.write(session, runtime_flags.PAUSE, reason or "maintenance", auth.actor())
    layout.note("Paused: nothing new is started. Runs that are at work go on.", "warn")
    return redirect("/settings", 303)


@blueprint.post("/settings/resume")
def resume() -> Response:
    with writing(auth.instance().engine) as session:
        runtime_flags.write(session, runtime_flags.PAUSE, None, auth.actor())
    layout.note("Resumed: tickets start again.")
    return redirect("/settings", 303)


# --------------------------------------------------------------------------------------------------------------- tokens


@blueprint.post("/settings/tokens")
def issue_token() -> str | tuple[str, int]:
    """The page with the new token's secret, which is shown only in this answer."""
    given = request.form.to_dict()
    body = {"name": given.get("name", "").strip(), "scope": given.get("scope"), "days": given.get("days") or None}
    try:
        with writing(auth.instance().engine) as session:
            row, secret = tokens.issue(session, NewToken.model_validate(body), auth.actor())
    except ValidationError as error:
        return _page(form=given, errors=invalid(error).detail["fields"]), 422
    except DomainError as refused:
        return _page(form=given, errors={"name": refused.message}), refused.status
    return _page(secret={"name": row.name, "secret": secret})


@blueprint.post("/settings/tokens/<number:token>/revoke")
def revoke_token(token: int) -> Response:
    with writing(auth.instance().engine) as session:
        row = tokens.revoke(session, token, auth.actor())
    layout.note(f"Token {row.name} was revoked; whoever used it is let in no more.")
    return redirect("/settings#tokens", 303)
