"""The one way to an address outside: every request of Mission Control to another server is made by `fetch`.

A policy names the hosts. The name is resolved once, its addresses are judged, and the connection is made to one of these,
so that a second answer of the name server changes nothing. Each redirect is judged like the first address. Nothing is
taken from the environment: no proxy, cookie, netrc or token.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, cast
from urllib.parse import SplitResult, urljoin, urlsplit

OWN_HEADERS = {"User-Agent": "Mission-Control", "Accept-Encoding": "identity", "Connection": "close"}
DEFAULT_PORTS = {"https": 443, "http": 80}
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CHUNK_BYTES = 64 * 1024
HARMLESS_HEADERS = frozenset({"accept", "accept-language", "content-type"})
"""Headers that are sent to another server than the first one, since any other may carry a secret."""
_URL_CHARACTERS = re.compile(r"[!-\[\]-~]+")
"""Printable ASCII without the backslash, which browsers and libraries read in different ways."""
_PORT_OF_PATTERN = re.compile(r"(?P<host>.+?)(?::(?P<port>\d{1,5}|\*))?")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses that are assigned to networks of the internet. Others may hold an IPv4 address of any network."""

Address = tuple[str, int]
Headers = Mapping[str, str]


class FetchRule(StrEnum):
    """The rule by which a request was refused or ended."""

    URL = "url"
    SCHEME = "scheme"
    HOST = "host"
    ADDRESS = "address"
    REDIRECT = "redirect"
    TLS = "tls"
    SIZE = "size"
    ENCODING = "encoding"
    TIME = "time"
    CONNECTION = "connection"


class FetchError(Exception):
    """A request that was refused or failed. `rule` says by which rule, the text what to do; it never shows a secret."""

    def __init__(self, rule: FetchRule, message: str) -> None:
        super().__init__(message)
        self.rule = rule

    @property
    def is_temporary(self) -> bool:
        """Return whether the same request may succeed later, with nothing changed here."""
        return self.rule in (FetchRule.TIME, FetchRule.CONNECTION)


@dataclass(frozen=True, slots=True)
class FetchPolicy:
    """The limits of a request.

    `hosts` are names, such as `example.com` or `*.example.com` (any name below it), of which every address must be
    public; those in `private_hosts` may have private or loopback addresses. Without a port (`127.0.0.1:8080`,
    `localhost:*`) a pattern allows the scheme's own port. `seconds` is the limit of the whole request with name
    resolution and redirects; for a long poll it is longer than the poll. `shows_path`: the path holds no secret, so
    errors may show it.
    """

    hosts: tuple[str, ...] = ()
    private_hosts: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ("https",)
    seconds: float = 10
    max_bytes: int = 1024 * 1024
    max_redirects: int = 0
    shows_path: bool = False


@dataclass(frozen=True, slots=True)
class FetchedResponse:
    """A response with any status. The names of `headers` are in lower case, `url` is the last one after redirects."""

    status: int
    headers: Headers
    body: bytes = field(repr=False)
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Request:
    """One hop: a judged URL and what is sent to it."""

    url: SplitResult
    method: str
    body: bytes
    headers: Headers

    @property
    def address(self) -> Address:
        return self.url.hostname or "", self.url.port or DEFAULT_PORTS[self.url.scheme]

    @property
    def target(self) -> str:
        return (self.url.path or "/") + (f"?{self.url.query}" if self.url.query else "")


def fetch(
    url: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Headers = MappingProxyType({}),
    policy: FetchPolicy,
) -> FetchedResponse:
    """Make one request within the limits of a policy and follow its redirects. Raises `FetchError`."""
    deadline = time.monotonic() + policy.seconds
    request = _Request(_judge_url(url, policy), method, body, headers)
    for redirects_left in reversed(range(policy.max_redirects + 1)):
        response = _exchange(request, policy, deadline)
        location = response.headers.get("location")
        if response.status not in REDIRECTS or location is None:
            return response
        if redirects_left:
            request = _follow(request, response.status, location, policy)
    place, limit = describe_url(request.url, policy), f"only {policy.max_redirects} redirects are followed"
    raise FetchError(FetchRule.REDIRECT, f"{place} redirects, but {limit}. Use the last address itself.")


def check_url(url: str, policy: FetchPolicy) -> None:
    """Check a URL before it is stored. Raises the `FetchError` that `fetch` would raise for it without a connection."""
    _judge_url(url, policy)


