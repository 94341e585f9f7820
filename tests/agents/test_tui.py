"""Claude Code's and Codex's own screens in tmux, under the wrapper, against the loopback model server."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.agents.programs import TOOL, both, claude
from tests.agents.screens import ScreenRun
from tests.model_server import ModelServer
from tests.workers import scripted
from tests.workers.fake_api import FakeApi, serving
from workers import processes, transcripts
from workers.spec import RunSpec

pytestmark = pytest.mark.agents

Show = Callable[..., ScreenRun]


@pytest.fixture
def board() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def show(spec: Callable[..., RunSpec], folder: Path, board: FakeApi) -> Iterator[Show]:
    """Starts runs on a screen and leaves nothing of them."""
    shown: list[ScreenRun] = []

    def begin(program: str, prompt: str, **changes: Any) -> ScreenRun:
        shown.append(ScreenRun(spec(program, **changes), folder, board, prompt))
        return shown[-1]

    yield begin
    for run in shown:
        run.clear()


@both
def test_a_ticket_is_completed_on_the_programs_own_screen(program: str, show: Show, folder: Path) -> None:
    run = show(
        program,
        "[[think: Where to begin?]][[text: I will write it.]][[bash: echo hello > out.txt; echo written]]"
        f'[[tool: {TOOL[program]}mc_report_done {{"summary":"Wrote out.txt"}}]][[say: That is all.]]',
    )
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("done", "Wrote out.txt"), run.screen
    assert (folder / "workspace/out.txt").read_text() == "hello\n"
    assert [each["source"] for each in run.events("input")] == ["prompt"]
    assert [each["text"] for each in run.events("thinking")] == ["Where to begin?"]
    assert [each["text"] for each in run.events("text")] == ["I will write it.", "That is all."]
    assert [each["name"] for each in run.events("tool_call")][1] == "mcp__mc-coord__mc_report_done"
    assert run.events("tool_result")[0]["output"].strip() == "written"
    assert (report["usage"]["input_tokens"], report["usage"]["output_tokens"]) == (300, 60)
    assert [each["ok"] for each in run.events("result")] == [True]
    assert run.events("raw") == []
    run.gone()


@both
def test_a_message_is_typed_once_into_an_idle_screen_and_confirmed_by_the_program(
    program: str, show: Show, model: ModelServer
) -> None:
    run = show(program, "[[say: What now?]]", mcp_command=None)
    body = "!Look here:\n\n" + "\n".join(f"{number} of many words; for {program}" for number in range(80))
    run.event("result", ok=True)
    uuid = run.say(f"{body}\n[[say: DONE: As told.]]")
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("done", "As told."), run.screen
    assert [each["state"] for each in run.events("receipt", uuid=uuid)] == ["queued", "delivered", "accepted"]
    assert [each["uuid"] for each in run.events("input", source="message")] == [uuid]
    bodies = [request.body for request in model.requests if "As told" in str(request.body)]
    asked = str(bodies[-1].get("messages") or bodies[-1].get("input"))
    assert asked.count("79 of many words") == 1
    assert "<pasted_content" not in asked


@both
@pytest.mark.parametrize("allowed", [True, False])
def test_a_person_decides_through_the_hook_and_nothing_is_typed_into_the_dialog(
    program: str, allowed: bool, show: Show, folder: Path
) -> None:
    target = folder / "workspace/asked.txt"
    run = show(program, f"[[{writing(program, target)}]][[say: DONE: Asked.]]", mcp_command=None, permissions="ask")
    approval = run.event("approval")
    assert f"echo yes > {target}" in approval["title"]
    uuid = run.say("[[say: DONE: Not into the dialog.]]")
    run.event("receipt", uuid=uuid, state="delivered")
    run.event("state", state="waiting")
    assert not target.exists()
    answer = {"request": approval["request"], "behavior": "allow" if allowed else "deny", "message": "Not today."}
    run.order(answers=[answer])
    run.event("receipt", uuid=uuid, state="accepted")
    assert run.report()["summary"] == "Not into the dialog.", run.screen
    assert target.exists() is allowed


@claude
def test_a_question_on_the_screen_is_answered_from_the_ticket(program: str, show: Show) -> None:
    question = (
        '{"questions":[{"question":"Which?","header":"Pick","multiSelect":false,'
        '"options":[{"label":"A","description":"first"},{"label":"B","description":"second"}]}]}'
    )
    run = show(program, f"[[tool: AskUserQuestion {question}]][[say: DONE: Thanks.]]", mcp_command=None)
    asked = run.event("question")
    run.order(answers=[{"request": asked["request"], "behavior": "allow", "answers": {"Which?": "B"}}])
    assert '"Which?"="B"' in run.event("tool_result")["output"]
    assert run.report()["verdict"] == "done"


@both
def test_an_interrupted_turn_waits_for_what_the_person_has_to_say(program: str, show: Show, model: ModelServer) -> None:
    before = len(model.requests)
    run = show(program, "[[hang: 60]]", mcp_command=None)
    run.until(lambda: any(request.step == "hang" for request in model.requests[before:]))
    run.event("state", state="running")
    run.order(interrupt={"uuid": "5b0e2c55-0f0e-4a57-9d3e-3f6a5a1b7c11"})
    assert run.event("result")["stop_reason"] == "interrupted"
    uuid = run.say("[[say: DONE: Back again.]]")
    run.event("receipt", uuid=uuid, state="accepted")
    assert run.report()["summary"] == "Back again.", run.screen


@both
def test_a_stopped_screen_leaves_nothing_not_even_what_hid_from_its_run(program: str, show: Show, folder: Path) -> None:
    place = folder / "workspace/hidden.pid"
    (folder / "workspace/hide.py").write_text(scripted.HIDE)
    run = show(
        program,
        f"[[bash: {sys.executable} hide.py {place}]][[hang: 60]]",
        mcp_command=None,
        permissions="bypass",
    )
    run.until(place.exists, what="the hidden process")
    hidden = processes.identify(int(place.read_text()))
    assert hidden
    assert hidden not in processes.carrying(run.spec.marker), "it was meant to hide"
    run.order(stop={"reason": "Parked by a person.", "code": "parked", "grace_seconds": 6})
    run.gone([hidden])
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("stopped", "Parked by a person.")


@both
def test_a_killed_screen_is_reported_and_leaves_nothing(program: str, show: Show, model: ModelServer) -> None:
    before = len(model.requests)
    run = show(program, "[[hang: 60]]", mcp_command=None)
    run.until(lambda: any(request.step == "hang" for request in model.requests[before:]))
    os.kill(run.pid, signal.SIGKILL)
    report = run.report()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "killed"), run.screen
    run.gone()


@both
def test_a_conversation_goes_on_on_the_screen_and_is_told_once(program: str, show: Show, model: ModelServer) -> None:
    first = show(program, "[[say: DONE: Remember the word heron.]]", mcp_command=None)
    known = first.report()["conversation_id"]
    first.gone()
    again = show(
        program, "[[say: DONE: Still here.]]", mcp_command=None, resume=True, conversation_id=known, generation=2
    )
    report = again.report()
    assert (report["summary"], report["conversation_id"]) == ("Still here.", known), again.screen
    assert [each["text"] for each in again.events("text")][-1] == "DONE: Still here."
    assert any("heron" in str(each.body) and "Still here." in str(each.body) for each in model.requests)


@both
def test_a_fork_tells_on_the_screen_only_what_is_said_in_it(
    program: str, show: Show, folder: Path, model: ModelServer
) -> None:
    first = show(program, "[[bash: echo heron]][[say: DONE: Remember the word heron.]]", mcp_command=None)
    known = first.report()["conversation_id"]
    first.gone()
    assert transcripts.copy(program, folder / "config", known, folder / "copied")
    mine = {"config_dir": str(folder / "copied"), "forks": known, "conversation_id": str(uuid4()), "generation": 2}
    fork = show(program, "[[say: DONE: Forked.]]", mcp_command=None, **mine)
    report = fork.report()
    assert report["summary"] == "Forked." and report["conversation_id"] not in ("", known), fork.screen
    assert [each["text"] for each in fork.events("text")] == ["DONE: Forked."], fork.screen
    assert fork.events("tool_call") == [] and report["usage"]["input_tokens"] == 100
    assert any("heron" in str(each.body) and "Forked." in str(each.body) for each in model.requests)


@both
def test_the_wrapper_of_a_screen_stays_small(program: str, show: Show) -> None:
    run = show(program, "[[say: What now?]]", mcp_command=None)
    run.event("result", ok=True)
    status = Path(f"/proc/{run.wrapper}/status").read_text()
    resident = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
    assert resident < 25 * 1024, f"{resident} kB"


def writing(program: str, target: Path) -> str:
    """A step that writes a file and needs permission for it."""
    command = f"echo yes > {target}"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "a test"}
    return f"tool: exec_command {json.dumps(escalated)}" if program == "codex" else f"bash: {command}"


@both
def test_the_first_prompt_waits_for_a_coordination_server_that_starts_slowly(
    program: str, show: Show, spec: Callable[..., RunSpec]
) -> None:
    made = spec(program)
    assert made.mcp_command is not None
    slowly = ("/bin/sh", "-c", 'sleep 3; exec "$0" "$@"', *made.mcp_command)
    said = f'[[tool: {TOOL[program]}mc_report_done {{"summary":"At once"}}]][[say: Over.]]'
    run = show(program, said, mcp_command=slowly)
    assert run.report()["summary"] == "At once", run.screen


@claude
def test_who_has_taken_over_is_left_alone_until_a_verdict(program: str, show: Show) -> None:
    first = show(program, "[[say: DONE: For now.]]", mcp_command=None)
    known = first.report()["conversation_id"]
    first.gone()
    mine = {"resume": True, "conversation_id": known, "generation": 2, "attended": True}
    run = show(program, "[[say: This prompt is not for the screen.]]", **mine)
    run.event("state", state="idle")
    run.type("[[say: DONE: Only thinking aloud.]]")
    run.event("result", ok=True)
    run.type(f'[[tool: {TOOL[program]}mc_report_review {{"summary":"Together"}}]][[say: Over.]]')
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("review", "Together"), run.screen
    assert len(run.events("input")) == 2


@both
def test_leaving_a_screen_that_was_taken_over_is_no_failure_of_the_agent(program: str, show: Show) -> None:
    first = show(program, "[[say: QUESTION: What now?]]", mcp_command=None)
    known = first.report()["conversation_id"]
    first.gone()
    mine = {"resume": True, "conversation_id": known, "generation": 2, "attended": True}
    run = show(program, "[[say: Never.]]", mcp_command=None, **mine)
    run.event("state", state="idle")
    run.leave()
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("stopped", "The person has left the agent's screen."), run.screen
    assert run.events("input") == []


SILENT = """#!/bin/sh
[ "$1" = app-server ] && exit 1
cat > typed.txt
"""


@both
def test_nothing_is_typed_into_a_screen_whose_state_is_unknown(program: str, show: Show, folder: Path) -> None:
    binary = folder / "silent"
    binary.write_text(SILENT)
    binary.chmod(0o755)
    run = show(program, "Begin.", mcp_command=None, binary=str(binary))
    typed = folder / "workspace/typed.txt"
    run.until(typed.exists)
    uuid = run.say("Are you there?")
    run.event("state", state="unknown")
    failed = run.event("receipt", uuid=uuid, state="failed")
    assert failed["detail"].startswith("[failed_to_inject]")
    assert typed.read_text() == ""
    run.order(messages=[], stop={"reason": "Enough.", "code": "parked", "grace_seconds": 2})
    run.gone()
    assert run.report()["verdict"] == "stopped"
