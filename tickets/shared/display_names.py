"""Formatting of statuses, field names and sizes for people."""

from __future__ import annotations

from models import Gate, Planning, TicketStatus

GATES = {
    Gate.PERSON: "A person approves",
    Gate.REVIEWER: "A reviewer approves",
    Gate.CHECKS: "The checks pass",
    Gate.NONE: "Nothing further",
}
PLANNING = {
    Planning.FIRST: "Plan first, a person approves it",
    Planning.NONE: "Start without a plan",
}


def format_status(status: TicketStatus) -> str:
    """Format a status for use in a sentence: `to do`, `in progress`, `needs input`."""
    return "to do" if status is TicketStatus.TODO else status.value.replace("_", " ")


def format_code_block(text: str) -> str:
    """Format a text as a Markdown code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"


def format_size(count: int) -> str:
    """Format a number of bytes: `940 bytes`, `34 KB`, `1.5 MB`."""
    if count < 1 << 10:
        return f"{count} bytes"
    if count < 1 << 20:
        return f"{count / (1 << 10):.0f} KB"
    return f"{count / (1 << 20):.1f}".removesuffix(".0") + " MB"
