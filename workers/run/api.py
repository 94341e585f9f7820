"""A minimal HTTP client for the wrapper's few requests to the server, on plain sockets.

`http.client` would import `ssl` and the e-mail parser and double the wrapper's memory. HTTP/1.0 keeps this
small: one request per connection, and the response ends where the connection does.
"""

from __future__ import annotations

import json
import re
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

MAX_RESPONSE_BYTES = 4 * 1024 * 1024
MAX_HEAD_BYTES = 16 * 1024
_CONTENT_LENGTH = re.compile(rb"^content-length:\s*(\d{1,12})\s*$", re.IGNORECASE | re.MULTILINE)
JSON_TYPE = "application/json"
NDJSON_TYPE = "application/x-ndjson"
STALE_STATUSES = frozenset({401, 409})
"""Statuses of a server that no longer accepts this run's token. A retry is pointless."""


class Unreachable(Exception):
    """The server gave no readable response."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """An HTTP status and the decoded JSON object (empty when the body was none)."""

    status: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ApiClient:
    """A client of the server at `base` (such as `http://127.0.0.1:3001`), authenticated with a run's bearer token."""

    base: str
    token: str
    timeout: float = 10.0

    def post(self, path: str, body: bytes, kind: str = JSON_TYPE) -> ApiResponse:
        """POST `body` to `/api/v1` + `path`. Raises `Unreachable` after `timeout` seconds."""
        status, content = self._request(self._build_request("POST", path, body, kind), MAX_RESPONSE_BYTES)
        return ApiResponse(status, _parse_object(content))

    def get(self, path: str) -> ApiResponse:
        """GET the JSON object at `/api/v1` + `path`. Raises `Unreachable`."""
        status, content = self.download(path, MAX_RESPONSE_BYTES)
        return ApiResponse(status, _parse_object(content))

    def download(self, path: str, limit: int) -> tuple[int, bytes]:
        """GET status and content of a file of at most `limit` bytes. Raises `Unreachable`."""
        return self._request(self._build_request("GET", path, b"", JSON_TYPE), limit)

    def _request(self, request: bytes, limit: int) -> tuple[int, bytes]:
        try:
            return _parse_response(self._exchange(request, limit + MAX_HEAD_BYTES))
        except (OSError, ValueError) as error:
            raise Unreachable(f"{self.base}: {error}") from error

    def _build_request(self, method: str, path: str, body: bytes, kind: str) -> bytes:
        head = (
            f"{method} {urlsplit(self.base).path.rstrip('/')}/api/v1{path} HTTP/1.0",
            f"Host: {urlsplit(self.base).netloc}",
            f"Authorization: Bearer {self.token}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
            "Accept: application/json",
            "Connection: close",
        )
        return "\r\n".join((*head, "", "")).encode("latin-1") + body

    def _exchange(self, request: bytes, limit: int) -> bytes:
        """Send the request and return the bytes of the response. ValueError when there are more than `limit`."""
        deadline = time.monotonic() + self.timeout
        response = bytearray()
        with self._open_connection() as connection:
            connection.sendall(request)
            while len(response) <= limit:
                connection.settimeout(max(0.01, deadline - time.monotonic()))
                chunk = connection.recv(65536)
                if not chunk:
                    return bytes(response)
                response += chunk
        raise ValueError(f"the response is larger than {limit} bytes")

    def _open_connection(self) -> socket.socket:
        place = urlsplit(self.base)
        secure = place.scheme == "https"
        address = (place.hostname or "", place.port or (443 if secure else 80))
        connection = socket.create_connection(address, self.timeout)
        if not secure:
            return connection
        import ssl  # only needed for a server on another host, and costs several megabytes

        return ssl.create_default_context().wrap_socket(connection, server_hostname=address[0])


def _parse_response(response: bytes) -> tuple[int, bytes]:
    """Return status and content of a response. ValueError when it is not HTTP, or is incomplete."""
    head, separator, content = response.partition(b"\r\n\r\n")
    words = head.split(None, 2)
    if not separator or not words[0].startswith(b"HTTP/"):
        raise ValueError("the response is not HTTP, or is incomplete")
    length = _CONTENT_LENGTH.search(head)
    if length and len(content) < int(length[1]):
        raise ValueError("the response is incomplete")
    return int(words[1]), content


def _parse_object(content: bytes) -> dict[str, Any]:
    """Parse a JSON object, empty when the content is none."""
    try:
        data = json.loads(content)
    except ValueError:
        data = None
    return data if isinstance(data, dict) else {}
