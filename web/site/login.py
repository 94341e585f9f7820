"""Logging in with a one-time link or a token, and logging out."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, make_response, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

import auth
from database import reading, writing
from tickets.operations import tokens
from tickets.shared.errors import DomainError

blueprint = Blueprint("login", __name__)

DAY_SECONDS = 86_400


@blueprint.get("/login")
@auth.public
def ask() -> str:
    return _render_form(mode="token")


@blueprint.get("/login/<link>")
@auth.public
def open_link(link: str) -> str | tuple[str, int]:
    """Show a button that logs in with the link, so that link previews do not consume it."""
    with reading(auth.get_instance().engine) as session:
        name = tokens.find_link_name(session, link)
    if name is None:
        return _render_form(mode="token", error=tokens.LINK_ENDED), 410
    host = auth.get_instance().secret_host
    hosts_line = f"127.0.0.1 {host}" if request.host.startswith(host) else ""
    return _render_form(mode="link", link_token=link, user=name, hosts_line=hosts_line)


@blueprint.post("/login")
@auth.public
def log_in() -> AnyResponse | tuple[str, int]:
    link, token = request.form.get("link", ""), request.form.get("token", "").strip()
    settings = auth.get_instance().settings
    former = auth.find_login()
    require, enter = (
        (tokens.require_link, tokens.log_in_by_link) if link else (tokens.require_browser_token, tokens.log_in_by_token)
    )
    try:
        with writing(auth.get_instance().engine, partial(require, secret=link or token)) as session:
            secret = enter(session, link or token, request.user_agent.string, settings.session_days)
            if former:  # a new login leaves no other behind
                tokens.log_out(session, former.number, former.actor)
    except DomainError as refusal:
        return _render_form(mode="token", error=refusal.message), refusal.status
    response = redirect(parse_own_path(request.form.get("next", "")), 303)
    response.set_cookie(
        auth.get_cookie_name(settings),
        secret,
        max_age=settings.session_days * DAY_SECONDS,
        httponly=True,
        samesite="Lax",
        secure=auth.uses_tls(),
    )
    return response


@blueprint.post("/logout")
@auth.allow(auth.Right.OPERATOR, auth.Right.VIEWER)
def log_out() -> AnyResponse:
    """Log this browser out and clear its caches and storage."""
    if login := auth.find_login():
        with writing(auth.get_instance().engine) as session:
            tokens.log_out(session, login.number, login.actor)
    return auth.forget_browser(make_response(redirect("/login", 303)))


def _render_form(**context: str) -> str:
    return render_template("site/login.html", next=parse_own_path(request.args.get("next", "")), **context)


def parse_own_path(target: str) -> str:
    """Return the path to continue at, or `/` for anything that a browser could read as an address of another server."""
    is_plain = target.isprintable() and "\\" not in target
    return target if is_plain and target.startswith("/") and not target.startswith("//") else "/"
