"""Fixtures with an installation for each module, without open work for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import model_server

from .agent_installation import AgentInstallation


@pytest.fixture(scope="module")
def shared_installation(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentInstallation]:
    """Installation with board, project and model server that a module's tests share."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    with model_server.start() as model:
        installation = AgentInstallation(template, tmp_path_factory.mktemp("office") / "home", model)
        yield installation
        installation.close()


@pytest.fixture
def installation(shared_installation: AgentInstallation) -> Iterator[AgentInstallation]:
    """Shared installation without open work of other tests."""
    yield shared_installation
    shared_installation.clear()