def describe_url(url: SplitResult, policy: FetchPolicy) -> str:
    """Describe a URL without what may be secret: login, query, fragment, and the path unless the policy shows it."""
    port = f":{url.port}" if url.port else ""
    path = url.path if policy.shows_path or url.path in ("", "/") else "/…"
    return f"{url.scheme}://{_bracket_host(url)}{port}{path}"


# ------------------------------------------------------------------------------------------------------------- judging


def _judge_url(url: str, policy: FetchPolicy, base: str = "") -> SplitResult:
    """Return the parts of a URL, which may be relative to `base`, that the policy allows. Raises `FetchError`."""
    place = _split_url(url, base)
    if place.scheme not in policy.schemes:
        allowed = " or ".join(policy.schemes)
        raise FetchError(
            FetchRule.SCHEME, f"An address must begin with {allowed}://, not {place.scheme or '(nothing)'}."
        )
    if not place.hostname:
        raise FetchError(FetchRule.URL, "An address must name a host, such as https://example.com/path.")
    if place.username is not None or place.password is not None:
        raise FetchError(FetchRule.URL, "An address may hold no user name or password. Take it out of the address.")
    if not _matches(place, (*policy.hosts, *policy.private_hosts)):
        name = _bracket_host(place) + (f":{place.port}" if place.port else "")
        raise FetchError(FetchRule.HOST, f"The host {name} is not allowed. Add {name} to the allowed hosts to use it.")
    return place


def _split_url(url: str, base: str) -> SplitResult:
    problem = FetchError(
        FetchRule.URL, "An address must be a URL of ASCII characters such as https://example.com/path; encode others."
    )
    if not _URL_CHARACTERS.fullmatch(url):
        raise problem
    try:
        place = urlsplit(urljoin(base, url))
        _ = place.port  # ValueError for one that is no number
    except ValueError:
        raise problem from None
    return place


def _bracket_host(place: SplitResult) -> str:
    host = place.hostname or ""
    return f"[{host}]" if ":" in host else host


def _matches(place: SplitResult, patterns: Sequence[str]) -> bool:
    """Return whether host and port of a URL are among the patterns."""
    return any(_matches_pattern(place, pattern) for pattern in patterns)


def _matches_pattern(place: SplitResult, pattern: str) -> bool:
    match = _PORT_OF_PATTERN.fullmatch(pattern.lower())
    if match is None:
        return False
    default, host = DEFAULT_PORTS.get(place.scheme), _bracket_host(place)
    if match["port"] != "*" and (place.port or default) != (int(match["port"]) if match["port"] else default):
        return False
    suffix = match["host"].removeprefix("*")
    return host.endswith(suffix) if suffix.startswith(".") else host == match["host"]


def _follow(request: _Request, status: int, location: str, policy: FetchPolicy) -> _Request:
    """Judge a redirect and build its request. Another server gets neither body nor secret headers."""
    place = _judge_url(location, policy, base=request.url.geturl())
    if (request.url.scheme, place.scheme) == ("https", "http"):
        raise FetchError(FetchRule.REDIRECT, "The server redirects from https to http. Ask for an https address there.")
    becomes_get = status == 303 or (status in (301, 302) and request.method == "POST")
    if becomes_get:
        request = replace(request, method="HEAD" if request.method == "HEAD" else "GET", body=b"")
    if (place.scheme, place.netloc) == (request.url.scheme, request.url.netloc):
        return replace(request, url=place)
    if request.body:
        raise FetchError(
            FetchRule.REDIRECT,
            f"The server redirects a request with content to {_bracket_host(place)}. Send it there in the first place.",
        )
    harmless = {name: value for name, value in request.headers.items() if name.lower() in HARMLESS_HEADERS}
    return replace(request, url=place, headers=harmless)


# ---------------------------------------------------------------------------------------------------------- connecting


def _resolve(request: _Request, is_private: bool, deadline: float) -> list[Address]:
    """Resolve a host once and judge every address of it. The resolver knows no time limit, so it has its own thread."""
    host, port = request.address
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(OSError(str(error)))

    threading.Thread(target=look_up, daemon=True, name="resolve").start()
    try:
        answer = answers.get(timeout=_measure_remainder(deadline))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise FetchError(
            FetchRule.CONNECTION, f"The name {host} has no address. Check its spelling, or try again later."
        )
    addresses = list(dict.fromkeys((entry[4][0], port) for entry in answer))
    if not is_private and not all(is_public(address) for address, _ in addresses):
        raise FetchError(
            FetchRule.ADDRESS,
            f"The host {host} has a private or loopback address, and is allowed with public ones alone. Add it to the"
            " allowed hosts by its exact name, if it may be used.",
        )
    return addresses


