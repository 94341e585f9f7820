"""One table of keys: no key means two things on one page, and each page of the navigation has its letter."""

from __future__ import annotations

from collections import Counter

from flask import Flask

from web.site import layout, shortcuts


def test_each_page_has_a_letter_of_its_own(app: Flask) -> None:
    letters = [item["go"] for item in layout.NAV]
    assert all(len(letter) == 1 for letter in letters)
    assert [letter for letter, count in Counter(letters).items() if count > 1] == []


def test_no_key_means_two_things_on_one_page() -> None:
    for more in (shortcuts.BOARD, (*shortcuts.TICKET, *shortcuts.CHANGES)):
        here = [key for row in (*shortcuts.EVERYWHERE, *more) for key in row.keys]
        assert len(here) == len(set(here))
    groups = shortcuts.list_groups(layout.NAV, "review")
    here = [key for _, rows in groups for row in rows for key in row.keys]
    assert len(here) == len(set(here)) and {"c", "Shift+C", "r"} <= set(here)


def test_keys_are_shown_as_the_caps_that_are_pressed() -> None:
    assert shortcuts.Shortcut(("$mod+k", "Shift+?", "g b", "ArrowUp"), "").caps == [
        ["Ctrl", "k"],
        ["?"],
        ["g", "b"],
        ["↑"],
    ]
