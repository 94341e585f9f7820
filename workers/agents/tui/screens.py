"""The programs with a supported screen, by name. Each module is loaded only when its program is used."""

from __future__ import annotations

from importlib import import_module

from .screen import Screen

_SCREENS = {
    "claude": ("workers.agents.tui.claude_screen", "ClaudeScreen"),
    "codex": ("workers.agents.tui.codex_screen", "CodexScreen"),
}


def create_screen(program: str) -> Screen:
    """Create the screen of a program for one run. KeyError for a program without one."""
    module, name = _SCREENS[program]
    screen: Screen = getattr(import_module(module), name)()
    return screen
