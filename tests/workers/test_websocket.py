"""WebSocket's frames: whatever way the stream is cut, the same messages come out."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.server import unix_serve

from workers.host.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    BrokenSocket,
    Frame,
    FrameReader,
    MessageReader,
    encode_frame,
    mask_payload,
    perform_handshake,
)

PAYLOADS = st.one_of(
    st.binary(max_size=200), st.sampled_from([125, 126, 127, 65535, 65536, 70001]).map(lambda size: b"x" * size)
)
CONTROL = st.builds(Frame, st.sampled_from([PING, PONG, CLOSE]), st.binary(max_size=125))
MESSAGE = st.builds(Frame, st.sampled_from([TEXT, BINARY]), PAYLOADS)


def encode_plain(frame: Frame) -> bytes:
    """A frame as a server sends it: not masked."""
    size = len(frame.payload)
    head = bytes([frame.opcode | (0x80 if frame.final else 0)])
    if size <= 125:
        return head + bytes([size]) + frame.payload
    wide, mark = (2, 126) if size < 1 << 16 else (8, 127)
    return head + bytes([mark]) + size.to_bytes(wide, "big") + frame.payload


def split_stream(stream: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:end] for start, end in pairwise(edges)]


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_a_masked_payload_is_the_original_under_the_same_mask(payload: bytes, key: bytes) -> None:
    expected = bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))
    assert mask_payload(payload, key) == expected and mask_payload(expected, key) == payload


@given(st.lists(st.one_of(MESSAGE, CONTROL), max_size=6), st.lists(st.integers(0, 10**6), max_size=12), st.booleans())
def test_frames_survive_every_cut_and_merge(frames: list[Frame], places: list[int], masked: bool) -> None:
    stream = b"".join(map(encode_frame if masked else encode_plain, frames))
    reader = FrameReader()
    assert [frame for chunk in split_stream(stream, places) for frame in reader.feed(chunk)] == frames


@given(st.lists(PAYLOADS, min_size=1, max_size=5), st.lists(CONTROL, max_size=4), st.lists(st.integers(0, 10**6)))
def test_a_message_in_pieces_is_joined_though_control_frames_come_between(
    pieces: list[bytes], control_frames: list[Frame], places: list[int]
) -> None:
    last = len(pieces) - 1
    frames = [Frame(CONTINUATION if at else TEXT, piece, at == last) for at, piece in enumerate(pieces)]
    stream = encode_plain(frames[0]) + b"".join(map(encode_plain, [*control_frames, *frames[1:]]))
    whole = Frame(TEXT, b"".join(pieces))
    expected = [whole, *control_frames] if last == 0 else [*control_frames, whole]
    reader = MessageReader()
    assert [frame for chunk in split_stream(stream, places) for frame in reader.feed(chunk)] == expected


@pytest.mark.parametrize(
    "stream",
    [
        encode_plain(Frame(CONTINUATION, b"of nothing")),
        encode_plain(Frame(TEXT, b"begun", final=False)) + encode_plain(Frame(TEXT, b"begun again")),
        encode_plain(Frame(PING, b"x" * 126)),
        encode_plain(Frame(PING, b"", final=False)),
        b"\xc1\x00",
        b"\x83\x00",
        b"\x81\x7f" + b"\xff" * 8,
    ],
    ids=["no message", "two messages", "long ping", "cut ping", "reserved bit", "unknown kind", "endless"],
)
def test_what_breaks_the_protocol_is_refused(stream: bytes) -> None:
    with pytest.raises(BrokenSocket):
        list(MessageReader().feed(stream))


@given(st.binary(max_size=400))
def test_garbage_is_read_or_refused_and_nothing_else(stream: bytes) -> None:
    with suppress(BrokenSocket):
        list(MessageReader().feed(stream))


def test_another_implementation_understands_us_and_we_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    place = str(tmp_path_factory.mktemp("ws") / "s")
    large = "ä" * 100_000

    def echo(peer: object) -> None:
        for message in peer:  # type: ignore[attr-defined]
            peer.send([message[:5], message[5:]])  # type: ignore[attr-defined]

    with unix_serve(echo, place, compression=None) as server, socket.socket(socket.AF_UNIX) as stream:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        stream.connect(place)
        reader, remainder = MessageReader(), perform_handshake(stream)
        stream.sendall(encode_frame(Frame(TEXT, large.encode())) + encode_frame(Frame(PING, b"there?")))
        received_frames = list(reader.feed(remainder))
        stream.settimeout(10)
        while len(received_frames) < 2:
            received_frames += reader.feed(stream.recv(65536))
        server.shutdown()
    assert sorted(received_frames, key=lambda frame: frame.opcode) == [
        Frame(TEXT, large.encode()),
        Frame(PONG, b"there?"),
    ]


def test_a_server_that_speaks_something_else_is_refused() -> None:
    client_end, server_end = socket.socketpair()
    with client_end, server_end:
        server_end.sendall(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: nonsense\r\n\r\n")
        with pytest.raises(BrokenSocket, match="refused"):
            perform_handshake(client_end)
