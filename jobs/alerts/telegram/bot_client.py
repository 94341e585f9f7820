"""The Bot API of Telegram: one call is one request. The token is part of its URL, so no error may show more than the method."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from redaction import Redaction
from workers.host.fetcher import FetchedResponse, FetchError, FetchPolicy, fetch

CALL_SECONDS = 20.0
MAX_RESPONSE_BYTES = 4 << 20
MAX_DESCRIPTION_BYTES = 300
TOKEN_PATTERN = re.compile(r"([1-9][0-9]{4,19}):[A-Za-z0-9_-]{20,80}")
PUBLIC_HOST = "api.telegram.org"
MAX_RETRY_SECONDS = 24 * 3600
"""Longest wait that is believed: the bot would receive nothing meanwhile."""
NO_ANSWER = 0
"""The code of an error without an answer of the server."""

Parameters = Mapping[str, Any]


class BotError(Exception):
    """A call that failed, with the code and the words of Telegram.

    `retry_after` is the seconds that it asks to wait, `new_chat_id` the id of the supergroup that a group has become.
    """

    def __init__(
        self, code: int, description: str, retry_after: float | None = None, new_chat_id: int | None = None
    ) -> None:
        super().__init__(f"Telegram answered {code}: {description}" if code else description)
        self.code = code
        self.description = description
        self.retry_after = retry_after
        self.new_chat_id = new_chat_id

    def says(self, *texts: str) -> bool:
        """Return whether the description has one of these texts, as most errors share a code."""
        return any(text in self.description.lower() for text in texts)


class BotClient:
    """A bot by its token. `send_request` is `fetch`."""

    def __init__(self, token: str, api_url: str, send_request: Callable[..., FetchedResponse] = fetch) -> None:
        match = TOKEN_PATTERN.fullmatch(token)
        if match is None:
            raise ValueError("The bot token is not one of BotFather, such as 123456:ABC-DEF. Save it again.")
        self.bot_id = int(match[1])
        self._url = f"{api_url.rstrip('/')}/bot{token}/"
        self._redaction = Redaction((token, token.partition(":")[2]))
        self._policy = _build_policy(api_url)
        self._send_request = send_request

    def call(self, method: str, parameters: Parameters, *, poll_seconds: float = 0.0) -> Any:
        """Call a method and return its result. Raises `BotError`."""
        policy = replace(self._policy, seconds=CALL_SECONDS + poll_seconds)
        body = json.dumps(parameters).encode()
        headers = {"Content-Type": "application/json"}
        try:
            response = self._send_request(self._url + method, method="POST", body=body, headers=headers, policy=policy)
        except FetchError as error:
            raise self._build_error(NO_ANSWER, str(error)) from None
        return self._read_result(response)

    def _read_result(self, response: FetchedResponse) -> Any:
        try:
            data = json.loads(response.body)
        except ValueError:
            data = None
        if not isinstance(data, dict):
            raise self._build_error(response.status, "it is no answer of the Bot API.")
        if data.get("ok") is True:
            return data.get("result")
        details = data.get("parameters")
        details = details if isinstance(details, dict) else {}
        code = data.get("error_code")
        raise self._build_error(
            code if isinstance(code, int) else response.status,
            str(data.get("description") or "no reason"),
            _read_wait(details.get("retry_after")),
            _read_number(details.get("migrate_to_chat_id")),
        )

    def _build_error(
        self, code: int, description: str, retry_after: int | None = None, new_chat_id: int | None = None
    ) -> BotError:
        text = self._redaction.clean_text(description, MAX_DESCRIPTION_BYTES)
        return BotError(code, text, retry_after, new_chat_id)


def _read_number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


def _read_wait(value: Any) -> int | None:
    number = _read_number(value)
    return None if number is None else max(0, min(number, MAX_RETRY_SECONDS))


def _build_policy(api_url: str) -> FetchPolicy:
    """Build the policy of a server. A server of the operator's own may be on a private address and without TLS."""
    url = urlsplit(api_url)
    if url.hostname == PUBLIC_HOST:
        return FetchPolicy(hosts=(PUBLIC_HOST,), seconds=CALL_SECONDS, max_bytes=MAX_RESPONSE_BYTES)
    return FetchPolicy(
        private_hosts=(url.netloc,), schemes=(url.scheme,), seconds=CALL_SECONDS, max_bytes=MAX_RESPONSE_BYTES
    )
