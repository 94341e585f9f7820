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
TICKET = (Shortcut(("r",), "Write a comment"), Shortcut(("e",), "Edit the title; Esc to cancel"))
CHANGES = (Shortcut(("ArrowDown", "ArrowUp"), "Move between lines of a file"),)


def list_groups(nav: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Shortcut]]]:
    """List all shortcuts by the part of the interface where they work, with those of the navigation entries `nav`."""
    pages = [
        Shortcut((f"g {item['go']}",), item["label"])
        for _, items in group_nav_items(nav)
        for item in items
        if item["go"]
    ]
    return [
        ("Everywhere", list(EVERYWHERE)),
        ("Pages", pages),
        ("On the board", list(BOARD)),
        ("On the board and on a ticket", list(BOARD_AND_TICKET)),
        ("On a ticket", [*TICKET, *CHANGES]),
    ]
