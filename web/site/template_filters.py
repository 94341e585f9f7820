"""Jinja filters for numbers and times, all pure functions.

Times are aware datetimes or ISO 8601 text. A naive time is taken as UTC. `None` becomes an empty string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from tickets.shared import display_names
from tickets.shared.label_colors import label_tag

Moment = datetime | str | None

_UNITS = ((86400 * 365, "y"), (86400 * 30, "mo"), (86400, "d"), (3600, "h"), (60, "min"))


def parse_time(value: datetime | str) -> datetime:
    """Return `value` as an aware datetime."""
    parsed = datetime.fromisoformat(value) if isinstance(value, str) else value
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def format_iso(value: Moment) -> str:
    """Format a time for the `datetime` attribute of <time>: `2026-03-01T09:00:00Z`."""
    return parse_time(value).astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z") if value else ""


def format_utc(value: Moment) -> str:
    """Format a time in full, for a tooltip: `2026-03-01 09:00:00 UTC`."""
    return parse_time(value).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if value else ""


def format_age(value: Moment, now: datetime | None = None) -> str:
    """Format the distance from now in one unit: `now`, `4 min`, `3 h`, `12 d`."""
    if not value:
        return ""
    seconds = abs(((now or datetime.now(UTC)) - parse_time(value)).total_seconds())
    for size, name in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {name}"
    return "now"


def format_ago(value: Moment, now: datetime | None = None) -> str:
    """Format the distance from now with its direction: `just now`, `4 min ago`, `in 3 h`."""
    if not value:
        return ""
    length = format_age(value, now)
    if length == "now":
        return "just now"
    return f"in {length}" if parse_time(value) > (now or datetime.now(UTC)) else f"{length} ago"


def format_duration(seconds: float | None) -> str:
    """Format a duration: `0.4 s`, `41 s`, `4 min 10 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def format_money(dollars: float | None) -> str:
    """Format an amount in dollars: `$0.42`, or `< $0.01` below a cent."""
    if dollars is None:
        return ""
    return "< $0.01" if 0 < dollars < 0.01 else f"${dollars:,.2f}"


def format_tokens(count: int | None) -> str:
    """Format a number of tokens: `940`, `41 k`, `1.2 M`."""
    if count is None:
        return ""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.0f} k" if count < 1_000_000 else f"{count / 1_000_000:.1f} M"


def group_nav_items(items: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group navigation items by their `group`, in the order of registration."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        groups.setdefault(str(item["group"]), []).append(item)
    return list(groups.items())


def summarize_payload(payload: Mapping[str, Any]) -> str:
    """Summarize an event's payload in one line of at most 160 characters."""
    if {"move", "from", "to"} <= payload.keys():
        way = f" ({payload['landing']})" if payload.get("landing") else ""
        return f"{payload['move']}: {payload['from']} → {payload['to']}{way}".replace("_", " ")
    if isinstance(payload.get("changes"), dict):
        return f"{', '.join(payload['changes'])} changed".replace("_", " ")
    words = next((payload[key] for key in ("text", "title", "message", "body", "detail") if payload.get(key)), None)
    plain = words or ", ".join(f"{key} {value}" for key, value in payload.items() if value not in (None, "", [], {}))
    return " ".join(str(plain).split())[:160]


def render_code(text: str) -> Markup:
    """Render text between backticks as <code> and escape the rest."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


_BROWSERS = {"Edg": "Edge", "OPR": "Opera", "Firefox": "Firefox", "FxiOS": "Firefox", "CriOS": "Chrome"}
_BROWSERS |= {"Chrome": "Chrome", "Safari": "Safari"}
"""The name of a browser by a mark of its User-Agent. The first mark counts: Edge names Chrome too, and Chrome Safari."""
_SYSTEMS = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Mac OS": "Mac", "Windows": "Windows"}
_SYSTEMS |= {"Linux": "Linux"}


def format_browser(user_agent: str) -> str:
    """Format the User-Agent header of a browser for people: `Chrome on Android`."""
    browser = next((name for mark, name in _BROWSERS.items() if mark in user_agent), "Unknown browser")
    system = next((name for mark, name in _SYSTEMS.items() if mark in user_agent), None)
    return f"{browser} on {system}" if system else browser


FILTERS: dict[str, Callable[..., Any]] = {
    "block_reason": display_names.format_block_reason,
    "label_tag": label_tag,
    "iso": format_iso,
    "stamp": format_utc,
    "age": format_age,
    "ago": format_ago,
    "duration": format_duration,
    "money": format_money,
    "tokens": format_tokens,
    "told": summarize_payload,
    "ticked": render_code,
    "browser_name": format_browser,
    "nav_groups": group_nav_items,
}
