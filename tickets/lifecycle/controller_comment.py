"""The comment with which the orchestrator explains a move that puts a ticket right."""

from __future__ import annotations

from models import Ticket, TicketStatus, format_timestamp, now
from tickets.shared import display_names

from .move_snapshot import MoveSnapshot
from .moves import CONTROLLER_MOVES, Move


def describe_control(move: Move, ticket: Ticket, was: MoveSnapshot, reason: str | None) -> str:
    """Describe a move with which the orchestrator puts a ticket right: state and owner before and after, and why."""

    def describe(status: TicketStatus, owner: str | None) -> str:
        return f"{display_names.format_status_label(status)}, owner {owner or 'nobody'}"

    before = describe(TicketStatus(was["status"]), was.get("assigned_to", ticket.assigned_to))
    return "\n".join(
        (
            f"[controller {CONTROLLER_MOVES[move.name]} · {format_timestamp(now())}]",
            f"- Before: {before}",
            f"- After: {describe(ticket.status, ticket.assigned_to)}",
            f"- Reason: {reason or 'none given'}",
        )
    )
