"""Trusting a run's own hooks, where Codex does not play along."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.workers.runs import build_spec
from workers.agents.codex import trust
from workers.host import processes

HANGS_UP = """#!/bin/sh
read line
exec <&-
echo '{"id": 1, "result": {}}'
"""
"""Takes one request, closes its end of the pipe, and only then answers: what is written next cannot arrive."""


@pytest.mark.parametrize("then", ["exit 3", "exec sleep 300"])
def test_a_codex_that_hangs_up_leaves_its_hooks_untrusted_and_nothing_behind(tmp_path: Path, then: str) -> None:
    binary = tmp_path / "codex"
    binary.write_text(HANGS_UP + then + "\n")
    binary.chmod(0o755)
    (tmp_path / "workspace").mkdir()
    spec = build_spec(tmp_path, program="codex", binary=str(binary))
    trust.trust_hooks(spec, ())
    assert processes.find_by_marker(spec.marker) == []
