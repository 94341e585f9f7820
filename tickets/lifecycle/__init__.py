"""Moves of a ticket and everything else that changes it."""
