"""The channel: alerts go out, answers and commands come in."""

from __future__ import annotations

from threading import Event

from jobs.alerts.channel import ChannelSetup, SendFailed
from tickets.alerts.alert import Alert

from .alert_sender import AlertSender
from .bot_client import BotClient
from .chat_pacer import ChatPacer
from .outbox import Outbox
from .update_poller import UpdatePoller


def build_channel(setup: ChannelSetup) -> TelegramChannel:
    """Build the channel. Raises `SendFailed` without a valid token."""
    settings = setup.context.settings
    try:
        client = BotClient(setup.secrets.get("token", "").strip(), settings.telegram_api_url)
    except ValueError as error:
        raise SendFailed(str(error)) from None
    return TelegramChannel(setup, client)


class TelegramChannel:
    """A bot that sends alerts to the chats of paired people, and does what these people write."""

    name = "telegram"

    def __init__(self, setup: ChannelSetup, client: BotClient, pacer: ChatPacer | None = None) -> None:
        outbox = Outbox(client, pacer or ChatPacer())
        self._sender = AlertSender(setup.context.engine, outbox, setup.context.settings.public_url, setup.log)
        self._poller = UpdatePoller(setup.context, client, outbox, setup.log)

    def send(self, alert: Alert) -> str:
        return self._sender.send(alert)

    def settle(self, alert: Alert, reference: str, text: str) -> None:
        """Edit the messages of an alert. One that was sent in a digest has none of its own."""
        self._sender.settle(alert, text)

    def run(self, stop: Event) -> None:
        self._poller.run(stop)
