"""An installation for each test of the doors."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .house import House


@pytest.fixture
def house(template: Path, tmp_path: Path) -> Iterator[House]:
    """A closed house: its board is opened by those tests that need one."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    made = House(template, tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def open_house(house: House) -> House:
    """A house whose board is served."""
    house.open_board()
    return house
