"""Runs: pages, changes, console and the live conversation."""

BLUEPRINTS = (
    "conversation",
    "asked",
    "runs",
    "changes",
    "interactive",
    "console",
    "run_page",
    "operator_page",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
