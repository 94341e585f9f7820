from __future__ import annotations

import subprocess
from pathlib import Path

from sqlalchemy import select

from cli.common import open_store
from cli.demo import add_demo
from cli.setup import prepare_installation
from database import reading
from models import Ticket
from settings import Ambient, Settings


def demonstrated(tmp_path: Path) -> tuple[Settings, list[bool], list[str]]:
    settings = Settings(home=tmp_path / "home", ambient=Ambient(runtime_dir=tmp_path))
    prepare_installation(settings)
    with open_store(settings) as engine:
        added = [add_demo(settings, engine), add_demo(settings, engine)]
        with reading(engine) as session:
            return settings, added, [ticket.title for ticket in session.scalars(select(Ticket))]


def test_the_demo_is_added_once(tmp_path: Path) -> None:
    _, added, titles = demonstrated(tmp_path)

    assert added == [True, False]
    assert len(titles) == len(set(titles)) == 7


def test_the_demo_project_is_a_repository_whose_check_passes(tmp_path: Path) -> None:
    settings, _, _ = demonstrated(tmp_path)
    folder = settings.home / "demo"

    assert subprocess.run(["sh", "check.sh"], cwd=folder, capture_output=True, timeout=20).stdout == b"2 passed\n"
    log = subprocess.run(["git", "log", "--format=%s"], cwd=folder, capture_output=True, text=True, timeout=20)
    assert log.stdout == "Greet.\n"
