"""Alerts to people outside the board: derived from the event log, delivered by channels, answered from anywhere."""
