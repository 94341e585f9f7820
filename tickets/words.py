"""How the domain's names are said to people."""

from __future__ import annotations

from models import TicketStatus


def state(status: TicketStatus) -> str:
    """`to do`, `in progress`, `needs input`, as it stands in a sentence."""
    return "to do" if status is TicketStatus.TODO else status.value.replace("_", " ")


def fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
