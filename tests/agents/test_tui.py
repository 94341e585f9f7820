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

from tests.model_server import ModelServer
from tests.workers import scripted
from tests.workers.fake_api import FakeApi, serving
from workers.agents import transcripts
from workers.contract.spec import RunSpec
from workers.host import processes

from .programs import TOOL_PREFIX, both, claude, start_slowly
from .screens import ScreenRun

pytestmark = pytest.mark.agents

Show = Callable[..., ScreenRun]
Make = Callable[..., RunSpec]


@pytest.fixture
def board() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def show(spec: Callable[..., RunSpec], folder: Path, board: FakeApi) -> Iterator[Show]:
    """Starts runs on a screen and leaves nothing of them."""
    runs: list[ScreenRun] = []

    def begin(program: str, prompt: str, **changes: Any) -> ScreenRun:
        runs.append(ScreenRun(spec(program, **changes), folder, board, prompt))
        return runs[-1]

    yield begin
    for run in runs:
        run.clear()


@both
def test_a_conversation_is_completed_resumed_forked_and_taken_over(
    program: str, show: Show, spec: Make, folder: Path, model: ModelServer
) -> None:
    """One conversation on the program's own screen through all its runs; each step is its own function below."""
    conversation_id = complete(program, show, spec, folder)
    fork(program, show, conversation_id, folder, model)
    if program == "claude":
        take_over(program, show, conversation_id, model)
    leave(program, show, conversation_id)
    resume(program, show, conversation_id, model)


@claude
def test_a_plan_made_on_the_screen_is_approved_on_the_ticket(program: str, show: Show, folder: Path) -> None:
    steps = '[[bash: echo no > early.txt]][[tool: ExitPlanMode {"plan":"# Plan"}]][[bash: echo yes > late.txt]]'
    run = show(program, f"{steps}[[say: DONE: As planned.]]", mcp_command=None, plan=True)
    plan = run.event("plan")
    run.order(answers=[{"request": plan["request"], "behavior": "allow", "message": "# Edited"}])
    assert run.report()["summary"] == "As planned.", run.screen
    assert not (folder / "workspace/early.txt").exists()
    assert (folder / "workspace/late.txt").read_text() == "yes\n"
    assert any("# Edited" in entry["output"] for entry in run.events("tool_result")), run.screen


def complete(program: str, show: Show, spec: Make, folder: Path) -> str:
    """Complete a ticket, and return the name of its conversation; the first prompt waits for a slow coordination server."""
    command = spec(program).mcp_command
    assert command is not None
    run = show(
        program,
        "[[think: Where to begin?]][[text: Remember the heron.]][[bash: echo hello > out.txt; echo written]]"
        f'[[tool: {TOOL_PREFIX[program]}mc_report_done {{"summary":"Wrote out.txt"}}]][[say: That is all.]]',
        mcp_command=start_slowly(command),
    )
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("done", "Wrote out.txt"), run.screen
    assert (folder / "workspace/out.txt").read_text() == "hello\n"
    assert [entry["source"] for entry in run.events("input")] == ["prompt"]
    assert [entry["text"] for entry in run.events("thinking")] == ["Where to begin?"]
    assert [entry["text"] for entry in run.events("text")] == ["Remember the heron.", "That is all."]
    assert [entry["name"] for entry in run.events("tool_call")][1] == "mcp__mc-coord__mc_report_done"
    assert run.events("tool_result")[0]["output"].strip() == "written"
    assert (report["usage"]["input_tokens"], report["usage"]["output_tokens"]) == (300, 60)
    assert [entry["ok"] for entry in run.events("result")] == [True]
    assert run.events("raw") == []
    assert [entry["state"] for entry in run.events("coordination")] == ["ready"]
    run.wait_until_gone()
    return str(report["conversation_id"])


PLAN_STEPS = {"claude": "", "codex": '[[tool: update_plan {"plan":[{"step":"One","status":"in_progress"}]}]]'}


