"""Health, tasks, overview, logs and activity."""

BLUEPRINTS = (
    "health",
    "api_docs",
    "task_api",
    "inbox_api",
    "overview_page",
    "activity",
    "inbox_page",
    "schedule_pages",
    "task_pages",
    "hooks",
    "patterns",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
