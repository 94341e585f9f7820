"""A WebSocket client (RFC 6455) over a connected stream, with just what one local conversation needs.

No extensions are offered, so every frame's reserved bits are zero. A protocol error raises `BrokenSocket`;
after that the connection is unusable.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
MAX_BYTES = 256 * 1024 * 1024
"""The maximum size of a frame or message. A larger one is a protocol error."""
_CONTROL, _FINAL, _MASKED, _RESERVED = 0x8, 0x80, 0x80, 0x70
_SMALL, _SHORT, _LONG, _CONTROL_BYTES = 125, 126, 127, 125
_KEY_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_HEADERS_BYTES = 16384


class BrokenSocket(Exception):
    """The peer violated the protocol or has closed the connection."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame, with its payload unmasked."""

    opcode: int
    payload: bytes
    final: bool = True


def encode_frame(frame: Frame) -> bytes:
    """Encode a frame as a client sends it: masked, with a new key each time."""
    size = len(frame.payload)
    head = bytes([frame.opcode | (_FINAL if frame.final else 0)])
    if size <= _SMALL:
        head += bytes([_MASKED | size])
    elif size < 1 << 16:
        head += bytes([_MASKED | _SHORT]) + size.to_bytes(2, "big")
    else:
        head += bytes([_MASKED | _LONG]) + size.to_bytes(8, "big")
    key = os.urandom(4)
    return head + key + mask_payload(frame.payload, key)


def mask_payload(payload: bytes, key: bytes) -> bytes:
    """Mask a payload with a key of four bytes. The same call unmasks it."""
    size = len(payload)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")).to_bytes(size, "big")


class FrameReader:
    """Assembles the chunks of a stream into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now. Raises `BrokenSocket`."""
        self._rest += chunk
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        rest = self._rest
        if len(rest) < 2:
            return None
        wide = {_SHORT: 2, _LONG: 8}.get(rest[1] & 0x7F, 0)
        body = 2 + wide + (4 if rest[1] & _MASKED else 0)
        if len(rest) < body:
            return None
        size = int.from_bytes(rest[2 : 2 + wide], "big") if wide else rest[1] & 0x7F
        _check_header(rest[0], size)
        if len(rest) < body + size:
            return None
        payload, key = bytes(rest[body : body + size]), bytes(rest[body - 4 : body])
        frame = Frame(
            rest[0] & 0xF, mask_payload(payload, key) if rest[1] & _MASKED else payload, bool(rest[0] & _FINAL)
        )
        del rest[: body + size]
        return frame


def _check_header(first: int, size: int) -> None:
    """Raise `BrokenSocket` for an invalid frame header."""
    opcode, final = first & 0xF, first & _FINAL
    if first & _RESERVED or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise BrokenSocket(f"not a frame: {first:#04x}")
    if size > (_CONTROL_BYTES if opcode & _CONTROL else MAX_BYTES) or (opcode & _CONTROL and not final):
        raise BrokenSocket(f"a frame of kind {opcode:#x} with {size} bytes")


class MessageReader:
    """Assembles frames into whole messages. Control frames may arrive between the fragments of one."""

    def __init__(self) -> None:
        self._frames = FrameReader()
        self._opcode = 0
        self._pieces: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield complete messages and control frames, in the order of their ends. Raises `BrokenSocket`."""
        for frame in self._frames.feed(chunk):
            if frame.opcode & _CONTROL:
                yield frame
            elif whole := self._join_pieces(frame):
                yield whole

    def _join_pieces(self, frame: Frame) -> Frame | None:
        if (frame.opcode == CONTINUATION) is not bool(self._opcode):
            raise BrokenSocket("a continuation without a message" if not self._opcode else "a message within a message")
        self._opcode = self._opcode or frame.opcode
        self._pieces.append(frame.payload)
        if sum(map(len, self._pieces)) > MAX_BYTES:
            raise BrokenSocket("a message that is too large")
        if not frame.final:
            return None
        whole = Frame(self._opcode, b"".join(self._pieces))
        self._opcode, self._pieces = 0, []
        return whole


def perform_handshake(stream: socket.socket) -> bytes:
    """Upgrade a connected stream to a WebSocket. Returns the bytes after the response. Raises `BrokenSocket`, OSError."""
    key = base64.b64encode(os.urandom(16))
    stream.sendall(
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: " + key + b"\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    response = b""
    while b"\r\n\r\n" not in response:
        chunk = stream.recv(4096)
        if not chunk or len(response) > _HEADERS_BYTES:
            raise BrokenSocket("no reply to the handshake")
        response += chunk
    head, _, rest = response.partition(b"\r\n\r\n")
    _check_handshake(head, key)
    return rest


def _check_handshake(head: bytes, key: bytes) -> None:
    status, *lines = head.split(b"\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
    digest = hashlib.sha1(key + _KEY_SUFFIX, usedforsecurity=False).digest()
    if status.split(b" ")[1:2] != [b"101"] or headers.get(b"sec-websocket-accept") != base64.b64encode(digest):
        raise BrokenSocket(f"the handshake was refused: {status[:100]!r}")
