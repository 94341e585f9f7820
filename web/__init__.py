"""Pages, JSON API and streams: parse a request, make one domain call, render the result."""

from __future__ import annotations

from importlib import import_module

from flask import Blueprint

PACKAGES = ("site", "operations", "ticket", "runs", "team", "stream", "board")
"""Packages that serve something; each names its modules in `BLUEPRINTS`."""


def blueprints() -> list[Blueprint]:
    """Import every module that has routes and return their blueprints."""
    packages = [import_module(f"{__name__}.{name}") for name in PACKAGES]
    modules = [f"{package.__name__}.{module}" for package in packages for module in package.BLUEPRINTS]
    return [import_module(module).blueprint for module in modules]
