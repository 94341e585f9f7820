"""`mc mcp`: the board as an MCP server, over stdio or as streamable HTTP on loopback."""

from __future__ import annotations

import re
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from settings import load
from workers.run.api import ApiClient
from workers.run.board_tools import build_server

TIMEOUT_SECONDS = 30.0
MAX_BODY_BYTES = 1 << 20
MAX_CONNECTIONS = 16
BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
PATH = "/mcp"
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
SINGLE_HEADERS = ("Host", "Origin", "Authorization", "Content-Length")
AUTHORIZATION = re.compile(r"Bearer [!-~]{1,500}")
"""A token is sent on in the head of another request, so it may have no spaces or line ends."""
LENGTH = re.compile(r"[0-9]{1,12}")


@click.command(short_help="Serve the board to an agent (MCP).")
@click.option("--http", "port", type=click.IntRange(0, 65535), help="Serve HTTP on this port of 127.0.0.1 instead.")
@click.option(
    "--token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="MC_API_TOKEN_FILE",
    help="File with the token to use, for stdio.",
)
@click.option("--api", envvar="MC_API", help="Address of the board, by default this installation's.")
def mcp(port: int | None, token_file: Path | None, api: str | None) -> None:
    """Serve the board to an agent: tickets, search, comments, moves and the inbox.

    The rights are those of the token: `mc token create orchestrator --scope orchestrator`. Over HTTP each client sends
    its own, as `Authorization: Bearer`.
    """
    address = api or load().api_url
    if port is not None:
        serve_http(address, port)
        return
    if token_file is None:
        raise click.ClickException("Name the file of a token with --token-file or MC_API_TOKEN_FILE.")
    if token_file.stat().st_mode & 0o077:
        raise click.ClickException(f"{token_file} can be read by others. Run: chmod 600 {token_file}")
    client = ApiClient(address, token_file.read_text().strip(), TIMEOUT_SECONDS)
    build_server(client).serve(sys.stdin.buffer, sys.stdout.buffer)


def serve_http(api: str, port: int) -> None:
    """Serve until the process is stopped, and print the address. Port 0 takes any free one."""
    server = McpHttpServer(api, port)
    click.echo(f"http://127.0.0.1:{server.server_port}{PATH}")
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


class McpHttpServer(ThreadingHTTPServer):
    """Streamable HTTP without sessions: each message is answered with one JSON object.

    A connection has a thread, and at most `MAX_CONNECTIONS` are served at a time: any other is closed.
    """

    daemon_threads = True

    def __init__(self, api: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), McpRequestHandler)
        self.api = api
        self._places = threading.BoundedSemaphore(MAX_CONNECTIONS)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.sendall(BUSY)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    @property
    def own_hosts(self) -> set[str]:
        return {f"{name}:{self.server_port}" for name in LOOPBACK_NAMES}


class McpRequestHandler(BaseHTTPRequestHandler):
    """One request: refused unless it comes from this machine, names this server and carries a token."""

    server: McpHttpServer
    timeout = TIMEOUT_SECONDS

    def do_POST(self) -> None:
        refusal = self._find_refusal()
        if refusal:
            self._respond(*refusal)
            return
        token = self.headers["Authorization"].removeprefix("Bearer ")
        content = self.rfile.read(int(self.headers["Content-Length"]))
        answer = build_server(ApiClient(self.server.api, token, TIMEOUT_SECONDS)).answer(content)
        self._respond(202 if answer is None else 200, answer or b"")

    def do_GET(self) -> None:
        self._respond(405, b'{"error": "This server sends no messages of its own. Use POST."}')

    do_DELETE = do_GET

    def _find_refusal(self) -> tuple[int, bytes] | None:
        """Return status and body of a refusal. A page in a browser can neither name this host nor know a token."""
        if any(len(self.headers.get_all(name, ())) > 1 for name in SINGLE_HEADERS):
            return 400, b'{"error": "Send each header once."}'
        origin = self.headers.get("Origin")
        if self.headers.get("Host") not in self.server.own_hosts:
            return 403, b'{"error": "The Host is not this server."}'
        if origin and urlsplit(origin).netloc not in self.server.own_hosts:
            return 403, b'{"error": "The Origin is not this server."}'
        if urlsplit(self.path).path != PATH:
            return 404, b'{"error": "There is only /mcp."}'
        if not AUTHORIZATION.fullmatch(self.headers.get("Authorization", "")):
            return 401, b'{"error": "Send a token as Authorization: Bearer."}'
        length = self.headers.get("Content-Length", "")
        if not LENGTH.fullmatch(length):
            return 411, b'{"error": "Send a Content-Length."}'
        if int(length) > MAX_BODY_BYTES:
            return 413, b'{"error": "The message is larger than 1 MiB."}'
        return None

    def _respond(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        if status != 202:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: addresses and tokens of clients belong in no log."""


COMMANDS = (mcp,)