def is_public(text: str) -> bool:
    """Return whether an IP address, also one within an IPv6 address, is reachable by everybody."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        inner = inner or (ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in _NAT64 else None)
        if inner is not None:
            return is_public(str(inner))
        if address not in _GLOBAL_UNICAST:
            return False
    return address.is_global and not address.is_multicast


class _DeadlineStream(io.RawIOBase):
    """A socket as `http.client` uses it, of which each step gets the time that is left of the whole request."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._socket, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(_measure_remainder(self._deadline))
        return self._socket.recv_into(buffer)

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._socket.settimeout(_measure_remainder(self._deadline))
            rest = rest[self._socket.send(rest) :]

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def close(self) -> None:
        """Leave the socket open, whose response may still be read: `_exchange` closes it."""


def _measure_remainder(deadline: float) -> float:
    """Return the seconds until a deadline. TimeoutError when it is over."""
    remainder = deadline - time.monotonic()
    if remainder <= 0:
        raise TimeoutError
    return remainder


def _connect(request: _Request, policy: FetchPolicy, deadline: float) -> socket.socket:
    """Connect to the first judged address that answers, with TLS for https."""
    addresses = _resolve(request, _matches(request.url, policy.private_hosts), deadline)
    for place, address in enumerate(addresses, start=1):
        share = _measure_remainder(deadline) / (len(addresses) - place + 1)
        try:
            connection = socket.create_connection(address, share)
            break
        except OSError:
            if place == len(addresses):
                raise
    if request.url.scheme == "http":
        return connection
    try:
        connection.settimeout(_measure_remainder(deadline))
        return ssl.create_default_context().wrap_socket(connection, server_hostname=request.url.hostname)
    except BaseException:
        connection.close()
        raise


# ------------------------------------------------------------------------------------------------------------ exchange


def _exchange(request: _Request, policy: FetchPolicy, deadline: float) -> FetchedResponse:
    """Send a request and read its response. Errors show no more of the URL than the policy allows."""
    place = describe_url(request.url, policy)
    try:
        with _connect(request, policy, deadline) as connection:
            return _read_response(request, _send(request, _DeadlineStream(connection, deadline)), policy)
    except ssl.SSLCertVerificationError as error:
        message = f"The certificate of {place} is not valid ({error.verify_message}). It must be renewed there."
        raise FetchError(FetchRule.TLS, message) from None
    except TimeoutError:
        message = f"{place} did not answer within {policy.seconds:g} seconds. Try again later, or allow it more time."
        raise FetchError(FetchRule.TIME, message) from None
    except (OSError, http.client.HTTPException) as error:
        problem = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
        message = f"{place} gave no readable response ({problem}). Check that the server runs, or try again later."
        raise FetchError(FetchRule.CONNECTION, message) from None


def _send(request: _Request, stream: _DeadlineStream) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection(*request.address)
    connection.sock = cast(socket.socket, stream)
    headers = {**request.headers, **OWN_HEADERS, "Host": request.url.netloc}
    connection.request(request.method, request.target, request.body or None, headers)
    return connection.getresponse()


def _read_response(request: _Request, response: http.client.HTTPResponse, policy: FetchPolicy) -> FetchedResponse:
    headers: dict[str, str] = {}
    for name, value in response.getheaders():
        headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
    if response.status in REDIRECTS and "location" in headers:
        return FetchedResponse(response.status, headers, b"", request.url.geturl())
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        message = f"The server sends its content as {encoding}, which was not asked for and is not decoded."
        raise FetchError(FetchRule.ENCODING, f"{message} Switch compression off for this address there.")
    return FetchedResponse(response.status, headers, _read_body(response, policy), request.url.geturl())


def _read_body(response: http.client.HTTPResponse, policy: FetchPolicy) -> bytes:
    """Read a whole body of at most `max_bytes`. Raises `IncompleteRead` when the connection ends before it."""
    body = bytearray()
    while chunk := response.read(CHUNK_BYTES):
        body += chunk
        if len(body) > policy.max_bytes:
            limit = f"{policy.max_bytes:,} bytes"
            raise FetchError(FetchRule.SIZE, f"The content is larger than {limit}. Use an address with less content.")
    if response.length:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)
