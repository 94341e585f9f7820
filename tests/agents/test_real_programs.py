"""The real Claude Code and Codex, driven through their agents against the loopback model server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.agents.conftest import Start
from tests.agents.programs import TOOL, both, claude
from tests.model_server import ModelServer
from tests.waiting import wait_until
from workers import transcripts
from workers.spec import RunSpec

Make = Callable[..., RunSpec]
pytestmark = pytest.mark.agents


def asked_since(model: ModelServer, before: int, step: str) -> Callable[[], bool]:
    return lambda: any(request.step == step for request in model.requests[before:])


@both
def test_a_prompt_runs_a_command_and_reports_through_mc_coord(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    coord = TOOL[program]
    talk = start(
        spec(program),
        "[[think: Where to begin?]][[text: I will write it.]][[bash: echo hello > out.txt; echo written]]"
        f'[[tool: {coord}mc_progress {{"text":"half way"}}]]'
        f'[[tool: {coord}mc_report_review {{"summary":"Look at out.txt","claims":[{{"text":"It says hello","item":0}}]}}]]'
        "[[say: Ready for review.]]",
    )
    result = talk.until("result")
    assert (result.payload["ok"], result.payload["text"]) == (True, "Ready for review."), talk.shown()
    assert talk.finish() == 0
    assert (folder / "workspace/out.txt").read_text() == "hello\n"
    assert (folder / "run/signal.json").exists(), talk.shown()
    signal = json.loads((folder / "run/signal.json").read_bytes())
    assert (signal["verdict"], signal["summary"]) == ("review", "Look at out.txt")
    assert signal["claims"] == [{"kind": "other", "text": "It says hello", "item": 0}]
    assert signal["nonce"] == "0123456789abcdef0123456789abcdef"
    calls = talk.of("tool_call")
    assert "echo hello > out.txt; echo written" in calls[0].payload["title"]
    assert [call.payload["name"] for call in calls[1:]] == [
        "mcp__mc-coord__mc_progress",
        "mcp__mc-coord__mc_report_review",
    ]
    assert [event.payload["text"] for event in talk.of("progress")] == ["half way"]
    assert talk.of("tool_result")[0].payload["output"].strip() == "written"
    assert [event.payload["text"] for event in talk.of("thinking")] == ["Where to begin?"]
    assert [event.payload["text"] for event in talk.of("text")] == ["I will write it.", "Ready for review."]
    usage = talk.of("usage")[-1].payload
    assert (usage["input_tokens"], usage["output_tokens"]) == (400, 80)
    assert [event.payload["state"] for event in talk.of("receipt")][-1] == "accepted"
    assert [event.payload["source"] for event in talk.of("input")] == ["prompt"]
    assert talk.of("raw") == []


@both
def test_a_coordination_server_that_starts_slowly_is_there_for_the_first_turn(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    made = spec(program)
    assert made.mcp_command is not None
    slowly = ("/bin/sh", "-c", 'sleep 3; exec "$0" "$@"', *made.mcp_command)
    said = f'[[tool: {TOOL[program]}mc_report_done {{"summary":"At once"}}]][[say: Over.]]'
    talk = start(spec(program, mcp_command=slowly), said)
    talk.until("result")
    assert (folder / "run/signal.json").exists(), talk.shown()


@both
@pytest.mark.parametrize(("status", "failure"), [(401, "authentication"), (429, "rate_limit"), (500, "server_error")])
def test_an_error_of_the_service_fails_the_turn_with_its_class(
    program: str, status: int, failure: str, spec: Make, start: Start
) -> None:
    talk = start(spec(program, mcp_command=None), f"[[error: {status}]]")
    result = talk.until("result").payload
    assert (result["ok"], result["failure"]) == (False, failure), talk.shown()
    assert failure in [event.payload["failure"] for event in talk.of("error")]
    assert talk.of("retry")[0].payload["failure"] == failure
    code = talk.finish()
    assert code == (1 if program == "claude" else 0)
    assert talk.agent.explain(code, talk.stderr) is None


@both
def test_a_passing_error_of_the_service_is_survived(program: str, spec: Make, start: Start) -> None:
    talk = start(spec(program, mcp_command=None), f"[[flaky: 1 {502 if program == 'claude' else 503}]]")
    assert talk.until("result").payload["text"] == "RECOVERED", talk.shown()


@both
def test_a_usage_limit_says_when_it_ends(program: str, spec: Make, start: Start) -> None:
    made = spec(program, mcp_command=None)
    if program == "claude":  # limits are those of an account's plan, which a log-in stands for
        env = {key: value for key, value in made.env.items() if key != "ANTHROPIC_AUTH_TOKEN"}
        made = spec(program, mcp_command=None, env=env | {"CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-dummy"})
    reset = int(time.time()) // 60 * 60 + 7200
    talk = start(made, f"[[limit: {reset}]]")
    result = talk.until("result").payload
    expected = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reset))
    assert (result["failure"], result["retry_at"]) == ("usage_limit", expected), talk.shown()
    assert talk.of("error")[-1].payload["retry_at"] == expected


@both
def test_an_interrupted_turn_is_no_failure_and_the_conversation_goes_on(
    program: str, spec: Make, start: Start, model: ModelServer
) -> None:
    before = len(model.requests)
    talk = start(spec(program, mcp_command=None), "[[hang: 60]]")
    talk.until("state", state="running")
    wait_until(asked_since(model, before, "hang"), what="the model's request")
    talk.say(talk.agent.interrupt())
    result = talk.until("result").payload
    assert (result["ok"], result["stop_reason"], result.get("failure")) == (False, "interrupted", None)
    uuid = str(uuid4())
    talk.say(talk.agent.send(uuid, "[[say: Back again.]]"))
    talk.until("receipt", uuid=uuid, state="accepted")
    assert talk.until("result").payload["text"] == "Back again.", talk.shown()
    assert talk.finish() == 0


@both
def test_a_message_to_a_busy_agent_is_delivered_and_acknowledged(
    program: str, spec: Make, start: Start, model: ModelServer, folder: Path
) -> None:
    gate = folder / "workspace" / "gate"
    os.mkfifo(gate)
    talk = start(spec(program, mcp_command=None, permissions="bypass"), "[[bash: cat gate]][[say: First.]]")
    talk.until("tool_call")
    uuid = str(uuid4())
    talk.say(talk.agent.send(uuid, "One more thing."))
    talk.until("receipt", uuid=uuid)
    gate.write_text("open")
    talk.until("receipt", uuid=uuid, state="accepted")
    talk.until("state", state="idle")
    assert any("One more thing." in str(request.body) for request in model.requests), talk.shown()


@both
def test_a_resumed_conversation_keeps_its_identity_and_counts_only_its_own_tokens(
    program: str, spec: Make, start: Start, model: ModelServer
) -> None:
    first = start(spec(program, mcp_command=None), "[[say: Remember the word heron.]]")
    first.until("result")
    conversation = first.of("session")[0].payload["conversation_id"]
    assert first.finish() == 0
    again = start(
        spec(program, mcp_command=None, resume=True, conversation_id=conversation),
        "[[bash: echo again]][[say: Still here.]]",
    )
    assert again.until("result").payload["text"] == "Still here.", again.shown()
    assert again.of("session")[0].payload["conversation_id"] == conversation
    assert "Remember the word heron." in str(model.requests[-1].body)
    assert again.of("usage")[-1].payload["input_tokens"] == 200


@both
def test_a_fork_knows_what_was_said_has_its_own_identity_and_leaves_the_first_as_it_was(
    program: str, spec: Make, start: Start, folder: Path, model: ModelServer
) -> None:
    first = start(spec(program, mcp_command=None), "[[say: Remember the word heron.]]")
    first.until("result")
    conversation = first.of("session")[0].payload["conversation_id"]
    assert first.finish() == 0
    (folder / "elsewhere").mkdir()
    mine = {"config_dir": str(folder / "copied"), "workspace": str(folder / "elsewhere")}
    mine |= {"forks": conversation, "conversation_id": str(uuid4())}
    assert transcripts.copy(program, folder / "config", conversation, folder / "copied")
    fork = start(spec(program, mcp_command=None, **mine), "[[bash: pwd]][[say: Forked.]]")
    assert fork.until("result").payload["text"] == "Forked.", fork.shown()
    own = fork.of("session")[0].payload["conversation_id"]
    assert own != conversation
    assert "heron" in str(model.requests[-1].body)
    assert [event.payload["text"] for event in fork.of("text")] == ["Forked."]
    assert fork.of("usage")[-1].payload["input_tokens"] == 200
    assert fork.of("tool_result")[0].payload["output"].strip() == str(folder / "elsewhere")
    assert fork.finish() == 0
    assert transcripts.is_kept(program, folder / "copied", own)
    again = start(spec(program, mcp_command=None, resume=True, conversation_id=conversation), "[[say: Still here.]]")
    assert again.until("result").payload["text"] == "Still here.", again.shown()
    assert "Forked." not in str(model.requests[-1].body)


@both
def test_a_conversation_that_is_gone_is_a_fault_of_the_environment(program: str, spec: Make, start: Start) -> None:
    talk = start(spec(program, mcp_command=None, resume=True), "[[say: Nobody hears this.]]")
    assert talk.until("result").payload["failure"] == "environment", talk.shown()


@both
@pytest.mark.parametrize("allowed", [True, False])
def test_a_person_decides_on_a_tool_when_the_permissions_say_ask(
    program: str, allowed: bool, spec: Make, start: Start, folder: Path
) -> None:
    target = folder / "workspace/asked.txt"
    talk = start(spec(program, mcp_command=None, permissions="ask"), f"[[{_writing(program, target)}]][[say: Over.]]")
    approval = talk.until("approval").payload
    assert f"echo yes > {target}" in approval["title"]
    if talk.agent.state != "waiting":
        talk.until("state", state="waiting")
    answer: dict[str, Any] = {"request": approval["request"], "behavior": "allow" if allowed else "deny"}
    talk.say(talk.agent.answer({**answer, "message": "Not today.", "scope": "once"}))
    assert talk.agent.answer(answer) == [], "an answer counts once"
    talk.until("result")
    assert target.exists() is allowed, talk.shown()


@both
def test_a_tool_beyond_the_permissions_is_refused_without_a_person(
    program: str, spec: Make, start: Start, folder: Path
) -> None:
    target = folder / "asked.txt"
    talk = start(
        spec(program, mcp_command=None, permissions="default"), f"[[{_writing(program, target)}]][[say: Over.]]"
    )
    assert talk.until("result").payload["ok"] is True
    assert not target.exists(), talk.shown()
    assert any("denied by the run's permissions" in event.payload["text"] for event in talk.of("notice"))
    assert talk.of("approval") == []


@claude
def test_a_question_of_the_model_is_answered_by_a_person(program: str, spec: Make, start: Start) -> None:
    question = (
        '{"questions":[{"question":"Which?","header":"Pick","multiSelect":false,'
        '"options":[{"label":"A","description":"first"},{"label":"B","description":"second"}]}]}'
    )
    talk = start(spec(program, mcp_command=None), f"[[tool: AskUserQuestion {question}]][[say: Thanks.]]")
    asked = talk.until("question").payload
    choices = [{"label": "A", "detail": "first"}, {"label": "B", "detail": "second"}]
    assert asked["questions"] == [{"text": "Which?", "header": "Pick", "choices": choices, "multiple": False}]
    talk.say(talk.agent.answer({"request": asked["request"], "behavior": "allow", "answers": {"Which?": "B"}}))
    assert '"Which?"="B"' in talk.until("tool_result").payload["output"]
    assert talk.until("result").payload["ok"] is True


@claude
def test_a_request_that_an_interrupt_makes_pointless_is_withdrawn(program: str, spec: Make, start: Start) -> None:
    talk = start(spec(program, mcp_command=None, permissions="ask"), "[[bash: echo x > y.txt]][[say: never]]")
    request = talk.until("approval").payload["request"]
    talk.say(talk.agent.interrupt())
    talk.until("withdrawn", request=request)
    assert talk.agent.answer({"request": request, "behavior": "allow"}) == []
    assert talk.until("result").payload["stop_reason"] == "interrupted"


@claude
def test_a_sub_agents_work_hangs_below_the_call_that_started_it(program: str, spec: Make, start: Start) -> None:
    given = (
        '{"description":"sub task","prompt":"((bash: echo sub)) ((say: SUBDONE))","subagent_type":"general-purpose"}'
    )
    talk = start(spec(program, mcp_command=None, permissions="bypass"), f"[[tool: Agent {given}]][[say: Main.]]")
    ended = talk.until("task", state="ended").payload
    call = talk.of("tool_call")[0].payload["call"]
    assert ended["parent"] == call
    below = [event.kind for event in talk.events if event.payload.get("parent") == call]
    assert {"task", "tool_call", "tool_result", "text"} <= set(below), talk.shown()


@both
def test_a_program_that_cannot_start_its_work_is_explained(program: str, spec: Make, start: Start) -> None:
    talk = start(spec(program, argv=("--no-such-option",)), "[[say: never]]")
    code = talk.finish()
    explained = talk.agent.explain(code, talk.stderr)
    assert explained is not None
    assert explained.payload["failure"] == "environment", explained


def _writing(program: str, target: Path) -> str:
    """A step that writes a file and needs permission for it."""
    command = f"echo yes > {target}"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "a test"}
    return f"tool: exec_command {json.dumps(escalated)}" if program == "codex" else f"bash: {command}"
