"""The keys of the interface, in one table: pages bind what stands here, and help and the list under `?` show it.

Keys are written as tinykeys reads them: "Shift+?", "$mod+Enter" ($mod is Ctrl, or Command on a Mac), "g b" one after the
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .template_filters import group_nav_items

KEY_LABELS = {"$mod": "Ctrl", "Shift+?": "?", "ArrowDown": "↓", "ArrowUp": "↑"}


@dataclass(frozen=True, slots=True)
class Shortcut:
    """Keys that belong together, and what they do."""

    keys: tuple[str, ...]
    says: str

    @property
    def caps(self) -> list[list[str]]:
        """Each of the keys as the caps that are pressed for it."""
        return [[KEY_LABELS.get(cap, cap) for cap in _split_keys(key)] for key in self.keys]


def _split_keys(key: str) -> list[str]:
    return [key] if key in KEY_LABELS else key.replace("+", " ").split()


EVERYWHERE = (
    Shortcut(("/", "$mod+k"), "Search, go somewhere, do something"),
    Shortcut(("c",), "New ticket"),
    Shortcut(("t",), "Write times whole, or as how long ago"),
    Shortcut(("$mod+Enter",), "Send what is being written"),
    Shortcut(("Shift+?",), "The keys of this page"),
)
BOARD = (
    Shortcut(("h", "j", "k", "l"), "Go from card to card"),
    Shortcut(("Enter",), "Open the card in focus"),
    Shortcut(("m",), "Moves of the card in focus"),
    Shortcut(("x",), "Select the card in focus"),
    Shortcut(("Shift+X",), "Select all from the last one selected to it"),
    Shortcut(("Space",), "Pick the card in focus up; ← → carry it, Enter drops it, Esc puts it back"),
)
TICKET = (Shortcut(("r",), "Write"), Shortcut(("e",), "Edit the title; Esc leaves what is being edited"))
CHANGES = (Shortcut(("ArrowDown", "ArrowUp"), "Go from line to line of a file"),)


def list_groups(nav: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Shortcut]]]:
    """All keys by where they work; those of the pages come from the navigation."""
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
        ("On a ticket", [*TICKET, *CHANGES]),
    ]
