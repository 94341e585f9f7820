"""Board, bulk changes, attention and search."""

BLUEPRINTS = (
    "attention",
    "search",
    "board_page",
    "bulk",
    "property_menu",
    "queue_place",
    "peek",
    "search_page",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
