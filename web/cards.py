"""Tickets at a glance, drawn once: what a card or a row looks like follows from its values, so equal ones are kept."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from flask import Flask
from markupsafe import Markup

from tickets.board import Card

from .wording import age, ago

TEMPLATE = "macros/cards.html"
KEPT = 8192
Macro = Callable[[Card], Markup]


def install(app: Flask) -> None:
    """Give templates `draw.card`, `draw.card_with_state` and `draw.row`, which draw with the macros of that name."""

    @lru_cache(KEPT)
    def drawn(name: str, card: Card, _ages: tuple[str, ...]) -> Markup:
        macro: Macro = getattr(app.jinja_env.get_template(TEMPLATE).module, name)
        return macro(card)

    app.jinja_env.globals["draw"] = {
        "card": lambda card: drawn("card", card, _age(card)),
        "card_with_state": lambda card: drawn("card_with_state", card, _age(card)),
        "row": lambda card: drawn("row", card, (*_age(card), age(card.created), age(card.updated))),
    }


def _age(card: Card) -> tuple[str, ...]:
    """What a card says of the time that has passed, which is not among its values."""
    return age(card.since), ago(card.reason.at) if card.reason else ""
