"""What a client of a running server sees."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from itertools import islice

import pytest

from database import writing
from settings import load
from tests.waiting import wait_until
from tickets.operations import tokens
from tickets.shared import events
from web.site.request_worker import MAX_LINGERING, RequestWorker, TimedReader
from workers.host import loopback

from .client import Client
from .conftest import ALICE, Server

pytestmark = pytest.mark.xdist_group("test_served")

Serve = Callable[..., Server]


def read_texts(client: Client, count: int) -> list[str]:
    """The texts of the next `count` events; a resync shows by its name."""
    messages = islice(client.events(), count)
    return [str(m.json["payload"]["text"]) if m.event == "ticket_event" else str(m.event) for m in messages]


def wait_for_first_id(client: Client) -> Client:
    """The client once it was told where the log stands: what is appended from now on is news to it."""
    wait_until(lambda: next(client.messages()).id, description="the first id")
    return client


def count_open_streams(server: Server, bucket: str = "events") -> int:
    return int(json.loads(server.get("/counters"))[bucket]["open"])


def is_gone(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@pytest.mark.skipif(not loopback.has_ipv6(), reason="no IPv6 loopback on this machine")
def test_the_board_holds_its_port_at_both_loopback_addresses(server: Server) -> None:
    with socket.create_connection(("::1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /page HTTP/1.0\r\nHost: [::1]\r\n\r\n")
        assert b"200 OK" in connection.makefile("rb").readline()


def test_an_event_reaches_everyone_who_watches_and_says_what_it_is(server: Server) -> None:
    assert load({"MC_HOME": str(server.home)}).api_url == f"http://127.0.0.1:{server.port}"
    watching = [wait_for_first_id(server.client()) for _ in range(3)]

    number = server.append("hello")

    for client in watching:
        message = next(client.events())
        assert message.event == "ticket_event"
        assert message.id is not None and message.id.endswith(f"-{number}")
        assert (message.json["event_type"], message.json["payload"], message.json["actor"]) == (
            "note", {"text": "hello"}, "alice",
        )  # fmt: skip


def test_one_client_too_many_is_told_when_to_return_while_pages_still_answer(serve: Serve) -> None:
    server = serve(SSE_MAX_TOTAL_CLIENTS=3)
    clients = [wait_for_first_id(server.client()) for _ in range(3)]

    extra_client = server.client()

    assert (extra_client.status, extra_client.headers["Retry-After"], extra_client.body()) == (
        503,
        "30",
        b"retry: 30000\n\n",
    )
    assert server.answers()
    clients.pop().close()
    wait_until(lambda: count_open_streams(server) == 2, description="the place of the client that left")
    assert server.client().status == 200


def test_half_requests_hold_no_thread_longer_than_a_request_may_take(serve: Serve) -> None:
    """Regression: 80 of them, open for ever, stopped the board."""
    server = serve(MC_THREADS=24, MC_REQUEST_READ_SECONDS=1)
    halves = (
        b"GET / HTTP/1.1\r\nHost: loc",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\nx",
    )
    sockets = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for number, connection in enumerate(sockets):
        connection.sendall(halves[number % 2])

    assert server.answers()
    for connection in sockets:
        connection.settimeout(20)
        assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 401")
        connection.close()


def test_clients_that_do_not_close_their_connection_delay_nobody(serve: Serve) -> None:
    """Regression: gunicorn waited two seconds for each of them, in its main loop: 40 stopped the board for 36 seconds."""
    server = serve()
    with ExitStack() as stack:
        for _ in range(MAX_LINGERING + 6):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            connection.sendall(b"GET /page HTTP/1.0\r\nHost: localhost\r\n\r\n")

        wait_until(server.answers, timeout=60, description="a page for somebody else")


def test_an_ended_connection_reads_until_its_client_closes_it() -> None:
    worker = RequestWorker.__new__(RequestWorker)
    worker._lingering, worker.poller = {}, selectors.DefaultSelector()
    server_end, client_end = socket.socketpair()
    with server_end, client_end, worker.poller:
        worker._linger(server_end)
        assert client_end.recv(1) == b""
        client_end.sendall(b"the late rest of a body")
        worker._drain(server_end)
        worker._drain(server_end)
        assert worker._lingering
        client_end.close()
        worker._drain(server_end)
        worker._drain(server_end)  # an event from before its end
        assert (worker._lingering, server_end.fileno()) == ({}, -1)


def test_the_late_rest_of_a_body_is_no_request() -> None:
    server_end, client_end = socket.socketpair()
    with server_end, client_end:
        reader = TimedReader(server_end, 0.05)
        client_end.sendall(b"the beginning")
        assert (reader.recv(100), reader.recv(100)) == (b"the beginning", b"")
        client_end.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        reader.start_request()
        assert reader.recv(100) == b""


def test_a_client_that_leaves_before_the_first_byte_leaves_no_place_taken(server: Server) -> None:
    for _ in range(20):
        client = server.client()
        client.close()
    assert server.client("/api/v1/tickets/MC-404/stream").status == 404
    assert server.client(method="HEAD").body() == b""

    wait_until(lambda: count_open_streams(server) == 0, description="all places given back")


def test_a_client_that_returns_gets_what_it_missed_and_nothing_twice(server: Server) -> None:
    client = wait_for_first_id(server.client())
    server.append("one")
    assert read_texts(client, 1) == ["one"]
    client.close()
    server.append("two")
    server.append("three")

    client.open()
    again = server.client(f"/api/v1/stream?last_event_id={client.last_id}")

    assert read_texts(client, 2) == read_texts(again, 2) == ["two", "three"]
    server.append("four")
    assert read_texts(client, 1) == read_texts(again, 1) == ["four"]


def test_a_cursor_of_another_store_or_none_at_all_is_answered_by_resync(server: Server) -> None:
    client = wait_for_first_id(server.client())
    assert client.last_id is not None
    epoch = client.last_id.split("-")[0]

    cursors = ("00000000-1", "nonsense", "-", "5", f"{epoch}-99999999")
    lost = {cursor: server.client(last_id=cursor) for cursor in cursors}

    assert {cursor: read_texts(client, 1) for cursor, client in lost.items()} == {key: ["resync"] for key in cursors}
    server.append("and on")
    assert {cursor: read_texts(client, 1) for cursor, client in lost.items()} == {key: ["and on"] for key in cursors}


def test_five_hundred_missed_events_are_replayed_and_one_more_is_a_resync(server: Server) -> None:
    client = wait_for_first_id(server.client())
    client.close()
    with writing(server.engine) as session:
        for number in range(500):
            events.append(session, None, "note", {"text": str(number)}, ALICE)
    late = server.client(last_id=client.last_id)
    assert read_texts(late, 500) == [str(number) for number in range(500)]

    server.append("one too many")

    assert read_texts(client.open(), 1) == ["resync"]


def test_a_stream_carries_what_agents_report_only_for_the_tickets_named(server: Server) -> None:
    (mine, name), (other, _) = server.ticket(), server.ticket()
    everything = wait_for_first_id(server.client())
    detailed = wait_for_first_id(server.client(f"/api/v1/stream?tickets={name}"))
    single = wait_for_first_id(server.client(f"/api/v1/tickets/{name}/stream"))

    server.append("typed there", other, "agent.text")
    server.append("typed here", mine, "agent.text")
    server.append("moved there", other)
    server.append("moved here", mine)

    assert read_texts(everything, 2) == ["moved there", "moved here"]
    assert read_texts(detailed, 3) == ["typed here", "moved there", "moved here"]
    assert read_texts(single, 2) == ["typed here", "moved here"]


def test_a_server_killed_in_mid_stream_leaves_no_gap(serve: Serve) -> None:
    server = serve()
    client = wait_for_first_id(server.client())
    server.append("before")
    assert read_texts(client, 1) == ["before"]

    server.kill()
    server.append("while it was down")
    server.start()
    client.open()

    server.append("after")
    assert read_texts(client, 2) == ["while it was down", "after"]


def test_a_client_that_stops_reading_is_dropped_and_its_place_is_free(serve: Serve) -> None:
    server = serve(MC_TEST_STALL_SECONDS=2)
    stalled = wait_for_first_id(server.client(buffer_bytes=4096))

    append_large_events(server)

    wait_until(lambda: count_open_streams(server) == 0, timeout=30, description="the place of the stalled client")
    stalled.close()


def test_a_client_too_slow_for_its_queue_is_ended_and_resumes_without_a_gap(serve: Serve) -> None:
    server = serve()
    slow = wait_for_first_id(server.client(buffer_bytes=4096))
    appended = append_large_events(server)

    first = [message.json["payload"]["n"] for message in slow.events()]
    assert first and len(first) < appended, "a stream that fell behind ends, so that its client resumes"
    slow.open()

    rest = [message.json["payload"]["n"] for message in islice(slow.events(), appended - len(first))]
    assert first + rest == list(range(appended))


def append_large_events(server: Server, count: int = 150) -> int:
    """Append more than the kernel and the queue of one client hold; returns how many events that took."""
    for number in range(count):
        with writing(server.engine) as session:
            events.append(session, None, "note", {"n": number, "text": "x" * 100_000}, ALICE)
    return count


def test_a_worker_with_open_streams_is_replaced_in_five_seconds(serve: Serve) -> None:
    server = serve(MC_TEST_STALL_SECONDS=600)
    old = server.worker()
    watching = [wait_for_first_id(server.client()) for _ in range(4)]
    stalled = wait_for_first_id(server.client(buffer_bytes=4096))
    append_large_events(server, 60)

    server.signal(signal.SIGHUP)

    wait_until(lambda: is_gone(old), timeout=5, description="the end of the old worker")
    assert [client.body() != b"" for client in watching] == [True] * 4
    assert server.worker() != old
    assert server.client(last_id=watching[0].last_id).status == 200
    stalled.close()


def test_a_silent_stream_shows_signs_of_life_and_ends_after_its_lifetime(serve: Serve) -> None:
    server = serve(MC_SSE_HEARTBEAT_SECONDS=1, MC_SSE_LIFETIME_SECONDS=4)
    other, _ = server.ticket()
    client = wait_for_first_id(server.client())
    passed_over = server.append("of no interest", other, "agent.text")

    messages = list(client.messages())

    assert client.ended
    assert sum(message.comment == "still here" for message in messages) >= 2
    assert not [message for message in messages if message.event]
    assert client.last_id is not None and client.last_id.endswith(f"-{passed_over}")


def test_revoking_a_token_ends_its_streams(serve: Serve) -> None:
    server = serve(MC_TEST_RECHECK_SECONDS=1)
    client = wait_for_first_id(server.client())
    with writing(server.engine) as session:
        tokens.revoke_token(session, server.token_row.id, ALICE)

    list(client.messages())

    assert client.ended
    assert client.open().status == 401
