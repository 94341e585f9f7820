"""The long poll for updates: each is handled before the next poll, which confirms it to Telegram by its number."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event
from typing import Any

from database import reading, writing
from jobs import single_flight
from jobs.job_context import JobContext
from tickets.alerts import telegram_log

from .bot_client import BotClient, BotError
from .bot_updates import UPDATE_KINDS
from .outbox import Outbox
from .update_handler import UpdateHandler

POLL_SECONDS = 25
LEASE = "alerts-telegram-inbound"
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 300.0
OTHER_HOLDER_SECONDS = 10.0
CONFLICT = 409
OTHER_POLLER = (
    "Another program receives the updates of the Telegram bot, so what people write may not reach Mission Control. End that"
    " program, or give Mission Control a bot of its own."
)


class UpdatePoller:
    """Receives the updates of one bot, on one host at a time."""

    def __init__(self, context: JobContext, client: BotClient, outbox: Outbox, log: Callable[[str], None]) -> None:
        self._context = context
        self._client = client
        self._outbox = outbox
        self._log = log
        self._handler: UpdateHandler | None = None

    def run(self, stop: Event) -> None:
        """Receive until `stop` is set. A call that fails is repeated after a pause that grows."""
        self._open_bot()
        failures = 0
        while not stop.is_set():
            try:
                with single_flight.hold_lease(self._context, LEASE):
                    self._poll(stop)
                failures = 0
            except single_flight.AlreadyRunning:
                stop.wait(OTHER_HOLDER_SECONDS)
            except BotError as error:
                self._report(_describe(error))
                pause = min(FIRST_PAUSE_SECONDS * 2**failures, LONGEST_PAUSE_SECONDS)
                failures = min(failures + 1, 10)
                stop.wait(max(pause, error.retry_after or 0.0))

    def _poll(self, stop: Event) -> None:
        """Wait for the next updates and handle them. Raises `BotError`."""
        handler = self._open_handler()
        with reading(self._context.engine) as session:
            first = telegram_log.get_next_update(session, self._client.bot_id)
        parameters = {"offset": first, "timeout": POLL_SECONDS, "allowed_updates": UPDATE_KINDS}
        updates: list[dict[str, Any]] = self._client.call("getUpdates", parameters, poll_seconds=POLL_SECONDS)
        self._report("")
        for update in updates:
            if not stop.is_set():
                handler.handle(update)

    def _open_bot(self) -> None:
        with writing(self._context.engine) as session:
            telegram_log.open_bot(session, self._client.bot_id)

    def _open_handler(self) -> UpdateHandler:
        """Build the handler at first use, for which the bot's name is asked."""
        if self._handler is None:
            name = str(self._client.call("getMe", {}).get("username") or "")
            with writing(self._context.engine) as session:
                telegram_log.record_name(session, self._client.bot_id, name)
            self._handler = UpdateHandler(self._context, self._outbox, self._client.bot_id, name, self._log)
        return self._handler

    def _report(self, problem: str) -> None:
        """Log and record a problem, or its end, when it changes."""
        with reading(self._context.engine) as session:
            if telegram_log.has_problem(session, self._client.bot_id, problem):
                return
        self._log(problem or "The updates of the Telegram bot are received again.")
        with writing(self._context.engine) as session:
            telegram_log.record_problem(session, self._client.bot_id, problem)


def _describe(error: BotError) -> str:
    return OTHER_POLLER if error.code == CONFLICT and error.says("terminated by other") else str(error)
