"""The table of keyboard shortcuts, which pages bind, and which the help page and the list under `?` show.

Keys are in the syntax of tinykeys: "Shift+?", "$mod+Enter" ($mod is Ctrl, or Command on a Mac), "g b" for a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .template_filters import group_nav_items

KEY_LABELS = {"$mod": "Ctrl", "Shift+?": "?", "ArrowDown": "↓", "ArrowUp": "↑"}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """One or more key bindings with the description of what they do."""

    keys: tuple[str, ...]
    says: str

    @property
    def caps(self) -> list[list[str]]:
        """Labels of the keys to press, for each binding."""
        return [[KEY_LABELS.get(cap, cap) for cap in _split_keys(key)] for key in self.keys]


def _split_keys(key: str) -> list[str]:
    return [key] if key in KEY_LABELS else key.replace("+", " ").split()


EVERYWHERE = (
    Shortcut(("/", "$mod+k"), "Search or run an action"),
    Shortcut(("c",), "New ticket"),
    Shortcut(("r",), "Review what needs you"),
    Shortcut(("Shift+T",), "Switch between absolute and relative times"),
    Shortcut(("$mod+Enter",), "Submit the form or comment"),
    Shortcut(("Shift+?",), "Keyboard shortcuts for this page"),
)
BOARD = (
    Shortcut(("v",), "Next view: lanes, columns, list"),
    Shortcut(("h",), "To the column on the left; l to the right"),
    Shortcut(("Enter",), "Open the focused card"),
    Shortcut(("m",), "Actions for the focused card"),
    Shortcut(("x",), "Select the focused card"),
    Shortcut(("Shift+X",), "Select a range of cards"),
    Shortcut(("Alt+ArrowUp", "Alt+ArrowDown"), "Move the focused card up or down in To do"),
    Shortcut(
        ("Space",), "Columns: pick up the focused card, ← → to move it, Enter to drop it; elsewhere: peek at the ticket"
    ),
)
BOARD_AND_TICKET = (
    Shortcut(("j", "k"), "Next and previous ticket"),
    Shortcut((".",), "Actions"),
    Shortcut(("s",), "Change state"),
    Shortcut(("p",), "Set priority"),
    Shortcut(("a",), "Set owner"),
    Shortcut(("l",), "Set tags, except in columns"),
    Shortcut(("t",), "Park until a time"),
)
TICKET = (Shortcut(("m",), "Write a comment"), Shortcut(("e",), "Edit the title; Esc to cancel"))
CHANGES = (Shortcut(("ArrowDown", "ArrowUp"), "Move between lines of a file"),)
QUEUE = (
    Shortcut(("a",), "Approve, answer or unblock"),
    Shortcut(("c",), "Request changes"),
    Shortcut(("n",), "Next"),
    Shortcut(("p",), "Previous"),
    Shortcut(("u",), "Undo the last decision, within ten seconds and where that is possible"),
    Shortcut(("Shift+C",), "New ticket"),
)


def list_groups(nav: Iterable[Mapping[str, Any]], page_key: str | None = None) -> list[tuple[str, list[Shortcut]]]:
    """List the shortcuts of a page, or all of them, by the part of the interface where they work.

    Those of the navigation entries `nav` are among them. In the review queue its own keys replace others.
    """
    pages = [
        Shortcut((f"g {item['go']}",), item["label"])
        for _, items in group_nav_items(nav)
        for item in items
        if item["go"]
    ]
    queue = ("In the review queue", list(QUEUE))
    if page_key == "review":
        queue_keys = {key for row in QUEUE for key in row.keys}
        general = [row for row in EVERYWHERE if not queue_keys.intersection(row.keys)]
        return [queue, ("Everywhere", general), ("Pages", pages), ("On a ticket", list(CHANGES))]
    groups = [
        ("Everywhere", list(EVERYWHERE)),
        ("Pages", pages),
        ("On the board", list(BOARD)),
        ("On the board and on a ticket", list(BOARD_AND_TICKET)),
        ("On a ticket", [*TICKET, *CHANGES]),
    ]
    return [*groups, queue] if page_key is None else groups
