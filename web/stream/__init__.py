"""Server-sent events, WebSockets and log tails."""

BLUEPRINTS = ("stream_routes",)
"""Modules of this package that have a Blueprint named `blueprint`."""
