"""Blocks of TCP ports for runs, none of which overlap on this machine.

A block is reserved by a file, named after its first port, that holds the name of its holder. A holder needs no process.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

FIRST_PORT, LAST_PORT = 20_000, 31_999
"""Below the ports that Linux gives to outgoing connections."""
BLOCK_SIZE = 20


class NoFreePorts(Exception):
    """Every block of ports is reserved or in use."""


def reserve_ports(folder: Path, holder: str, count: int, offset: int = 0) -> range:
    """Reserve `count` consecutive free ports. `offset` separates the instances on a machine. Raises `NoFreePorts`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for first in _list_blocks(offset):
        ports = range(first, first + count)
        if _are_free(ports) and _take(folder / str(first), holder):
            return ports
    raise NoFreePorts(f"no block of {count} ports is free between {FIRST_PORT} and {LAST_PORT}")


def release_ports(folder: Path, holder: str) -> None:
    """Release the block of a holder. Does nothing when it has none."""
    for file in _list_reservations(folder):
        if _read_holder(file) == holder:
            file.unlink(missing_ok=True)


def list_holders(folder: Path) -> set[str]:
    """List the holders of blocks."""
    return {holder for file in _list_reservations(folder) if (holder := _read_holder(file))}


def _list_reservations(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.name.isdigit()] if folder.is_dir() else []


def _list_blocks(offset: int) -> Iterator[int]:
    """List the first port of each block, beginning with the one at `offset`."""
    blocks = range(FIRST_PORT, LAST_PORT + 2 - BLOCK_SIZE, BLOCK_SIZE)
    start = offset % len(blocks)
    yield from (*blocks[start:], *blocks[:start])


def _take(file: Path, holder: str) -> bool:
    """Write the whole reservation, unless another process was first."""
    with tempfile.NamedTemporaryFile("w", dir=file.parent, encoding="utf-8") as draft:
        draft.write(holder)
        draft.flush()
        try:
            os.link(draft.name, file)
        except FileExistsError:
            return False
    return True


def _read_holder(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except OSError:
        return None


def _are_free(ports: range) -> bool:
    return all(_is_free(port) for port in ports)


def _is_free(port: int) -> bool:
    """Return True when nothing on this machine listens on the port, over IPv4 or IPv6."""
    return all(_can_bind(family, port) for family in (socket.AF_INET, socket.AF_INET6))


def _can_bind(family: socket.AddressFamily, port: int) -> bool:
    """Return True when the port can be bound, or the machine has no addresses of this family."""
    with suppress(OSError), socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True
