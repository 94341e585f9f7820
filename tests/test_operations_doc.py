"""The section of docs/operations.md about several hosts, followed on two homes as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import settings
from mc_cli import main

from .postgres import fresh_database

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "operations.md"


def read_section(title: str) -> str:
    [section] = [part for part in DOCUMENT.read_text("utf-8").split("\n## ") if part.startswith(title)]
    return section


def find_blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)


@pytest.mark.postgres
def test_two_homes_are_set_up_as_the_section_about_several_hosts_says(tmp_path: Path) -> None:
    section = read_section("Several hosts")
    [configuration] = find_blocks(section, "toml")
    commands = [
        line for block in find_blocks(section, "sh") for line in block.splitlines() if line.startswith("bin/mc ")
    ]
    assert len(commands) == 2
    with fresh_database() as url:
        for name in ("build-1", "build-2"):
            home = tmp_path / name
            home.mkdir(mode=0o700)
            text = re.sub('database_url = ".*"', f'database_url = "{url}"', configuration.replace("build-1", name))
            (home / "config.toml").write_text(text)
            environment = {"MC_HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path)}
            loaded_settings = settings.load(environment)
            assert (loaded_settings.machine_name, loaded_settings.database_url) == (name, url)
            results = [CliRunner().invoke(main, shlex.split(line)[1:], env=environment) for line in commands]
            upgraded, linked = (result.output for result in results)
            assert [result.exit_code for result in results] == [0, 0]
            assert "up to date" in upgraded and "/login/" in linked
