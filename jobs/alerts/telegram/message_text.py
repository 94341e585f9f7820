"""Texts of Telegram messages: HTML in which every text is escaped, in parts that each have a valid length.

Telegram counts UTF-16 code units, after it has parsed the HTML.
"""

from __future__ import annotations

from html import escape

from tickets.alerts.alert import Alert, QuestionKind

MAX_UNITS = 4096
RESERVED_UNITS = 500
"""Kept free in each part of an alert for its hint and its settlement."""
HINTS = {
    QuestionKind.TICKET: "Reply to this message to answer.",
    QuestionKind.AGENT: "Reply to this message to answer.",
    QuestionKind.REVIEW: "Reply to this message to request changes.",
}


def count_units(text: str) -> int:
    """Count the UTF-16 code units of a text."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def split_text(text: str, limit: int = MAX_UNITS) -> list[str]:
    """Split a text into parts of at most `limit` code units, at the end of a line or a word where one is near."""
    parts = []
    rest = text.strip()
    while rest:
        end = _find_end(rest, limit)
        parts.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return parts


def _find_end(text: str, limit: int) -> int:
    """Find where the first part of a text ends: never within a character, which may have two code units."""
    if count_units(text) <= limit:
        return len(text)
    end = limit
    while count_units(text[:end]) > limit:
        end -= 1 + (count_units(text[:end]) - limit) // 2
    breaks = (text.rfind(mark, end // 2, end) for mark in ("\n", " "))
    return next((place for place in breaks if place > 0), end)


def format_html(text: str) -> str:
    """Format a plain text as HTML that shows just this text."""
    return escape(text, quote=False)


def format_parts(alert: Alert) -> list[str]:
    """Format an alert as the HTML of one message or several, the title in bold."""
    first, *others = _split_alert(alert)
    body = first[len(alert.title) :]
    return [f"<b>{format_html(alert.title)}</b>{format_html(body)}", *map(format_html, others)]


def format_settlement(alert: Alert, text: str) -> str:
    """Format the last part of an alert with the text that says why it needs nobody any more."""
    return f"{format_parts(alert)[-1]}\n\n<i>{format_html(split_text(text, RESERVED_UNITS // 2)[0])}</i>"


def _split_alert(alert: Alert) -> list[str]:
    return split_text(f"{alert.title}\n\n{alert.body}", MAX_UNITS - RESERVED_UNITS)


def format_ending(alert: Alert, public_url: str | None) -> str:
    """Format what follows the last part: how to answer, and a link where the board has a public address."""
    hint = _choose_hint(alert)
    lines = [f"<i>{hint}</i>"] if hint else []
    if public_url:
        lines.append(f'<a href="{escape(public_url + alert.path)}">Open {escape(alert.ticket or "the board")}</a>')
    return "".join(f"\n\n{line}" for line in lines)


def _choose_hint(alert: Alert) -> str:
    question = alert.question
    if question is None:
        return ""
    if question.takes_text:
        return HINTS[question.kind]
    return "" if question.choices else "Answer it on the board."