def resume(program: str, show: Show, conversation_id: str, model: ModelServer) -> None:
    """Go on with a conversation, type a long message into the idle screen, and kill the program in the next turn."""
    fields: dict[str, Any] = {"resume": True, "conversation_id": conversation_id, "generation": 2}
    run = show(program, f"{PLAN_STEPS[program]}[[say: Still here.]]", mcp_command=None, **fields)
    run.event("result", ok=True)
    lists = [[(item["text"], item["state"]) for item in entry["items"]] for entry in run.events("checklist")]
    assert lists == ([[("One", "in_progress")]] if PLAN_STEPS[program] else []), run.screen
    assert [entry["text"] for entry in run.events("text")] == ["Still here."], run.screen
    assert any("heron" in str(entry.body) and "Still here." in str(entry.body) for entry in model.requests)
    assert resident_memory(run.wrapper) < 25 * 1024

    body = "!Look here:\n\n" + "\n".join(f"{number} of many words; for {program}" for number in range(80))
    uuid = run.say(f"{body}\n[[text: As told.]][[hang: 60]]")
    run.event("receipt", uuid=uuid, state="accepted")
    run.until(lambda: any(request.step == "hang" and "As told" in str(request.body) for request in model.requests))
    assert [entry["state"] for entry in run.events("receipt", uuid=uuid)] == ["queued", "delivered", "accepted"]
    assert [entry["uuid"] for entry in run.events("input", source="message")] == [uuid]
    bodies = [request.body for request in model.requests if "As told" in str(request.body)]
    request_text = str(bodies[-1].get("messages") or bodies[-1].get("input"))
    assert request_text.count("79 of many words") == 1
    assert "<pasted_content" not in request_text

    os.kill(run.pid, signal.SIGKILL)
    report = run.report()
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "killed"), run.screen
    assert report["conversation_id"] == conversation_id
    run.wait_until_gone()


