"""Shared fixtures: a migrated database with a team for each test, SQLite copied from a template or PostgreSQL."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine

import migrations
from database import open_engine, writing
from tickets.team import agents

from . import leftovers
from .postgres import fresh_database

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def _leftovers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """End the processes that killed test runs left behind, and mark those that this run starts."""
    folder = tmp_path_factory.getbasetemp()
    root = folder.parent.parent if folder.name.startswith("popen-") else folder.parent
    leftovers.sweep(root, "pytest-*", "pytest-*/popen-*")
    leftovers.own(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(leftovers.VARIABLE, str(folder))
        yield


@pytest.fixture(scope="session", autouse=True)
def _git_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give git a configuration that is not that of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(Path(__file__).with_name("gitconfig")))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, seeded SQLite file that each test copies."""
    home = tmp_path_factory.mktemp("template")
    url = f"sqlite:///{home / 'mc.db'}"
    migrations.upgrade_store(url, home)
    engine = open_engine(url)
    with writing(engine) as session:
        agents.seed_team(session, {"script": True, "claude": True, "codex": True})
    engine.dispose()
    return home / "mc.db"


DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests marked `both_databases` on PostgreSQL too: those that touch a difference between the databases."""
    if metafunc.definition.get_closest_marker("both_databases") and "url" in metafunc.fixturenames:
        metafunc.parametrize("url", DATABASES, indirect=True)


@pytest.fixture
def url(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Iterator[str]:
    """URL of the test's own database: SQLite, or that of the mark `both_databases`."""
    if getattr(request, "param", "sqlite") == "sqlite":
        shutil.copy(template, tmp_path / "mc.db")
        yield f"sqlite:///{tmp_path / 'mc.db'}"
    else:
        with fresh_database() as database_url:
            yield database_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    store = open_engine(url)
    yield store
    store.dispose()


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the home and the settings of the user who runs the tests."""
    for name in list(os.environ):
        if name.startswith(
            ("MC_", "SSE_", "WS_", "ANTHROPIC_", "CLAUDE_", "CODEX_", "OPENAI_")
        ) and not name.startswith("MC_TEST_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
