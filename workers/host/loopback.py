"""The two loopback addresses: a browser tries both, so whoever holds the other one is sent the board's cookie."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

IPV4, IPV6 = "127.0.0.1", "::1"
IPV4_HOSTS = frozenset({IPV4, "localhost", "0.0.0.0"})  # noqa: S104 - compared, not bound
NO_IPV6 = (
    f"This machine has no IPv6 loopback, so the board listens on {IPV4} alone. Start the board again once there is"
    f" one: until then another program may listen on {IPV6}."
)


def has_ipv6() -> bool:
    """Return whether this machine has the loopback address `::1`."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((IPV6, 0))
    except OSError as error:
        return error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
    return True


def list_listen_hosts(hosts: Sequence[str]) -> list[str]:
    """List the addresses to listen on: those set, and the other loopback address with either of the two."""
    if "::" in hosts:  # takes connections to both
        return list(hosts)
    counterparts = [IPV6] if IPV4_HOSTS & {*hosts} and has_ipv6() else []
    counterparts += [IPV4] if IPV6 in hosts and not IPV4_HOSTS & {*hosts} else []
    return [*hosts, *(host for host in counterparts if host not in hosts)]
