"""Codex as an agent program."""
