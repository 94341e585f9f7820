"""Board, bulk changes, attention and search."""

BLUEPRINTS = (
    "attention",
    "search",
    "board_page",
    "bulk",
    "property_menu",
    "search_page",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
