"""A WebSocket's client: whatever way the stream is cut, the same messages come out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import ServerConnection, unix_serve
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage

from workers.host import websocket
from workers.host.websocket import BrokenSocket, WebSocketClient


class Server:
    """The other end of a client's stream, played by the test."""

    def __init__(self) -> None:
        stream, self._stream = socket.socketpair()
        self.client = WebSocketClient(stream)
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._ends = (stream, self._stream)

    def accept(self, extra: bytes = b"") -> list[str]:
        """Shake hands with the client, with bytes that come with the reply; the messages that the client has got by then."""
        thread = threading.Thread(target=self._reply, args=(extra,))
        thread.start()
        messages = self.client.shake_hands()
        thread.join()
        return messages

    def _reply(self, extra: bytes) -> None:
        [request] = self.events()
        assert isinstance(request, Request)
        self.write(self.bytes_of(AcceptConnection()) + extra)

    def bytes_of(self, *events: Event) -> bytes:
        return b"".join(map(self._protocol.send, events))

    def write(self, data: bytes) -> None:
        self._stream.sendall(data)

    def events(self) -> list[Event]:
        """What the client has sent."""
        self._protocol.receive_data(self._stream.recv(65536))
        return list(self._protocol.events())

    def close_writing(self) -> None:
        self._stream.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        for end in self._ends:
            end.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


TEXTS = st.one_of(st.text(max_size=50), st.sampled_from([125, 126, 127, 65535, 65536]).map(lambda size: "x" * size))


@given(st.lists(st.lists(TEXTS, min_size=1, max_size=3), min_size=1, max_size=3), st.lists(st.integers(0, 10**6)))
def test_messages_survive_pieces_cuts_and_pings_in_between(messages: list[list[str]], places: list[int]) -> None:
    server = Server()
    server.accept()
    parts: list[Event] = [
        part
        for pieces in messages
        for at, piece in enumerate(pieces, 1)
        for part in (TextMessage(piece, message_finished=at == len(pieces)), Pong(b""))
    ]
    stream = server.bytes_of(*parts)
    edges = sorted({0, len(stream), *(place % len(stream) for place in places)})
    data: list[str] = []
    for start, end in pairwise(edges):
        for chunk in range(start, end, websocket.CHUNK_BYTES):
            server.write(stream[chunk : min(end, chunk + websocket.CHUNK_BYTES)])
            data += server.client.receive()
    server.close()
    assert data == ["".join(pieces) for pieces in messages]


def test_a_message_that_comes_with_the_reply_is_not_lost(server: Server) -> None:
    assert server.accept(extra=b"\x81\x02hi") == ["hi"]


def test_a_ping_and_a_close_are_answered(server: Server) -> None:
    server.accept()
    server.write(server.bytes_of(Ping(b"there?")))
    assert list(server.client.receive()) == [] and server.events() == [Pong(b"there?")]
    server.write(server.bytes_of(CloseConnection(1000)))
    with pytest.raises(BrokenSocket, match="closed"):
        list(server.client.receive())
    assert isinstance(server.events()[0], CloseConnection)
    with pytest.raises(BrokenSocket):
        server.client.send("too late")


BREACHES = {
    "no message": b"\x80\x01x",
    "two messages": b"\x01\x01x\x81\x01x",
    "long ping": b"\x89\x7e\x00\x7e" + b"x" * 126,
    "cut ping": b"\x09\x00",
    "reserved bit": b"\xc1\x00",
    "unknown kind": b"\x83\x00",
    "endless": b"\x81\x7f" + b"\xff" * 8,
    "masked": b"\x81\x81\0\0\0\0x",
    "not UTF-8": b"\x81\x01\xff",
    "gone": b"",
}


@pytest.mark.parametrize("stream", BREACHES.values(), ids=BREACHES)
def test_what_breaks_the_protocol_is_refused(server: Server, stream: bytes) -> None:
    server.accept()
    server.write(stream)
    if not stream:
        server.close_writing()
    with pytest.raises(BrokenSocket):
        list(server.client.receive())


def test_a_message_that_is_too_large_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE_CHARACTERS", 5)
    server.accept()
    server.write(server.bytes_of(TextMessage("12345"), TextMessage("123", message_finished=False), TextMessage("456")))
    messages = server.client.receive()
    assert next(messages) == "12345"
    with pytest.raises(BrokenSocket, match="more than 5"):
        next(messages)


@given(st.binary(min_size=1, max_size=400))
def test_garbage_is_read_or_refused_and_nothing_else(stream: bytes) -> None:
    server = Server()
    server.accept()
    server.write(stream)
    with suppress(BrokenSocket):
        list(server.client.receive())
    server.close()


def test_another_implementation_understands_us_and_we_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = str(tmp_path_factory.mktemp("ws") / "s")
    large = "ä" * 100_000

    def echo(peer: ServerConnection) -> None:
        for message in peer:
            peer.send([str(message)[:5], str(message)[5:]])

    with unix_serve(echo, place, compression=None) as server, socket.socket(socket.AF_UNIX) as stream:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stream.connect(place)
        stream.settimeout(10)
        client = WebSocketClient(stream)
        messages = client.shake_hands()
        client.send(large)
        while not messages:
            messages += client.receive()
        server.shutdown()
    assert messages == [large]


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: nonsense\r\n\r\n",
        b"HTTP/1.1 404 No\r\n\r\n",
        b"\0\r\n\r\n",
    ],
)
def test_a_server_that_speaks_something_else_is_refused(server: Server, reply: bytes) -> None:
    server.write(reply)
    with pytest.raises(BrokenSocket):
        server.client.shake_hands()
