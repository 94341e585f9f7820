"""Each run gets ports of its own."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from protocol import MAX_RUN_PORTS
from workers.host import loopback, ports


def test_blocks_do_not_overlap_and_avoid_ports_in_use(tmp_path: Path) -> None:
    assert ports.BLOCK_SIZE == MAX_RUN_PORTS
    blocks = [ports.reserve_ports(tmp_path / "ports", f"run-{number}", MAX_RUN_PORTS, 7) for number in range(3)]
    assert len({port for block in blocks for port in block}) == 3 * MAX_RUN_PORTS
    ports.release_ports(tmp_path / "ports", "run-1")
    assert ports.list_holders(tmp_path / "ports") == {"run-0", "run-2"}
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as listener:
            listener.bind((address, blocks[1][-1]))
            listener.listen()
            assert ports.reserve_ports(tmp_path / "ports", f"run-{address}", MAX_RUN_PORTS, 7)[0] not in {*blocks[1]}
    assert ports.reserve_ports(tmp_path / "ports", "run-4", 1, 7)[0] == blocks[1][0]


@pytest.mark.parametrize(
    ("hosts", "addresses"),
    [
        (["127.0.0.1"], ["127.0.0.1", "::1"]),
        (["localhost", "10.8.0.2"], ["localhost", "10.8.0.2", "::1"]),
        (["0.0.0.0"], ["0.0.0.0", "::1"]),
        (["::1"], ["::1", "127.0.0.1"]),
        (["::"], ["::"]),
        (["10.8.0.2"], ["10.8.0.2"]),
    ],
)
def test_either_loopback_address_brings_the_other(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], addresses: list[str]
) -> None:
    monkeypatch.setattr(loopback, "has_ipv6", lambda: True)
    assert loopback.list_listen_hosts(hosts) == addresses
    monkeypatch.setattr(loopback, "has_ipv6", lambda: False)
    assert "::1" in hosts or "::1" not in loopback.list_listen_hosts(hosts)


def test_a_machine_without_free_ports_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "LAST_PORT", ports.FIRST_PORT + ports.BLOCK_SIZE - 1)
    ports.reserve_ports(tmp_path, "run-1", 1)
    with pytest.raises(ports.NoFreePorts, match="no block of 1 ports"):
        ports.reserve_ports(tmp_path, "run-2", 1)
