"""Channels of alerts, which the scheduler runs: each in threads of its own, and loaded only when it is used."""
