"""The real Claude Code and Codex, driven through their agents against the loopback model server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from workers.agents.coordination import VERSION
from workers.contract.spec import RunSpec

from .conftest import Start
from .programs import CODEX, TOOL_PREFIX, both, claude, end_on_request, fail_at_first

Make = Callable[..., RunSpec]
pytestmark = pytest.mark.agents


@both
def test_a_prompt_runs_a_command_and_reports_through_mc_coord(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    """The first turn waits for the coordination server, which fails here until it is restarted, and then starts slowly."""
    coord, run_spec = TOOL_PREFIX[program], spec(program)
    assert run_spec.mcp_command is not None
    conversation = start(
        replace(run_spec, mcp_command=fail_at_first(run_spec.mcp_command, folder, program)),
        "[[think: Where to begin?]][[text: I will write it.]][[bash: echo hello > out.txt; echo written]]"
        f'[[tool: {coord}mc_progress {{"text":"half way"}}]]'
        f'[[tool: {coord}mc_report_review {{"summary":"Look at out.txt","claims":[{{"text":"It says hello","item":0}}]}}]]'
        "[[say: Ready for review.]]",
    )
    result = conversation.until("result")
    assert (result.payload["ok"], result.payload["text"]) == (True, "Ready for review."), conversation.describe_events()
    assert conversation.finish() == 0
    assert (folder / "workspace/out.txt").read_text() == "hello\n"
    assert (folder / "run/signal.json").exists(), conversation.describe_events()
    signal = json.loads((folder / "run/signal.json").read_bytes())
    assert (signal["verdict"], signal["summary"]) == ("review", "Look at out.txt")
    assert signal["claims"] == [{"kind": "other", "text": "It says hello", "item": 0}]
    assert signal["nonce"] == "0123456789abcdef0123456789abcdef"
    calls = conversation.list_events("tool_call")
    assert "echo hello > out.txt; echo written" in calls[0].payload["title"]
    assert [call.payload["name"] for call in calls[1:]] == [
        "mcp__mc-coord__mc_progress",
        "mcp__mc-coord__mc_report_review",
    ]
    assert [event.payload["text"] for event in conversation.list_events("progress")] == ["half way"]
    assert conversation.list_events("tool_result")[0].payload["output"].strip() == "written"
    assert [event.payload["text"] for event in conversation.list_events("thinking")] == ["Where to begin?"]
    assert [event.payload["text"] for event in conversation.list_events("text")] == [
        "I will write it.",
        "Ready for review.",
    ]
    usage = conversation.list_events("usage")[-1].payload
    assert (usage["input_tokens"], usage["output_tokens"]) == (400, 80)
    assert [event.payload["state"] for event in conversation.list_events("receipt")][-1] == "accepted"
    assert [event.payload["source"] for event in conversation.list_events("input")] == ["prompt"]
    assert conversation.list_events("raw") == []
    assert [
        (event.payload["state"], event.payload.get("version")) for event in conversation.list_events("coordination")
    ] == [
        ("restarting", None),
        ("ready", VERSION),
    ]


@pytest.mark.parametrize("program", [CODEX])
def test_a_coordination_server_that_ends_during_a_turn_is_started_again(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    """Codex does not report its end, and has the tools again within the turn. Claude Code starts it again by itself."""
    run_spec, request = spec(program), folder / "workspace/end"
    assert run_spec.mcp_command is not None
    command = end_on_request(run_spec.mcp_command, folder / "run", request)
    conversation = start(
        replace(run_spec, mcp_command=command),
        "[[bash: touch end; while [ -e end ]; do sleep 0.05; done]][[say: One.]]",
    )
    conversation.until("coordination", state="restarting")
    conversation.until("result", text="One.")
    while conversation.list_events("coordination")[-1].payload["state"] != "ready":
        conversation.until("coordination")
    report = f'[[tool: {TOOL_PREFIX[program]}mc_report_review {{"summary":"Look"}}]][[say: Two.]]'
    conversation.say(conversation.agent.send(str(uuid4()), report))
    conversation.until("result", text="Two.")
    assert json.loads((folder / "run/signal.json").read_bytes())["summary"] == "Look", conversation.describe_events()


@both
def test_an_error_of_the_service_fails_the_turn_with_its_class(program: str, spec: Make, start: Start) -> None:
    """The other classes are in the recordings."""
    conversation = start(spec(program, mcp_command=None), "[[error: 500]]")
    result = conversation.until("result").payload
    assert (result["ok"], result["failure"]) == (False, "server_error"), conversation.describe_events()
    assert "server_error" in [event.payload["failure"] for event in conversation.list_events("error")]
    assert conversation.list_events("retry")[0].payload["failure"] == "server_error"
    code = conversation.finish()
    assert code == (1 if program == "claude" else 0)
    assert conversation.agent.explain(code, conversation.stderr) is None


@both
def test_a_passing_error_of_the_service_is_survived(program: str, spec: Make, start: Start) -> None:
    conversation = start(spec(program, mcp_command=None), f"[[flaky: 1 {502 if program == 'claude' else 503}]]")
    assert conversation.until("result").payload["text"] == "RECOVERED", conversation.describe_events()


@both
def test_a_conversation_that_is_gone_is_a_fault_of_the_environment(program: str, spec: Make, start: Start) -> None:
    conversation = start(spec(program, mcp_command=None, resume=True), "[[say: Nobody hears this.]]")
    assert conversation.until("result").payload["failure"] == "environment", conversation.describe_events()


@both
def test_a_tool_beyond_the_permissions_is_refused_without_a_person(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    target, allowed = folder / "asked.txt", f"touch {folder}/allowed.txt"
    conversation = start(
        spec(program, mcp_command=None, allowed_commands=(allowed,)),
        f"[[{_leaving(program, f'echo yes > {target}')}]][[{_leaving(program, allowed)}]][[say: Over.]]",
    )
    assert conversation.until("result").payload["ok"] is True
    assert not target.exists(), conversation.describe_events()
    assert (folder / "allowed.txt").exists(), conversation.describe_events()
    [refusal] = [event.payload["refused"] for event in conversation.list_events("notice") if "refused" in event.payload]
    assert str(target) in refusal
    assert conversation.list_events("approval") == []


@claude
def test_a_question_of_the_model_is_answered_by_a_person(program: str, spec: Make, start: Start) -> None:
    question = (
        '{"questions":[{"question":"Which?","header":"Pick","multiSelect":false,'
        '"options":[{"label":"A","description":"first"},{"label":"B","description":"second"}]}]}'
    )
    conversation = start(spec(program, mcp_command=None), f"[[tool: AskUserQuestion {question}]][[say: Thanks.]]")
    payload = conversation.until("question").payload
    choices = [{"label": "A", "detail": "first"}, {"label": "B", "detail": "second"}]
    assert payload["questions"] == [{"text": "Which?", "header": "Pick", "choices": choices, "multiple": False}]
    answer = {"request": payload["request"], "behavior": "allow", "answers": {"Which?": "B"}}
    conversation.say(conversation.agent.answer(answer))
    assert conversation.agent.answer(answer) == [], "an answer counts once"
    assert '"Which?"="B"' in conversation.until("tool_result").payload["output"]
    assert conversation.until("result").payload["ok"] is True


@both
def test_a_program_that_cannot_start_its_work_is_explained(program: str, spec: Make, start: Start) -> None:
    conversation = start(spec(program, argv=("--no-such-option",)), "[[say: never]]")
    code = conversation.finish()
    explained = conversation.agent.explain(code, conversation.stderr)
    assert explained is not None
    assert explained.payload["failure"] == "environment", explained


def _leaving(program: str, command: str) -> str:
    """A step whose command asks to leave the sandbox."""
    if program == "claude":
        return f"tool: Bash {json.dumps({'command': command, 'dangerouslyDisableSandbox': True})}"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "a test"}
    return f"tool: exec_command {json.dumps(escalated)}"
