"""`bin/setup` on a machine that lacks a program, with an apt-get that only notes what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
APT_GET = """#!/bin/sh
for argument; do case $argument in update|tmux) echo "$argument" >>"$APT_LOG" ;; esac; done
[ "$argument" = update ]
"""
DAY_SECONDS = 86_400

pytestmark = pytest.mark.skipif(shutil.which("apt-config") is None, reason="apt is Debian's")


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """The environment of a machine with git and apt, but without tmux; its package lists lie in `lists`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("apt-config", "bash", "dirname", "env", "find", "flock", "git", "readlink"):
        (programs / name).symlink_to(str(shutil.which(name)))
    for name, text in {"apt-get": APT_GET, "id": "#!/bin/sh\necho 0\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "lists/partial").mkdir(parents=True)
    (tmp_path / "apt.conf").write_text(f'Dir::State::lists "{tmp_path}/lists";\n')
    return {
        "PATH": str(programs),
        "APT_CONFIG": str(tmp_path / "apt.conf"),
        "APT_LOG": str(tmp_path / "asked"),
    }


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0.9, ["tmux", "update", "tmux"]), (1.1, ["update", "tmux"])],
    ids=["fresh package lists", "old package lists"],
)
def test_old_package_lists_are_fetched_anew_before_anything_is_installed(
    machine: dict[str, str], tmp_path: Path, days: float, expected: list[str]
) -> None:
    """Regression: a new machine was given the browser that its package lists named, however old they were."""
    fetched = time.time() - days * DAY_SECONDS
    os.utime(tmp_path / "lists/partial", (fetched, fetched))

    ended = subprocess.run([ROOT / "bin/setup", "run"], env=machine, capture_output=True, text=True, timeout=60)

    assert "tmux is missing and could not be installed: sudo apt-get install tmux" in ended.stderr
    assert (tmp_path / "asked").read_text().split() == expected
    assert ended.returncode == 1
