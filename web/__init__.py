"""What is seen: one blueprint for each resource; parse, one domain call, render."""

from __future__ import annotations

from importlib import import_module

from flask import Blueprint

BLUEPRINTS = (
    "login",
    "health",
    "vitals",
    "needs",
    "tickets",
    "conversation",
    "asked",
    "runs",
    "workflow",
    "changes",
    "relations",
    "context",
    "attachments",
    "team",
    "tokens",
    "api_docs",
    "streams",
    "interactive",
    "console",
    "upkeep",
    "search",
    "pages",
    "activity",
    "board_page",
    "bulk",
    "new_ticket",
    "upkeep_pages",
    "search_page",
    "help",
    "offline",
    "ticket_page",
    "paper",
    "replay",
    "run_page",
    "operator_page",
    "workflow_page",
    "ticket_edit",
    "ticket_links",
    "ticket_files",
    "team_page",
    "settings_page",
    "project_pages",
    "patterns",
)
"""Modules of this package; each has a Blueprint named `blueprint`."""


def blueprints() -> list[Blueprint]:
    """The blueprint of every module in the list."""
    return [import_module(f"{__name__}.{name}").blueprint for name in BLUEPRINTS]