def resident_memory(pid: int) -> int:
    """The memory of a process in kB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))


def fork(program: str, show: Show, conversation_id: str, folder: Path, model: ModelServer) -> None:
    """Fork a conversation: only what is said in the fork is told, and only its own tokens are counted."""
    assert transcripts.copy_conversation(program, folder / "config", conversation_id, folder / "copied")
    fields = {
        "config_dir": str(folder / "copied"),
        "forks": conversation_id,
        "conversation_id": str(uuid4()),
        "generation": 3,
    }
    run = show(program, "[[say: DONE: Forked.]]", mcp_command=None, **fields)
    report = run.report()
    assert report["summary"] == "Forked." and report["conversation_id"] not in ("", conversation_id), run.screen
    assert [entry["text"] for entry in run.events("text")] == ["DONE: Forked."], run.screen
    assert run.events("tool_call") == [] and report["usage"]["input_tokens"] == 100
    assert any("heron" in str(entry.body) and "Forked." in str(entry.body) for entry in model.requests)
    run.wait_until_gone()


def take_over(program: str, show: Show, conversation_id: str, model: ModelServer) -> None:
    """A person who has taken over is left alone until a verdict, and goes on with the model that was ordered."""
    fields: dict[str, Any] = {"resume": True, "conversation_id": conversation_id, "generation": 4, "attended": True}
    run = show(program, "[[say: This prompt is not for the screen.]]", **fields)
    run.event("state", state="idle")
    order = {"uuid": str(uuid4()), "model": "claude-other-5"}
    run.order(model=order)
    assert run.event("model").items() >= {**order, "ok": True}.items(), run.screen
    run.until(lambda: "Set model to" in run.screen, description="the answer on the screen")
    run.type("[[say: DONE: Only thinking aloud.]]")
    run.event("result", ok=True)
    assert model.requests[-1].body["model"] == "claude-other-5"
    run.type(f'[[tool: {TOOL_PREFIX[program]}mc_report_review {{"summary":"Together"}}]][[say: Over.]]')
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("review", "Together"), run.screen
    assert len(run.events("input")) == 2
    run.wait_until_gone()


def leave(program: str, show: Show, conversation_id: str) -> None:
    """To leave a screen that was taken over is no failure of the agent."""
    fields: dict[str, Any] = {"resume": True, "conversation_id": conversation_id, "generation": 5, "attended": True}
    run = show(program, "[[say: Never.]]", mcp_command=None, **fields)
    run.event("state", state="idle")
    run.leave()
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("stopped", "The person has left the agent's screen."), run.screen
    assert run.events("input") == []


@both
def test_a_person_decides_through_the_hook_and_nothing_is_typed_into_the_dialog(
    program: str, show: Show, folder: Path
) -> None:
    allowed, denied = folder / "allowed.txt", folder / "denied.txt"
    steps = "".join(f"[[{build_write_step(program, target)}]]" for target in (allowed, denied))
    run = show(program, f"{steps}[[say: DONE: Asked.]]", mcp_command=None, permissions="ask")
    first = run.event("approval")
    assert str(allowed) in first["title"]
    uuid = run.say("[[say: DONE: Not into the dialog.]]")
    run.event("receipt", uuid=uuid, state="delivered")
    run.event("state", state="waiting")
    assert not allowed.exists()
    run.order(answers=[{"request": first["request"], "behavior": "allow"}])
    run.until(lambda: len(run.events("approval")) == 2, description="the second dialog")
    second = run.events("approval")[1]
    run.order(answers=[{"request": second["request"], "behavior": "deny", "message": "Not today."}])
    run.event("receipt", uuid=uuid, state="accepted")
    assert run.report()["summary"] == "Not into the dialog.", run.screen
    assert (allowed.exists(), denied.exists()) == (True, False)


@both
def test_an_interrupted_turn_goes_on_and_a_stopped_screen_leaves_nothing(
    program: str, show: Show, model: ModelServer, folder: Path
) -> None:
    """Not even what hid from its run is left. The folder's configuration is not trusted, which no dialog asks about."""
    command = {"type": "command", "command": f"touch {folder / 'hook'}"}
    for name in (".claude/settings.json", ".codex/hooks.json"):
        (folder / "workspace" / name).parent.mkdir()
        settings = {"hooks": {"SessionStart": [{"hooks": [command]}]}, "permissions": {"allow": ["Bash(true)"]}}
        (folder / "workspace" / name).write_text(json.dumps(settings))
    before, place = len(model.requests), folder / "workspace/hidden.pid"
    (folder / "workspace/hide.py").write_text(scripted.HIDE)
    hide = f"[[bash: {sys.executable} hide.py {place}]][[hang: 60]]"
    fields = {"permissions": "unrestricted", "repository_configuration": "untrusted"}
    run = show(program, hide, mcp_command=None, **fields)
    run.until(lambda: any(request.step == "hang" for request in model.requests[before:]))
    run.event("state", state="running")
    run.order(interrupt={"uuid": "5b0e2c55-0f0e-4a57-9d3e-3f6a5a1b7c11"})
    assert run.event("result")["stop_reason"] == "interrupted"
    uuid = run.say("[[text: Back again.]][[bash: echo back]][[hang: 60]]")
    run.event("receipt", uuid=uuid, state="accepted")
    run.event("text", text="Back again.")

    assert not (folder / "hook").exists()
    orphan = processes.identify(int(place.read_text()))
    assert orphan
    assert orphan not in processes.find_by_marker(run.spec.marker), "it was meant to hide"
    run.order(stop={"reason": "Parked by a person.", "code": "parked", "grace_seconds": 6})
    run.wait_until_gone([orphan])
    report = run.report()
    assert (report["verdict"], report["summary"]) == ("stopped", "Parked by a person.")


@claude
def test_a_question_on_the_screen_is_answered_from_the_ticket(program: str, show: Show) -> None:
    question = (
        '{"questions":[{"question":"Which?","header":"Pick","multiSelect":false,'
        '"options":[{"label":"A","description":"first"},{"label":"B","description":"second"}]}]}'
    )
    run = show(program, f"[[tool: AskUserQuestion {question}]][[say: DONE: Thanks.]]", mcp_command=None)
    payload = run.event("question")
    run.order(answers=[{"request": payload["request"], "behavior": "allow", "answers": {"Which?": "B"}}])
    assert '"Which?"="B"' in run.event("tool_result")["output"]
    assert run.report()["verdict"] == "done"


def build_write_step(program: str, target: Path) -> str:
    """A step that writes a file outside the workspace by a command that leaves the sandbox, for which a person is asked."""
    command, reason = f"echo yes > {target}", "a test"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": reason}
    unconfined = {"command": command, "dangerouslyDisableSandbox": True, "description": reason}
    calls = {"codex": f"exec_command {json.dumps(escalated)}", "claude": f"Bash {json.dumps(unconfined)}"}
    return f"tool: {calls[program]}"


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
    run.wait_until_gone()
    assert run.report()["verdict"] == "stopped"
