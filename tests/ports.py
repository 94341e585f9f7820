"""Free ports for servers that are configured with a port before they open it.

The ports are below the kernel's ephemeral range (/proc/sys/net/ipv4/ip_local_port_range), in which any port may be taken
by a client between the check and the use. Each test process starts at a different port.
"""

from __future__ import annotations

import os
import socket
from itertools import count

FIRST, LAST = 12_000, 32_000
_numbers = count(os.getpid() * 97)


def free_port() -> int:
    """Return a loopback port that nobody listens on and that no other test gets."""
    while True:
        port = FIRST + next(_numbers) % (LAST - FIRST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
