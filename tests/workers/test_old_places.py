"""A run of the version before may still start its programs at their old places, in the middle of an upgrade."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from workers.host import isolated_python

ROOT = Path(__file__).resolve().parents[2]
MODULES = {
    "workers.wrapper": "workers.run.wrapper",
    "workers.script_agent": "workers.agents.script.script_agent",
    "workers.codex_bridge": "workers.agents.codex.bridge",
    "workers.tui.keeper": "workers.agents.tui.screen_process",
    "workers.tui.driver": "workers.agents.tui.driver",
}


def start(argv: list[str], content: str = "") -> tuple[int, str, str]:
    """Exit code, output and last error of a program that has nothing to work on, without its name."""
    ended = subprocess.run(argv, cwd=ROOT, input=content, capture_output=True, text=True, timeout=60)
    last_line = ended.stderr.strip().rpartition("\n")[2]
    return ended.returncode, ended.stdout, last_line.rpartition(" error: ")[2]


@pytest.mark.parametrize("old", MODULES)
def test_a_program_at_its_old_place_does_what_it_does_at_the_new_one(old: str, tmp_path: Path) -> None:
    arguments = ["false", str(tmp_path / "socket")] if "codex" in old else [str(tmp_path)]
    at_old, at_new = (start(isolated_python.build_argv(module, *arguments)) for module in (old, MODULES[old]))
    assert at_old == at_new
    assert "No module named" not in at_old[2] and "can't open file" not in at_old[2]


def test_the_hook_of_a_living_screen_is_still_written_down(tmp_path: Path) -> None:
    hook = ROOT / "workers" / "tui" / "hook.py"
    code, _, problem = start([sys.executable, "-I", "-S", str(hook), str(tmp_path)], '{"hook_event_name": "Stop"}')
    assert (code, problem) == (0, "")
    assert '"hook_event_name": "Stop"' in (tmp_path / "hooks.jsonl").read_text()
