"""Page layout: navigation, breadcrumb, health verdict, notes. A page registers itself with `add_nav_item()`."""

from __future__ import annotations

from typing import Any, cast

from flask import Flask, flash, g, get_flashed_messages, render_template, request

import auth
from auth import Right
from database import Session, reading
from tickets.board import overview
from tickets.schedule import task_files
from tickets.shared import events, runtime_flags

from . import markdown, shortcuts, template_filters, verdict

NAV: list[dict[str, Any]] = []


def add_nav_item(
    key: str,
    href: str,
    icon: str,
    label: str,
    group: str = "Work",
    phone: bool = False,
    go: str = "",
    after: str | None = None,
) -> None:
    """Add a page to the navigation, once, from the module that serves it, at the end or `after` another one.

    `phone` pages are also in the bottom bar of a small screen. `go` is the second key of the shortcut `g <key>`.
    """
    item = {"key": key, "href": href, "icon": icon, "label": label, "group": group, "phone": phone, "go": go}
    keys = [other["key"] for other in NAV]
    NAV.insert(keys.index(after) + 1 if after else len(NAV), item)


def install(app: Flask) -> None:
    app.jinja_env.filters.update(template_filters.FILTERS)
    app.jinja_env.filters["markdown"] = markdown.render_html
    app.jinja_env.globals["nav_groups"] = template_filters.group_nav_items
    app.jinja_env.globals["key_groups"] = lambda page_key=None: shortcuts.list_groups(NAV, page_key)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def render_page(template: str, key: str, crumbs: list[tuple[str, str | None]], **context: Any) -> str:
    """Render a whole page inside the layout, with the navigation entry `key` marked as current."""
    if "around" not in g:
        with reading(auth.get_instance().engine) as session:
            load_layout(session)
    trail = [("Home", "/"), *crumbs]
    return render_template(template, page_key=key, crumbs=trail, flashes=_list_flashes(), **(g.around | context))


def _list_flashes() -> list[dict[str, Any]]:
    messages = cast(list[tuple[str, dict[str, Any]]], get_flashed_messages(with_categories=True))
    return [{"tone": tone, **message} for tone, message in messages]


def render_notes() -> str:
    """Render the flashed notes alone, for a page that is not reloaded."""
    return render_part("site/_flash_messages", flashes=_list_flashes())


def load_layout(session: Session) -> None:
    """Load the data of the layout into `g`, beginning with the cursor at which the page's event stream starts.

    A view calls it before it reads its own data, so that no event is lost between the page and its stream.
    """
    cursor = f"{runtime_flags.get_epoch(session)}-{events.get_last_id(session)}"
    waiting = overview.count_needs(session)
    g.around = {
        "nav": [item | {"needs": waiting if item["key"] == "review" else None} for item in NAV],
        "needs": waiting,
        "health": {"verdict": verdict.load_verdict(session).verdict},
        "user": auth.get_actor().name,
        "commands": _load_commands(session) if auth.get_caller().right is Right.OPERATOR else None,
        "zone": auth.get_instance().settings.timezone,
        "cursor": cursor,
    }


def _load_commands(session: Session) -> dict[str, Any]:
    """Load the data of the command palette's own commands: pause or resume, and the tasks to run."""
    return {
        "paused": runtime_flags.get_pause_reason(session) is not None,
        "tasks": task_files.list_names(auth.get_instance().settings.tasks_dir),
    }


def render_part(name: str, **context: Any) -> str:
    """Render one partial alone, as a fragment."""
    return render_template("site/fragment.html", part=name, **context)


def flash_note(
    text: str, tone: str = "good", undo: dict[str, Any] | None = None, *, floats: bool = False, stays: bool = False
) -> None:
    """Flash a note for the next page.

    A note that `floats` is shown as a toast, which disappears by itself unless it `stays` until it is dismissed.
    With `undo` (ticket or tickets, label) it is a toast with a button that takes the moves back.
    """
    message = {"text": text, "undo": undo, "floats": floats or stays or undo is not None, "stays": stays}
    flash(message, tone)  # type: ignore[arg-type]


def is_script_request() -> bool:
    """Return whether a script of the page sent the request, rather than a plain form."""
    return request.accept_mimetypes.best == "application/json"
