"""The keys of the interface, in one table: pages bind what stands here, and help and the list under `?` show it.

Keys are written as tinykeys reads them: "Shift+?", "$mod+Enter" ($mod is Ctrl, or Command on a Mac), "g b" one after the
other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .template_filters import nav_groups

SHOWN = {"$mod": "Ctrl", "Shift+?": "?", "ArrowDown": "↓", "ArrowUp": "↑"}


@dataclass(frozen=True, slots=True)
class Row:
    """Keys that belong together, and what they do."""

    keys: tuple[str, ...]
    says: str

    @property
    def caps(self) -> list[list[str]]:
        """Each of the keys as the caps that are pressed for it."""
        return [[SHOWN.get(cap, cap) for cap in _caps(key)] for key in self.keys]


def _caps(key: str) -> list[str]:
    return [key] if key in SHOWN else key.replace("+", " ").split()


EVERYWHERE = (
    Row(("/", "$mod+k"), "Search, go somewhere, do something"),
    Row(("c",), "New ticket"),
    Row(("t",), "Write times whole, or as how long ago"),
    Row(("$mod+Enter",), "Send what is being written"),
    Row(("Shift+?",), "The keys of this page"),
)
BOARD = (
    Row(("h", "j", "k", "l"), "Go from card to card"),
    Row(("Enter",), "Open the card in focus"),
    Row(("m",), "Moves of the card in focus"),
    Row(("x",), "Select the card in focus"),
    Row(("Shift+X",), "Select all from the last one selected to it"),
    Row(("Space",), "Pick the card in focus up; ← → carry it, Enter drops it, Esc puts it back"),
)
TICKET = (Row(("r",), "Write"), Row(("e",), "Edit the title; Esc leaves what is being edited"))
CHANGES = (Row(("ArrowDown", "ArrowUp"), "Go from line to line of a file"),)


def groups(nav: Iterable[Mapping[str, Any]]) -> list[tuple[str, list[Row]]]:
    """All keys by where they work; those of the pages come from the navigation."""
    pages = [Row((f"g {item['go']}",), item["label"]) for _, items in nav_groups(nav) for item in items if item["go"]]
    return [
        ("Everywhere", list(EVERYWHERE)),
        ("Pages", pages),
        ("On the board", list(BOARD)),
        ("On a ticket", [*TICKET, *CHANGES]),
    ]
