"""Permission requests beside a screen's own dialog: withdrawn once the dialog is gone, never before it has come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.workers.runs import build_spec
from workers.agents.tui.hooks import Hook, Hooks
from workers.agents.tui.permissions import PermissionRequests
from workers.agents.tui.screen import ScreenState

Look = tuple[ScreenState, float]
"""A state of the screen, and for how many seconds it lasts."""


@pytest.mark.parametrize(
    ("looks", "is_turn_open", "left"),
    [
        ([("running", 60.0)], True, ["a", "b"]),
        ([("idle", 60.0)], True, ["a", "b"]),
        ([("unknown", 60.0)], False, ["a", "b"]),
        ([("idle", 0.9)], False, ["a", "b"]),
        ([("idle", 1.1)], False, []),
        ([("running", 60.0), ("waiting", 60.0)], True, ["a", "b"]),
        ([("waiting", 0.1), ("running", 0.9)], True, ["a", "b"]),
        ([("waiting", 0.1), ("running", 60.0)], True, ["b"]),
        ([("waiting", 0.1), ("running", 2.0), ("waiting", 0.1), ("running", 2.0)], True, []),
        ([("waiting", 0.1), ("unknown", 2.0), ("running", 0.5)], True, ["a", "b"]),
    ],
)
def test_a_request_is_withdrawn_when_its_dialog_was_there_and_is_gone(
    tmp_path: Path, looks: list[Look], is_turn_open: bool, left: list[str]
) -> None:
    """Regression: on a busy machine a dialog that came after a second was taken for answered."""
    requests = PermissionRequests(build_spec(tmp_path, permissions="ask"), Hooks(tmp_path), hides_dialog=False)
    for name in ("a", "b"):
        requests.take(Hook("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": name}}, name))
    start, withdrawn = 1000.0, []
    for state, seconds in looks:
        for moment in (start, start + seconds):
            withdrawn += [event.payload["request"] for event in requests.look(state, is_turn_open, moment)]
        start += seconds
    assert withdrawn == [name for name in ("a", "b") if name not in left]
    assert requests.asks is bool(left)
    assert [path.name for path in sorted((tmp_path / "answers").iterdir())] == [f"{name}.json" for name in withdrawn]


def test_the_dialog_of_the_next_request_comes_after_an_answer_from_the_ticket(tmp_path: Path) -> None:
    requests = PermissionRequests(build_spec(tmp_path, permissions="ask"), Hooks(tmp_path), hides_dialog=False)
    for name in ("a", "b"):
        requests.take(Hook("PermissionRequest", {"tool_name": "Bash", "tool_input": {"command": name}}, name))
    requests.look("waiting", True, 1.0)
    requests.answer({"request": "a", "behavior": "allow"})
    output = json.loads((tmp_path / "answers/a.json").read_text())["hookSpecificOutput"]
    assert output["decision"] == {"behavior": "allow"}, "the dialog would stay if the unchanged input came back"
    assert [requests.look("running", True, moment) for moment in (2.0, 60.0)] == [[], []]
