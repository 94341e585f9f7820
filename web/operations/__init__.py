"""Health, tasks, overview, logs and activity."""

BLUEPRINTS = (
    "health",
    "api_docs",
    "upkeep",
    "pages",
    "activity",
    "upkeep_pages",
    "patterns",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
