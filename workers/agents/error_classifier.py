"""Classification of the error messages of programs and model services."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from redaction import strip_controls
from workers.contract.agent_events import AgentEvent, make_event, shorten_line

Wordings = Mapping[str, str]
"""Failure class -> regular expression of the texts that tell it; the first class that matches counts."""

_PATTERNS: Wordings = {
    "rate_limit": r"(?:tokens|requests|images) per (?:min|day|sec)|\b[TR]P[MDS]\b|(?:would|will) exceed .{0,40}rate.?limit"
    r"|rate.?limit (?:reached|exceeded) for",
    "usage_limit": r"usage.?limit|daily limit|(?<!rate )limit (?:has been )?reached|spend(?:ing)? (?:cap|limit)"
    r"|out of (?:extra |usage |your )?(?:usage|credits?)|credit balance|insufficient.(?:quota|credits?)|quota exceeded"
    r"|exceeded your current quota",
    "context_overflow": r"context.?(window|length)|maximum context",
    "environment": r"billing|model.{0,40}not (found|supported)",
}
_MORE_PATTERNS: Wordings = {
    "authentication": r"authenticat|unauthori[sz]ed|api key|not logged in|/login|oauth|environment variable.*not set",
    "rate_limit": r"rate.?limit|too many requests",
    "server_error": r"overloaded|at capacity|server.?error|high demand|service unavailable",
    "network": r"connect|network|stream|disconnected|ECONN|ETIMEDOUT|ENOTFOUND|timed? ?out|idle timeout",
    "environment": r"error loading config|unknown option|unexpected argument|invalid value|no such file",
}
_NO_WORDINGS: Wordings = MappingProxyType({})
_STATUS = re.compile(r"(?:status:? |error:? |rejected \()(\d{3})\b", re.IGNORECASE)
_BY_STATUS = {401: "authentication", 403: "authentication", 404: "environment", 408: "network"}
_BY_STATUS |= {413: "context_overflow", 429: "rate_limit"}


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


def explain_exit(exit_code: int, stderr: str, wordings: Wordings = _NO_WORDINGS) -> AgentEvent | None:
    """Make the error event of a program that exited without one on its redacted `stderr`. None for a clean exit."""
    if exit_code == 0:
        return None
    lines = [line.strip() for line in strip_controls(stderr).splitlines() if line.strip()]
    if exit_code < 0 or exit_code in (129, 130, 137, 143):
        return make_event("error", failure="killed", message=f"Ended by a signal (exit code {exit_code}).")
    failure = classify_error("\n".join(lines[-20:]), wordings=wordings) if lines else "crash"
    message = shorten_line(lines[-1]) if lines else f"Ended with exit code {exit_code} and no message."
    return make_event("error", failure="crash" if failure == "agent_failed" else failure, message=message)


def _combine(general: Wordings, own: Wordings) -> Wordings:
    """The general wordings, each class with a program's own beside them."""
    return {failure: "|".join(filter(None, (words, own.get(failure)))) for failure, words in general.items()}


def _match_patterns(text: str, wordings: Wordings) -> str | None:
    return next((failure for failure, pattern in wordings.items() if re.search(pattern, text, re.IGNORECASE)), None)


def _classify_status(status: int) -> str | None:
    return "server_error" if 500 <= status < 600 else _BY_STATUS.get(status)
