"""Recorded changes: a patch in `tests/changes/` for each usual extension, which says how many places that takes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ROOT / "tests" / "changes"
PROGRAM_CHECK = """
import tempfile
from pathlib import Path
from settings import Settings
from tickets.team.profiles import NewProfile
from workers.agents import create_agent, credentials, probe

profile = NewProfile(name="parrot", program="echo", argv=["hello"])
settings = Settings(home=Path("home"), echo_binary="/opt/echo")
print(profile.program, settings.binary_of("echo"), type(create_agent("echo", argv=profile.argv)).__name__)
print(next(result.advice for result in probe.probe_programs(Path()) if result.name == "echo"))
print(credentials.link_credentials("echo", Path("home"), Path(tempfile.mkdtemp(dir=Path.cwd()))))
"""


def apply(change: str, tree: Path) -> dict[str, int]:
    """Apply a patch to a copy of the code in `tree`; how many lines it adds to each file that was there before."""
    patch = str(CHANGES / change)
    listed = subprocess.check_output(["git", "apply", "--numstat", patch], cwd=tree, text=True).splitlines()
    assert all(removed == "0" for _, removed, _ in map(str.split, listed)), f"{change} removes lines"
    before = {path: int(added) for added, _, path in map(str.split, listed) if (ROOT / path).exists()}
    subprocess.run(["git", "apply", patch], cwd=tree, check=True)
    return before


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the modules that know agent programs, outside of any repository."""
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    for file in ROOT.glob("*.py"):
        shutil.copy2(file, tmp_path)
    for package in ("tickets", "workers"):
        shutil.copytree(ROOT / package, tmp_path / package)
    return tmp_path


def test_a_new_agent_program_is_one_folder_and_one_line(tree: Path) -> None:
    folders = set((tree / "workers").rglob("*"))
    assert apply("program.patch", tree) == {"protocol.py": 1}
    new = set((tree / "workers").rglob("*")) - folders
    assert {path.relative_to(tree / "workers").parts[:2] for path in new} == {("agents", "echo")}

    login = tree / "home" / ".echo" / "key"
    login.parent.mkdir(parents=True)
    login.touch()
    printed = subprocess.check_output([sys.executable, "-c", PROGRAM_CHECK], cwd=tree, text=True, env={"PATH": "/none"})
    assert printed.splitlines() == ["echo /opt/echo EchoAgent", "Install Echo, or work with another agent.", "True"]
