"""The board as an MCP server, used by the SDK's client over stdio and over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.types import TextContent

from cli.mcp import PATH, McpHttpServer
from database import writing
from models import Scope
from tests.waiting import wait_until
from tickets.operations import inbox_items, tokens
from tickets.operations.inbox_items import NewItem
from tickets.shared.actors import Actor

from .installation import ALICE, Installation

ROOT = Path(__file__).parents[2]
Call = tuple[str, dict[str, Any]]


@pytest.fixture
def token(served_installation: Installation) -> str:
    """A token of the orchestrator, on a board with one ticket and two inbox items."""
    served_installation.ticket("true")
    with writing(served_installation.engine) as session:
        for title in ("One", "Two"):
            inbox_items.file_item(session, NewItem(kind="finding", title=title, ticket="MC-1"), Actor.system())
        body = tokens.NewToken(name="coordinator", scope=Scope.ORCHESTRATOR, days=1)
        return tokens.issue_token(session, body, ALICE)[1]


@pytest.fixture
def http_server(served_installation: Installation) -> Iterator[McpHttpServer]:
    server = McpHttpServer(served_installation.settings.api_url, 0)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run_in_own_loop(work: Callable[[], Awaitable[list[tuple[bool, Any]]]]) -> list[tuple[bool, Any]]:
    """Run a coroutine in a thread, as the browser of an earlier test may have left a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(anyio.run, work).result()


async def call_tools(client: Client, calls: list[Call]) -> list[tuple[bool, Any]]:
    """Call the tools, and return whether each failed, and its JSON or text."""
    answers = []
    for name, arguments in calls:
        answer = await client.call_tool(name, arguments)
        text = "".join(part.text for part in answer.content if isinstance(part, TextContent))
        answers.append((bool(answer.is_error), json.loads(text) if text[:1] in "{[" else text))
    return answers


def test_the_inbox_is_worked_over_stdio(served_installation: Installation, token: str, tmp_path: Path) -> None:
    secret = tmp_path / "token"
    secret.write_text(token)
    secret.chmod(0o600)
    settings = served_installation.settings
    arguments = [str(ROOT / "mc_cli.py"), "mcp", "--token-file", str(secret), "--api", settings.api_url]
    server = StdioServerParameters(command=sys.executable, args=arguments, env={"MC_HOME": str(settings.home)})
    block = {"move": "block", "reason": "environment", "owner": "alice", "next_action": "Log in."}
    calls: list[Call] = [
        ("inbox_next", {}),
        ("inbox_act", {"item": 1, "type": "move", "move": "approve"}),
        ("inbox_act", {"item": 1, "type": "move", **block}),
        ("inbox_next", {}),
        ("inbox_act", {"item": 2, "type": "ticket", "new_ticket": {"title": "Log in again", "priority": "high"}}),
        ("inbox_next", {}),
        ("list_tickets", {"status": "todo"}),
        ("search", {"q": "Log"}),
        ("get_ticket", {"ticket": "MC-404"}),
    ]

    async def work() -> list[tuple[bool, Any]]:
        async with Client(server) as client:
            return await call_tools(client, calls)

    answers = run_in_own_loop(work)
    assert [failed for failed, _ in answers] == [False, True, False, False, False, False, False, False, True]
    assert (answers[0][1]["item"]["title"], answers[0][1]["ticket"]["identifier"]) == ("One", "MC-1")
    assert answers[1][1]["error"] == "illegal_move" and "block" in answers[1][1]["detail"]["moves"]
    assert answers[2][1]["state"] == "acted" and answers[4][1]["action"]["created"] == "MC-2"
    assert answers[5][1] == "The inbox is empty."
    assert [ticket["title"] for ticket in answers[6][1]["items"]] == ["Log in again"]
    assert answers[7][1]["items"] and answers[8][1]["status"] == 404
    assert served_installation.get(1).status == "blocked"


def test_clients_over_http_have_the_rights_of_their_own_token(token: str, http_server: McpHttpServer) -> None:
    address = f"http://127.0.0.1:{http_server.server_port}{PATH}"

    async def work() -> list[tuple[bool, Any]]:
        async with (
            create_mcp_http_client(headers={"Authorization": f"Bearer {token}"}) as http_client,
            Client(streamable_http_client(address, http_client=http_client)) as client,
        ):
            return await call_tools(client, [("comment", {"ticket": "MC-1", "body": "Seen."}), ("inbox_next", {})])

    answers = run_in_own_loop(work)
    assert [failed for failed, _ in answers] == [False, False]
    assert answers[1][1]["comments_newest_first"][0]["body"] == "Seen."

    message = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})
    own = {"Authorization": f"Bearer {token}"}
    for headers, status in (
        (own, 200),
        ({}, 401),
        (own | {"Host": f"evil.example:{http_server.server_port}"}, 403),
        (own | {"Origin": "https://evil.example"}, 403),
        (own | {"Origin": f"http://localhost:{http_server.server_port}"}, 200),
        (own | {"Content-Length": str(2 << 20)}, 413),
    ):
        connection = http.client.HTTPConnection("127.0.0.1", http_server.server_port, timeout=30)
        connection.request("POST", PATH, message, headers)
        assert connection.getresponse().status == status, headers
        connection.close()

    port, body = http_server.server_port, message.encode()
    head = f"Host: 127.0.0.1:{port}\r\nContent-Length: {len(body)}\r\nAuthorization: Bearer {token}"
    for lines, status in (
        (head, 200),
        (f"{head}\r\n X-Sent-On: yes", 401),
        (f"{head}\r\nHost: evil.example", 400),
        (f"{head}\r\nAuthorization: Bearer other", 400),
        (f"{head}\r\nContent-Length: 0", 400),
        (f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nContent-Length: {'9' * 5000}", 411),
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            raw.sendall(f"POST {PATH} HTTP/1.1\r\n{lines}\r\n\r\n".encode() + (body if status == 200 else b""))
            assert raw.makefile("rb").readline().split()[1:2] == [str(status).encode()], lines


def test_connections_over_http_are_limited(http_server: McpHttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_server, "_places", threading.BoundedSemaphore(1))
    place = ("127.0.0.1", http_server.server_port)
    with socket.create_connection(place, timeout=30), socket.create_connection(place, timeout=30) as surplus:
        assert surplus.makefile("rb").readline() == b"HTTP/1.0 503 Service Unavailable\r\n"

    def read_status() -> int:
        connection = http.client.HTTPConnection(*place, timeout=30)
        try:
            connection.request("GET", PATH)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()

    wait_until(lambda: read_status() == 405, description="the place of a connection that has ended")
