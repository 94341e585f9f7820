"""Server-sent events, WebSockets and log tails."""

BLUEPRINTS = ("streams",)
"""Modules of this package that have a Blueprint named `blueprint`."""
