"""What every page has around it: navigation, breadcrumb, verdict, clock. A page registers itself with `add_nav_item()`."""

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
CACHE_SIZE = 1024


def add_nav_item(
    key: str, href: str, icon: str, label: str, group: str = "Work", phone: bool = False, go: str = ""
) -> None:
    """Add a page to the navigation; called once by the module that serves it.

    `phone` ones stand in the bottom bar of a small screen, `go` is its letter after `g`.
    """
    NAV.append({"key": key, "href": href, "icon": icon, "label": label, "group": group, "phone": phone, "go": go})


def install(app: Flask) -> None:
    app.jinja_env.filters.update(template_filters.FILTERS)
    app.jinja_env.filters["markdown"] = markdown.render_html
    app.jinja_env.globals["kept"] = lru_cache(
        CACHE_SIZE, typed=True
    )  # for macros whose outcome follows from what they are given
    app.jinja_env.globals["nav_groups"] = template_filters.group_nav_items
    app.jinja_env.globals["key_groups"] = lambda: shortcuts.list_groups(NAV)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def render_page(template: str, key: str, crumbs: list[tuple[str, str | None]], **context: Any) -> str:
    """Render a whole page inside the frame; `key` is the navigation entry that is current."""
    if "around" not in g:
        with reading(auth.get_instance().engine) as session:
            load_layout(session)
    trail = [("Home", "/"), *crumbs]
    return render_template(template, page_key=key, crumbs=trail, flashes=_list_flashes(), **(g.around | context))


def _list_flashes() -> list[dict[str, Any]]:
    messages = cast(list[tuple[str, dict[str, Any]]], get_flashed_messages(with_categories=True))
    return [{"tone": tone, **message} for tone, message in messages]


def render_notes() -> str:
    """What is to be said on the next page, alone: for a page that stays as it is."""
    return render_part("site/_flash_messages", flashes=_list_flashes())


def load_layout(session: Session) -> None:
    """Read what stands around a page, first of all where its stream begins. A page asks for it before it reads what it shows,
    so that nothing falls between."""
    cursor = f"{runtime_flags.get_epoch(session)}-{events.get_last_id(session)}"
    waiting = overview.count_needs(session)
    g.around = {
        "nav": [item | {"needs": waiting if item["key"] == "overview" else None} for item in NAV],
        "needs": waiting,
        "health": {"verdict": metrics.load_verdict(session).verdict},
        "user": auth.get_actor().name,
        "commands": _load_commands(session) if auth.get_caller().right is Right.OPERATOR else None,
        "zone": auth.get_instance().settings.timezone,
        "cursor": cursor,
    }


def _load_commands(session: Session) -> dict[str, Any]:
    """What the palette can be told to do that no control of a page does."""
    return {
        "paused": runtime_flags.get_pause_reason(session) is not None,
        "tasks": task_files.list_names(task_files.SHIPPED_TASKS),
    }


def render_part(name: str, **context: Any) -> str:
    """Render one partial alone, as a fragment."""
    return render_template("site/fragment.html", part=name, **context)


def flash_note(
    text: str, tone: str = "good", undo: dict[str, Any] | None = None, *, floats: bool = False, stays: bool = False
) -> None:
    """A line for the next page. What floats moves nothing and goes by itself, unless it `stays` until it is dismissed; with
    `undo` (ticket or tickets, label) it floats, and offers to take back what it tells of."""
    message = {"text": text, "undo": undo, "floats": floats or stays or undo is not None, "stays": stays}
    flash(message, tone)  # type: ignore[arg-type]


def is_script_request() -> bool:
    """Whether a script of the page is asking, rather than a plain form."""
    return request.accept_mimetypes.best == "application/json"
