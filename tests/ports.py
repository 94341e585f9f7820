"""Free ports for servers that are configured with a port before they open it.

The ports are below the kernel's ephemeral range (/proc/sys/net/ipv4/ip_local_port_range), in which any port may be taken
by a client between the check and the use. Each test process starts at a different port.
"""

from __future__ import annotations

import os
import socket
from itertools import count

from workers.host import loopback

FIRST, LAST = 12_000, 32_000
_numbers = count(os.getpid() * 97)


def free_port() -> int:
    """Return a loopback port that nobody listens on, at either address, and that no other test gets."""
    return next(port for port in (FIRST + number % (LAST - FIRST) for number in _numbers) if _is_free(port))


def _is_free(port: int) -> bool:
    for host in loopback.list_listen_hosts(["127.0.0.1"]):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True
