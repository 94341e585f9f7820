"""The help page: the workflow, each state with the moves out of it, the rules of tags and triage, and the keyboard shortcuts."""

from __future__ import annotations

from typing import Any

from flask import Blueprint

import auth
from models import TicketStatus
from tickets.lifecycle import moves
from tickets.lifecycle.moves import Role
from tickets.loops import triage
from tickets.shared import tags

from . import layout

blueprint = Blueprint("help", __name__)

MEANINGS = {
    TicketStatus.INBOX: "New and not triaged yet. Nothing starts from here.",
    TicketStatus.TODO: "Ready. An agent starts it as soon as all conditions are met. The ticket lists those that are not.",
    TicketStatus.IN_PROGRESS: "An agent or a person is working on it.",
    TicketStatus.NEEDS_INPUT: "The agent has a question. Your answer sends the ticket back to the same conversation.",
    TicketStatus.IN_REVIEW: "Submitted with its evidence, or approved and about to land. Whoever did the work cannot approve it.",
    TicketStatus.WAITING: "Parked until a time, another ticket, an answer or a person wakes it.",
    TicketStatus.BLOCKED: "It cannot continue on its own. The ticket says who needs to do what.",
    TicketStatus.DONE: "Closed with the work complete.",
    TicketStatus.CANCELLED: "Closed without completing the work.",
}
ACTORS = (
    ("You", {Role.HUMAN, Role.OWNER}),
    ("Its agent", {Role.LIVE_RUN}),
    ("Mission Control", {Role.PICKUP, Role.SYSTEM}),
    ("The coordinator", {Role.ORCHESTRATOR}),
    ("Triage", {Role.TRIAGE}),
    ("A reviewer", {Role.REVIEWER}),
)


RULE_GROUPS = (
    (
        "Tags of a new ticket",
        "A new ticket gets each tag that has a word in its title. If there is none, it gets the first one that has a word in"
        " its description. You can choose others when you create the ticket, and change them later.",
        tags.TAG_RULES,
    ),
    (
        "Priority in triage",
        "A ticket of normal priority gets the first priority that has a word in its title.",
        triage.PRIORITY_RULES,
    ),
)
"""The rules that are tables of words: title, explanation and rules of each."""


@blueprint.get("/help")
def show() -> str:
    coordinator = auth.get_instance().settings.coordinator
    context: dict[str, Any] = {"coordinator": coordinator, "standings": list_states(), "rule_groups": RULE_GROUPS}
    context |= {"other_rules": triage.OTHER_RULES, "triage": auth.get_instance().settings.triage}
    return layout.render_page("site/help.html", "help", [("Help", None)], **context)


def list_states() -> list[dict[str, Any]]:
    """List the states in the order of the board, with their meaning and the moves out of them by kind of actor."""
    return [
        {"status": status.value, "meaning": MEANINGS[status], "doers": _list_moves_by_actor(status)}
        for status in TicketStatus
    ]


def _list_moves_by_actor(status: TicketStatus) -> list[tuple[str, list[str]]]:
    available = [move for move in moves.MOVES.values() if status in move.sources]
    allowed = [(actor, [_format_label(move) for move in available if move.by & rights]) for actor, rights in ACTORS]
    return [(actor, labels) for actor, labels in allowed if labels]


def _format_label(move: moves.Move) -> str:
    return move.label or move.name.replace("_", " ").capitalize()
