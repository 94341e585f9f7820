"""An installation for each test of the doors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .installation import Installation


@pytest.fixture
def installation(template: Path, tmp_path: Path) -> Iterator[Installation]:
    """A closed house: its board is opened by those tests that need one."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    installation = Installation(template, tmp_path / "home")
    yield installation
    installation.close()


@pytest.fixture
def served_installation(installation: Installation) -> Installation:
    """A house whose board is served."""
    installation.open_board()
    return installation
