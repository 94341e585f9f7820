"""An office for each module, and a clean desk for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import model_server

from .office import Office


@pytest.fixture(scope="module")
def building(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """The board, the project and the model server that a module's tests share."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    with model_server.start() as model:
        made = Office(template, tmp_path_factory.mktemp("office") / "home", model)
        yield made
        made.close()


@pytest.fixture
def office(building: Office) -> Iterator[Office]:
    """The office without any open work of other tests."""
    yield building
    building.clear()
