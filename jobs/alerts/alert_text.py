"""An alert as plain text, for channels without buttons."""

from __future__ import annotations

from tickets.alerts.alert import Alert


def format_text(alert: Alert, board_url: str | None) -> str:
    """Format the body, the choices of a question, and where it is answered."""
    choices = [f"- {choice.label}" for choice in alert.question.choices] if alert.question else []
    verb = "Answer" if alert.question else "Open"
    return "\n\n".join(filter(None, [alert.body, "\n".join(choices), f"{verb}: {locate_page(alert, board_url)}"]))


def locate_page(alert: Alert, board_url: str | None) -> str:
    """Return the URL of an alert's page, or its path where no `public_url` is set: the board's own name is a secret."""
    return f"{board_url}{alert.path}" if board_url else f"{alert.path} on your board"
