"""Logging in with a one-time link or a token, and logging out."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

import auth
from database import reading, writing
from tickets.operations import tokens
from tickets.shared.errors import DomainError

blueprint = Blueprint("login", __name__)

DAY = 86_400


@blueprint.get("/login")
@auth.public
def ask() -> str:
    return _form(mode="token")


@blueprint.get("/login/<link>")
@auth.public
def open_link(link: str) -> str | tuple[str, int]:
    """Only shows a button: programs that look at links in advance must not use them up."""
    with reading(auth.instance().engine) as session:
        name = tokens.peek_link(session, link)
    if name is None:
        words = "This link was used before or is older than ten minutes. Run bin/mc login for another."
        return _form(mode="token", error=words), 410
    return _form(mode="link", link_token=link, user=name)


@blueprint.post("/login")
@auth.public
def log_in() -> AnyResponse | tuple[str, int]:
    link, token = request.form.get("link", ""), request.form.get("token", "").strip()
    settings = auth.instance().settings
    enter = tokens.log_in_by_link if link else tokens.log_in_by_token
    try:
        with writing(auth.instance().engine) as session:
            secret = enter(session, link or token, request.user_agent.string, settings.session_days)
    except DomainError as refused:
        return _form(mode="token", error=refused.message), refused.status
    response = redirect(_own_path(request.form.get("next", "")), 303)
    response.set_cookie(
        auth.cookie_name(settings),
        secret,
        max_age=settings.session_days * DAY,
        httponly=True,
        samesite="Lax",
        secure=settings.behind_tls,
    )
    return response


@blueprint.post("/logout")
@auth.allow(auth.Right.OPERATOR, auth.Right.VIEWER)
def log_out() -> AnyResponse:
    """End this browser's log-in and have the browser forget what it has seen."""
    known = auth.caller()
    if known.source == "login":
        with writing(auth.instance().engine) as session:
            tokens.log_out(session, known.number, known.actor)
    return auth.forget(make_response(redirect("/login", 303)))


def _form(**shown: str) -> str:
    return render_template("login.html", next=_own_path(request.args.get("next", "")), **shown)


def _own_path(target: str) -> str:
    """A path of this server to go on to; anything that a browser could read as another server becomes `/`."""
    parts = urlsplit(target)
    plain = target.isprintable() and "\\" not in target
    ours = plain and not parts.scheme and not parts.netloc and target.startswith("/") and not target.startswith("//")
    return target if ours else "/"
