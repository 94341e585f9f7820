"""The push services that may be called: those of the setting `push_hosts`, by HTTPS and without redirects.

A loopback address with a port, such as `127.0.0.1:9000`, names a service of one's own, which may use plain HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from .fetcher import FetchPolicy, check_url

SECONDS = 15.0
MAX_RESPONSE_BYTES = 64 * 1024


def build_policy(endpoint: str, hosts: Sequence[str]) -> FetchPolicy:
    """Build the policy for an endpoint."""
    private_hosts = tuple(host for host in hosts if host.startswith(("127.", "localhost:", "[::1]")))
    public_hosts = tuple(host for host in hosts if host not in private_hosts)
    is_private = urlsplit(endpoint).netloc in private_hosts
    return FetchPolicy(
        hosts=() if is_private else public_hosts,
        private_hosts=private_hosts if is_private else (),
        schemes=("https", "http") if is_private else ("https",),
        seconds=SECONDS,
        max_bytes=MAX_RESPONSE_BYTES,
    )


def check_endpoint(endpoint: str, hosts: Sequence[str]) -> None:
    """Check the endpoint of a subscription. Raises `FetchError`."""
    check_url(endpoint, build_policy(endpoint, hosts))
