"""Alerts through Apprise, for services that have no channel of their own. Its URLs hold secrets and are kept as such."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from tickets.alerts.alert import Alert, Urgency

from .alert_text import format_text
from .channel import ChannelSetup, SendFailed
from .progress import SendProgress

if TYPE_CHECKING:
    import apprise

INSTALL_HINT = (
    "Apprise is not installed. Run .venv/bin/python -m pip install -e '.[apprise]' where Mission Control is installed"
)


def build_channel(setup: ChannelSetup) -> AppriseChannel:
    """Build the channel from one URL per line. Raises `SendFailed` without Apprise and for a URL that it does not know."""
    try:
        import apprise
    except ImportError:
        raise SendFailed(f"{INSTALL_HINT}.") from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages hold the URLs
    services = []
    for number, url in enumerate(setup.secrets.get("urls", "").split(), 1):
        service = apprise.Apprise()
        if not service.add(url):
            raise SendFailed(f"Apprise does not know the URL in line {number}. Correct it in the settings.")
        services.append(service)
    if not services:
        raise SendFailed("No Apprise URL is set. Enter one in the settings.")
    return AppriseChannel(services, setup.context.settings.public_url)


class AppriseChannel:
    """Sends each alert to every URL. A retry goes to those alone that have not got it."""

    name = "apprise"

    def __init__(self, services: list[apprise.Apprise], board_url: str | None) -> None:
        self._services = services
        self._board_url = board_url
        self._progress = SendProgress()

    def send(self, alert: Alert) -> str:
        body = format_text(alert, self._board_url)
        self._notify_all(alert.key, alert.title, body, "warning" if alert.urgency is Urgency.HIGH else "info")
        return f"{len(self._services)} services"

    def settle(self, alert: Alert, reference: str, text: str) -> None:
        self._notify_all(f"{alert.key}:settled", alert.title, text, "success")

    def _notify_all(self, key: str, title: str, body: str, notify_type: str) -> None:
        def notify(number: int) -> None:
            service = self._services[number]  # as plain text, so that no Markdown of an agent is interpreted
            if not service.notify(body=body, title=title, notify_type=notify_type, body_format="text"):
                raise SendFailed(f"Apprise could not deliver to the URL in line {number + 1}.")

        self._progress.send_to_all(key, {str(number): number for number in range(len(self._services))}, notify)
