"""Ports for servers that are told their port before they open it.

They lie below those that the kernel gives to clients (/proc/sys/net/ipv4/ip_local_port_range), any of which may be taken
between the look and the use, and each process of the tests begins in another place.
"""

from __future__ import annotations

import os
import socket
from itertools import count

FIRST, LAST = 12_000, 32_000
_numbers = count(os.getpid() * 97)


def free_port() -> int:
    """A port of the loopback that nobody listens on, and that is given to no other test."""
    while True:
        port = FIRST + next(_numbers) % (LAST - FIRST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
