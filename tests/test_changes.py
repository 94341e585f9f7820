"""Recorded changes: a patch in `tests/changes/` for each usual extension, which says how many places that takes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import migrations

pytestmark = pytest.mark.xdist_group("changes")

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ROOT / "tests" / "changes"
PATCHES = {patch.stem: patch for patch in CHANGES.glob("*.patch")}
MAX_FILES = {"field": 4, "gate": 1, "event": 2, "move": 4, "page": 5, "task": 2}
"""Files that a change may touch; those of a program are counted in their own way."""
NOT_COPIED = shutil.ignore_patterns(".*", "tests", "pictures", "bench", "soak", "node_modules", "build")


def run_git(folder: Path, *arguments: str, patch: str) -> str:
    """Run git outside of any repository with a patch as its input."""
    command = ["git", *arguments, "-"]
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(folder.parent)}
    return subprocess.check_output(command, cwd=folder, env=environment, input=patch, text=True)


def read_patch(change: str) -> str:
    """Read a patch, with its migration after the newest one."""
    text = PATCHES[change].read_text("utf-8")
    return re.sub(r'(?<=down_revision = )"\d+"', f'"{migrations.find_newest()}"', text)


def count_lines(change: str) -> dict[str, tuple[int, int]]:
    """Count the lines that a patch adds and removes, by file."""
    rows = run_git(ROOT, "apply", "--numstat", patch=read_patch(change)).splitlines()
    return {path: (int(added), int(removals)) for added, removals, path in map(str.split, rows)}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The results of using every change, all of them applied to one copy of the tree."""
    folder = tmp_path_factory.mktemp("changes")
    copy, home = folder / "copy", folder / "home"
    home.mkdir()
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    for change in sorted(PATCHES):
        run_git(copy, "apply", patch=read_patch(change))
    environment = {"PATH": "/none", "PYTHONPATH": str(copy), "MC_HOME": str(home)}
    command = [sys.executable, str(CHANGES / "use_changes.py")]
    output = subprocess.check_output(command, cwd=copy, env=environment, text=True)
    parsed: dict[str, Any] = json.loads(output)
    return parsed | {"docs": (copy / "docs" / "lifecycle.md").read_text("utf-8")}


def test_every_recorded_change_is_named_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    assert set(re.findall(r"`(\w+)\.patch`", text)) == set(PATCHES) == {*MAX_FILES, "program"}


@pytest.mark.parametrize("change", MAX_FILES)
def test_a_change_touches_few_files(change: str) -> None:
    assert len(count_lines(change)) <= MAX_FILES[change]


def test_a_new_agent_program_is_one_folder_and_one_line() -> None:
    counts = count_lines("program")
    assert {path: lines for path, lines in counts.items() if (ROOT / path).exists()} == {"protocol.py": (1, 0)}
    assert {Path(path).parent.as_posix() for path in counts.keys() - {"protocol.py"}} == {"workers/agents/echo"}


def test_a_new_field_appears_wherever_a_ticket_is_shown_or_written(results: dict[str, Any]) -> None:
    places = results["field"]
    assert (places["created"]["reference"], places["edited"]["reference"]) == ("X-1", None)
    assert list(places["created"])[9:11] == ["project", "reference"]
    assert "<dt>Reference</dt>" in places["side panel"] and ">X-1</span>" in places["side panel"]
    assert 'name="reference"' in places["edit form"] and 'value="X-1"' in places["edit form"]
    assert 'name="reference"' in places["form of a new ticket"]
    assert "--reference TEXT" in places["command line"]
    assert "edited reference of" in places["activity"]


def test_a_new_gate_holds_a_ticket_and_is_listed_with_the_others(results: dict[str, Any]) -> None:
    places = results["gate"]
    gate = {"name": "draft", "ok": False, "detail": "Its title marks it as a draft."}
    assert gate in places["of a draft"]["gates"]
    assert {"name": "draft", "ok": True, "detail": "It is no draft."} in places["of another"]["gates"]
    assert "Its title marks it as a draft." in places["side panel"]


def test_a_new_move_is_offered_made_told_and_documented(results: dict[str, Any]) -> None:
    places = results["move"]
    assert 'href="/ticket/MC-3/move/defer"' in places["ticket"]
    assert 'name="owner"' in places["form"] and '<option value="remove"' in places["form"]
    assert (places["moved"]["status"], places["moved"]["assigned_to"]) == ("inbox", None)
    assert "defer: todo → inbox" in places["activity"]
    assert results["docs"] == places["reference"]


def test_a_new_event_is_told_in_its_sentence(results: dict[str, Any]) -> None:
    assert "issued a log-in link for operator" in results["event"]["activity"]


def test_a_new_page_is_served_with_its_navigation_entry_and_style(results: dict[str, Any]) -> None:
    page = results["page"]["page"]
    assert re.search(r'href="/store" title="Store"[^>]* aria-current="page"', page)
    assert "<dt>tickets</dt><dd>3</dd>" in page
    assert ".store-rows {" in results["page"]["style"]


def test_a_new_agent_program_is_probed_configured_and_started(results: dict[str, Any]) -> None:
    assert results["program"] == {
        "profile": "echo",
        "binary": "/opt/echo",
        "adapter": "EchoAgent",
        "advice": "Install Echo, or work with another agent.",
        "has log-in": True,
    }


def test_a_new_task_is_scheduled_run_and_recorded(results: dict[str, Any]) -> None:
    task = results["task"]
    assert (task["problems"], task["program"], task["exit code"]) == ([], "queue_reaper.py", 0)
    assert (task["summary"]["todo"], task["summary"]["inbox"]) == (2, 1)
    assert 'formaction="/tasks/count-tickets/run"' in task["page"]
