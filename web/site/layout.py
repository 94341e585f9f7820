"""What every page has around it: navigation, breadcrumb, verdict, clock. A page registers itself with `nav()`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from flask import Flask, flash, g, get_flashed_messages, render_template, request

import auth
from auth import Right
from database import Session, reading
from tickets.board import overview
from tickets.operations import task_files
from tickets.shared import events, runtime_flags

from . import markdown, metrics, shortcuts, template_filters

NAV: list[dict[str, Any]] = []
KEPT = 1024


def nav(key: str, href: str, icon: str, label: str, group: str = "Work", phone: bool = False, go: str = "") -> None:
    """Add a page to the navigation; called once by the module that serves it.

    `phone` ones stand in the bottom bar of a small screen, `go` is its letter after `g`.
    """
    NAV.append({"key": key, "href": href, "icon": icon, "label": label, "group": group, "phone": phone, "go": go})


def install(app: Flask) -> None:
    app.jinja_env.filters.update(template_filters.FILTERS)
    app.jinja_env.filters["markdown"] = markdown.html
    app.jinja_env.globals["kept"] = lru_cache(
        KEPT, typed=True
    )  # for macros whose outcome follows from what they are given
    app.jinja_env.globals["nav_groups"] = template_filters.nav_groups
    app.jinja_env.globals["key_groups"] = lambda: shortcuts.groups(NAV)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def page(template: str, key: str, crumbs: list[tuple[str, str | None]], **context: Any) -> str:
    """Render a whole page inside the frame; `key` is the navigation entry that is current."""
    if "around" not in g:
        with reading(auth.instance().engine) as session:
            around(session)
    trail = [("Home", "/"), *crumbs]
    return render_template(template, page_key=key, crumbs=trail, flashes=_flashes(), **(g.around | context))


def _flashes() -> list[dict[str, Any]]:
    flashed = cast(list[tuple[str, dict[str, Any]]], get_flashed_messages(with_categories=True))
    return [{"tone": tone, **said} for tone, said in flashed]


def notes() -> str:
    """What is to be said on the next page, alone: for a page that stays as it is."""
    return part("_notes", flashes=_flashes())


def around(session: Session) -> None:
    """Read what stands around a page, first of all where its stream begins. A page asks for it before it reads what it shows,
    so that nothing falls between."""
    cursor = f"{runtime_flags.epoch(session)}-{events.last_id(session)}"
    waiting = overview.count_needs(session)
    g.around = {
        "nav": [item | {"needs": waiting if item["key"] == "overview" else None} for item in NAV],
        "needs": waiting,
        "health": {"verdict": metrics.verdict(session).verdict},
        "user": auth.actor().name,
        "commands": _commands(session) if auth.caller().right is Right.OPERATOR else None,
        "zone": auth.instance().settings.timezone,
        "cursor": cursor,
    }


def _commands(session: Session) -> dict[str, Any]:
    """What the palette can be told to do that no control of a page does."""
    return {"paused": runtime_flags.paused(session) is not None, "tasks": task_files.names(task_files.SHIPPED)}


def part(name: str, **context: Any) -> str:
    """Render one partial alone, as a fragment."""
    return render_template("part.html", part=name, **context)


def note(
    text: str, tone: str = "good", undo: dict[str, Any] | None = None, *, floats: bool = False, stays: bool = False
) -> None:
    """A line for the next page. What floats moves nothing and goes by itself, unless it `stays` until it is dismissed; with
    `undo` (ticket or tickets, label) it floats, and offers to take back what it tells of."""
    said = {"text": text, "undo": undo, "floats": floats or stays or undo is not None, "stays": stays}
    flash(said, tone)  # type: ignore[arg-type]


def enhanced() -> bool:
    """Whether a script of the page is asking, rather than a plain form."""
    return request.accept_mimetypes.best == "application/json"
