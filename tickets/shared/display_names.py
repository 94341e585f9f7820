"""Formatting of statuses, field names and sizes for people."""

from __future__ import annotations

from models import BlockReason, CatchUp, Gate, MissReason, Planning, TicketStatus

GATES = {
    Gate.PERSON: "A person approves",
    Gate.REVIEWER: "A reviewer approves",
    Gate.CHECKS: "The checks pass",
    Gate.NONE: "The agent reports it is done",
}
PLANNING = {
    Planning.FIRST: "Plan first, approved by a person",
    Planning.NONE: "Start without a plan",
}

BLOCK_REASONS = {
    BlockReason.DEPENDENCY: "Waiting on something else",
    BlockReason.NEEDS_HUMAN: "Needs a person",
    BlockReason.CAPABILITY: "Agent cannot do this",
    BlockReason.ENVIRONMENT: "Machine or project needs fixing",
    BlockReason.EXHAUSTED: "Retries used up",
}

CATCH_UPS = {
    CatchUp.ONCE: "Run once for all missed times",
    CatchUp.SKIP: "Skip missed times",
    CatchUp.ALL: "Run for each missed time, at most 100",
}
MISS_REASONS = {
    MissReason.NOT_RUNNING: "The scheduler was not running",
    MissReason.ASLEEP: "The machine was asleep",
    MissReason.DISABLED: "The task was disabled",
    MissReason.STILL_RUNNING: "The previous run had not ended",
    MissReason.PAUSED: "The board was paused",
    MissReason.INTERRUPTED: "The scheduler ended during the run",
    MissReason.BUSY: "The scheduler could not start it in time",
}


def format_status(status: TicketStatus) -> str:
    """Format a status for use in a sentence: `to do`, `in progress`, `needs input`."""
    return "to do" if status is TicketStatus.TODO else status.value.replace("_", " ")


def format_status_label(status: TicketStatus) -> str:
    """Format a status as its label on the board: `To do`, `In progress`, `Needs input`."""
    return format_status(status).capitalize()


def format_block_reason(reason: str) -> str:
    """Format the stored reason of a block as its label: `Retries used up`."""
    return BLOCK_REASONS[BlockReason(reason)]


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
