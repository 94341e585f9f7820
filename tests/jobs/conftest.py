"""Fixtures with an installation for each test of the jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .installation import Installation


@pytest.fixture
def installation(template: Path, tmp_path: Path) -> Iterator[Installation]:
    """Installation without a running board, which tests that need one start."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    installation = Installation(template, tmp_path / "home")
    yield installation
    installation.close()


@pytest.fixture
def served_installation(installation: Installation) -> Installation:
    """Installation whose board is served."""
    installation.open_board()
    return installation
