"""Board, bulk changes, attention and search."""

BLUEPRINTS = (
    "attention",
    "search",
    "board_page",
    "bulk",
    "search_page",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
