"""A run is limited in memory where systemd allows it, and runs without a limit elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from workers.host import commands, memory_limit


@pytest.fixture(autouse=True)
def forget_the_probe() -> Iterator[None]:
    probe = memory_limit.is_available
    probe.cache_clear()
    yield
    probe.cache_clear()


def write_program(folder: Path, script: str) -> str:
    program = folder / "systemd-run"
    program.write_text(f"#!/bin/sh\necho probed >> {folder}/probes\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_a_machine_without_scopes_runs_without_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "PROGRAM", write_program(tmp_path, "echo 'Failed to connect to bus' >&2; exit 1"))
    assert memory_limit.build_prefix(12, "2G") == []
    assert memory_limit.build_prefix(13, "2G") == []
    assert (tmp_path / "probes").read_text().count("probed") == 1


def test_a_machine_without_systemd_runs_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "PROGRAM", "no-such-systemd-run")
    assert memory_limit.build_prefix(12, "2G") == []


def test_the_limit_stands_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    working = write_program(tmp_path, 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    monkeypatch.setattr(memory_limit, "PROGRAM", working)
    words = memory_limit.build_prefix(12, "1500M")
    assert words[:3] == ["env", f"XDG_RUNTIME_DIR=/run/user/{os.getuid()}", working]
    assert "--property=MemoryMax=1500M" in words
    assert commands.run([*words, "echo", "--started"], timeout=5).text == "--started\n"


def test_no_limit_needs_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_limit, "is_available", lambda: pytest.fail("probed"))
    assert memory_limit.build_prefix(12, None) == []


@pytest.mark.parametrize("amount", ["", "0", "-1", "2 G", "2G\n", "infinity --", "1.5G"])
def test_a_strange_amount_is_refused(monkeypatch: pytest.MonkeyPatch, amount: str) -> None:
    monkeypatch.setattr(memory_limit, "is_available", lambda: True)
    with pytest.raises(ValueError, match="Invalid amount of memory"):
        memory_limit.build_prefix(12, amount)
