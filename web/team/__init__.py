"""Agents, profiles, projects, settings and tokens."""

BLUEPRINTS = (
    "team_api",
    "token_api",
    "team_page",
    "settings_page",
    "alert_page",
    "push_page",
    "telegram_page",
    "project_pages",
    "project_trust",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
