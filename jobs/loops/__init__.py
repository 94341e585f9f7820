"""Loops that observe the board and act on it, each a scheduled task."""
