"""Everything around a page: layout, log-in, assets, errors and headers."""

BLUEPRINTS = (
    "login",
    "proof",
    "metrics",
    "help",
    "offline",
    "former_address",
)
"""Modules of this package that have a Blueprint named `blueprint`."""
