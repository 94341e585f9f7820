"""The programs whose screens are known, by name; each module is loaded only when its program is used."""

from __future__ import annotations

from importlib import import_module

from .screen import Screen

_SCREENS = {
    "claude": ("workers.agents.tui.claude_screen", "ClaudeScreen"),
    "codex": ("workers.agents.tui.codex_screen", "CodexScreen"),
}


def create_screen(program: str) -> Screen:
    """A fresh screen for one run of a program that has one; KeyError for another one."""
    module, name = _SCREENS[program]
    screen: Screen = getattr(import_module(module), name)()
    return screen
