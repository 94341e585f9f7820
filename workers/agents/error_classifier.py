"""From what a program or its model service said, to a class of failure and the time when a limit is reset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from zoneinfo import ZoneInfo

from workers.contract.agent_events import AgentEvent, format_title, make_event, strip_controls

Wordings = Mapping[str, str]
"""Failure class -> regular expression of the texts that tell it; the first class that matches counts."""

_PATTERNS: Wordings = {
    "usage_limit": r"usage.?limit|daily limit|limit reached",
    "context_overflow": r"context.?(window|length)|maximum context",
    "environment": r"billing|model.{0,40}not (found|supported)",
}
_MORE_PATTERNS: Wordings = {
    "authentication": r"authenticat|unauthori[sz]ed|api key|not logged in|/login|oauth|environment variable.*not set",
    "rate_limit": r"rate.?limit|too many requests",
    "server_error": r"overloaded|server.?error|high demand|service unavailable",
    "network": r"connect|network|stream|disconnected|ECONN|ETIMEDOUT|ENOTFOUND|timed? ?out|idle timeout",
    "environment": r"error loading config|unknown option|unexpected argument|invalid value|no such file",
}
_NO_WORDINGS: Wordings = MappingProxyType({})
_STATUS = re.compile(r"(?:status:? |error:? |rejected \()(\d{3})\b", re.IGNORECASE)
_BY_STATUS = {401: "authentication", 403: "authentication", 404: "environment", 408: "network"}
_BY_STATUS |= {413: "context_overflow", 429: "rate_limit"}

_EPOCH = re.compile(r"\|(\d{10})\b")
_SPAN = re.compile(r"\bin ((?:\d{1,4} (?:day|hour|minute|second)s?(?:,? and |, | )?)+)", re.IGNORECASE)
_SPAN_PART = re.compile(r"(\d{1,4}) (day|hour|minute|second)", re.IGNORECASE)
_CLOCK = re.compile(
    r"(?:resets?(?: at| on)?|again at|available at) "
    r"(?:(?P<month>[A-Z][a-z]{2})[a-z]* (?P<day>\d{1,2})(?:st|nd|rd|th)?,? (?:(?P<year>\d{4}),? )?(?:at )?)?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))? ?(?P<half>[ap])m(?: \((?P<zone>[\w/+-]+)\))?",
    re.IGNORECASE,
)


def classify_error(text: str, status: int | None = None, wordings: Wordings = _NO_WORDINGS) -> str:
    """The failure class of a message, with the HTTP status where one is known (else looked for in the text).

    `wordings` are the program's own; see `workers.agents.descriptor`.
    """
    match = _STATUS.search(text)
    return (
        _match_patterns(text, _combine(_PATTERNS, wordings))
        or _classify_status(status or (int(match[1]) if match else 0))
        or _match_patterns(text, _MORE_PATTERNS)
        or "agent_failed"
    )


def parse_reset_time(text: str, now: datetime | None = None) -> str | None:
    """When a limit named in the text is lifted, as ISO-8601 in UTC; None where the text does not say.

    Known forms: `|<epoch>`, `in 2 hours 5 minutes`, `resets 3pm (Europe/Berlin)`, `try again at Oct 5th,
    2026 9:30 AM`. A time without a zone is one of `now`'s (default: this machine's).
    """
    now = now or datetime.now().astimezone()
    if match := _EPOCH.search(text):
        return format_time(int(match[1]))
    if match := _SPAN.search(text):
        parts = {unit.lower() + "s": int(number) for number, unit in _SPAN_PART.findall(match[1])}
        return _format_utc(now + timedelta(**parts))
    if match := _CLOCK.search(text):
        return _resolve_clock(match, now)
    return None


def format_time(epoch: float) -> str:
    """Seconds since 1970 as ISO-8601 in UTC."""
    return _format_utc(datetime.fromtimestamp(epoch, UTC))


def explain_exit(exit_code: int, stderr: str, wordings: Wordings = _NO_WORDINGS) -> AgentEvent | None:
    """Why a program that said nothing on its stream ended; None for a clean end."""
    if exit_code == 0:
        return None
    lines = [line.strip() for line in strip_controls(stderr).splitlines() if line.strip()]
    if exit_code < 0 or exit_code in (129, 130, 137, 143):
        return make_event("error", failure="killed", message=f"Ended by a signal (exit code {exit_code}).")
    failure = classify_error("\n".join(lines[-20:]), wordings=wordings) if lines else "crash"
    message = format_title(lines[-1]) if lines else f"Ended with exit code {exit_code} and no message."
    return make_event("error", failure="crash" if failure == "agent_failed" else failure, message=message)


def _combine(general: Wordings, own: Wordings) -> Wordings:
    """The general wordings, each class with a program's own beside them."""
    return {failure: "|".join(filter(None, (words, own.get(failure)))) for failure, words in general.items()}


def _match_patterns(text: str, wordings: Wordings) -> str | None:
    return next((failure for failure, pattern in wordings.items() if re.search(pattern, text, re.IGNORECASE)), None)


def _classify_status(status: int) -> str | None:
    return "server_error" if 500 <= status < 600 else _BY_STATUS.get(status)


def _resolve_clock(match: re.Match[str], now: datetime) -> str | None:
    """The first moment after `now` that a clock time (with or without a date) can mean."""
    try:
        here = now.astimezone(ZoneInfo(match["zone"])) if match["zone"] else now
        hour = int(match["hour"]) % 12 + (12 if match["half"].lower() == "p" else 0)
        when = here.replace(hour=hour, minute=int(match["minute"] or 0), second=0, microsecond=0)
        if not match["month"]:
            return _format_utc(when if when > here else when + timedelta(days=1))
        month = datetime.strptime(match["month"], "%b").month
        when = when.replace(year=int(match["year"] or here.year), month=month, day=int(match["day"]))
        return _format_utc(when if match["year"] or when > here else when.replace(year=here.year + 1))
    except (ValueError, KeyError, OSError):
        return None


def _format_utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
