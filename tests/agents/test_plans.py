"""Plans, checklists and changes of the model as each program states them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workers.runs import build_spec
from workers.agents.claude.plan_mode import build_exit, restrict_settings
from workers.agents.claude.program import ClaudeAgent
from workers.agents.claude.stream import ClaudeStream
from workers.agents.codex.program import CodexAgent
from workers.agents.codex.screen import CodexRollout
from workers.agents.codex.stream import CodexStream
from workers.agents.permissions import RequestPolicy
from workers.agents.script.program import ScriptAgent
from workers.agents.tool_requests import ClaudeRequests, PlanExit
from workers.contract.agent_events import AgentEvent
from workers.contract.spec import RunSpec

from .conftest import Start
from .programs import both

PLAN_EXIT: PlanExit = ({"type": "setMode", "mode": "acceptEdits", "destination": "session"},)


def ask(tool: str, **tool_input: Any) -> dict[str, Any]:
    return {"request_id": "r-1", "request": {"subtype": "can_use_tool", "tool_name": tool, "input": tool_input}}


def read_reply(line: bytes) -> dict[str, Any]:
    response: dict[str, Any] = json.loads(line)["response"]["response"]
    return response


def read_lists(events: list[AgentEvent]) -> list[list[tuple[str, str]]]:
    return [
        [(item["text"], item["state"]) for item in event.payload["items"]]
        for event in events
        if event.kind == "checklist"
    ]


@pytest.mark.parametrize("permissions", ["workspace", "unrestricted", "ask"])
def test_nothing_is_allowed_before_the_plan_whatever_the_permissions(permissions: Any) -> None:
    requests = ClaudeRequests(RequestPolicy(permissions), PLAN_EXIT)
    [notice] = requests.take(ask("Bash", command="rm -rf build"))
    assert "was refused while a plan is made: rm -rf build" in notice.payload["text"]
    assert read_reply(requests.replies[0])["behavior"] == "deny"

    [plan] = requests.take(ask("ExitPlanMode", plan="# Plan", planFilePath="/p.md"))
    assert (plan.kind, plan.payload) == ("plan", {"request": "r-1", "text": "# Plan"})
    back = read_reply(requests.answer({"request": "r-1", "behavior": "deny", "message": "Tests too."})[0])
    assert (back["behavior"], back["message"]) == ("deny", "Tests too.")

    requests.take(ask("ExitPlanMode", plan="# Plan", planFilePath="/p.md"))
    allowed = read_reply(requests.answer({"request": "r-1", "behavior": "allow", "message": "# Edited"})[0])
    assert allowed["updatedInput"] == {"plan": "# Edited", "planFilePath": "/p.md"}
    assert allowed["updatedPermissions"] == list(PLAN_EXIT)
    assert requests.plan_exit == (), "the run's own permissions hold from now on"


def test_rules_and_a_sandbox_that_allow_commands_are_held_back_until_the_approval() -> None:
    settings = {
        "permissions": {"allow": ["mcp__mc-coord", "Bash(git add:*)", "mcp__own"], "deny": ["Bash(git push:*)"]},
        "sandbox": {"enabled": True, "autoAllowBashIfSandboxed": True},
    }
    assert restrict_settings(settings) == {
        "permissions": {"allow": ["mcp__mc-coord"], "deny": ["Bash(git push:*)"]},
        "sandbox": {"enabled": True, "autoAllowBashIfSandboxed": False},
    }
    mode, rules = build_exit(settings, "workspace")
    assert (mode["mode"], mode["destination"]) == ("acceptEdits", "session")
    assert rules["rules"] == [{"toolName": "Bash", "ruleContent": "git add:*"}, {"toolName": "mcp__own"}]


@pytest.mark.parametrize(
    ("create", "expected"),
    [(ClaudeAgent, "--permission-mode plan"), (ScriptAgent, "--plan")],
)
def test_a_run_that_plans_is_started_so(tmp_path: Path, create: Callable[[], Any], expected: str) -> None:
    spec = build_spec(tmp_path, permissions="unrestricted", plan=True)
    agent = create()
    agent.prepare(spec, tmp_path)
    assert expected in " ".join(agent.command(spec))


def test_codex_plans_in_a_sandbox_without_writes(tmp_path: Path) -> None:
    agent = CodexAgent()
    agent.prepare(build_spec(tmp_path, permissions="unrestricted", plan=True), tmp_path)
    agent.open("Go")
    agent.parse(b'{"id":1,"result":{"userAgent":"codex/0.163.0"}}')
    thread = json.loads(agent.take_replies()[1])
    config = tomllib.loads((tmp_path / "config/config.toml").read_text())
    profile = config["permissions"][config["default_permissions"]]
    assert (profile["extends"], thread["params"]["approvalPolicy"]) == (":read-only", "never")


def test_the_tasks_and_todos_of_claude_are_one_checklist() -> None:
    stream = ClaudeStream(RequestPolicy(), ())

    def call(name: str, **arguments: Any) -> list[list[tuple[str, str]]]:
        block = {"type": "tool_use", "id": "t-1", "name": name, "input": arguments}
        return read_lists(stream.read({"type": "assistant", "message": {"id": "m", "content": [block]}}))

    def answer(text: str, **more: Any) -> list[list[tuple[str, str]]]:
        result = {"type": "tool_result", "tool_use_id": "t-1", "content": text, **more}
        return read_lists(stream.read({"type": "user", "message": {"content": [result]}}))

    todos = [{"content": "One", "status": "completed"}, {"content": "Two", "status": "in_progress"}]
    assert call("TodoWrite", todos=todos) == [[("One", "done"), ("Two", "in_progress")]]
    assert call("TaskCreate", subject="First", description="d") == []
    assert answer("Task #7 created successfully: First") == [[("First", "pending")]]
    assert call("TaskCreate", subject="Lost") == [] and answer("Error", is_error=True) == []
    assert call("TaskUpdate", taskId="7", status="completed") == [[("First", "done")]]
    assert call("TaskUpdate", taskId="99", status="completed") == []
    assert call("TaskUpdate", taskId="7", status="deleted") == [[]]


def test_the_plan_of_a_codex_turn_is_a_checklist_and_that_of_its_sub_agent_is_not() -> None:
    stream = CodexStream(RequestPolicy(), ())
    stream.begin("main", False)
    rows = [{"step": "One", "status": "completed"}, {"step": "Two", "status": "inProgress"}]

    def update(thread: str) -> list[list[tuple[str, str]]]:
        return read_lists(stream.read({"method": "turn/plan/updated", "params": {"threadId": thread, "plan": rows}}))

    assert update("main") == [[("One", "done"), ("Two", "in_progress")]]
    assert update("another") == []


@pytest.mark.parametrize(("output", "is_taken"), [("Plan updated", True), ("unsupported call: update_plan", False)])
def test_the_plan_on_a_codex_screen_is_a_checklist_once_the_program_has_taken_it(output: str, is_taken: bool) -> None:
    rollout, plan = CodexRollout(), {"plan": [{"step": "One", "status": "in_progress"}]}

    def read(**item: str) -> list[list[tuple[str, str]]]:
        return read_lists(rollout.read({"type": "response_item", "payload": {"call_id": "c", **item}}))

    assert read(type="function_call", name="update_plan", arguments=json.dumps(plan)) == []
    result = {"type": "function_call_output", "output": output}
    assert [read(**result), read(**result)] == [[[("One", "in_progress")]] if is_taken else [], []]


@both
@pytest.mark.agents
def test_an_agent_that_plans_writes_nothing_until_its_plan_is_approved(
    program: str, spec: Callable[..., RunSpec], start: Start, folder: Path
) -> None:
    """Claude waits for the approval and goes on in the same turn. The run of Codex ends with its plan."""
    call = '[[tool: ExitPlanMode {"plan":"# Plan"}]][[bash: git add .]]' if program == "claude" else ""
    script = f"[[bash: echo no > early.txt]]{call}[[say: # Plan]]"
    conversation = start(spec(program, mcp_command=None, permissions="unrestricted", plan=True), script)
    if program == "claude":
        plan = conversation.until("plan").payload
        assert plan["text"] == "# Plan"
        answer = {"request": plan["request"], "behavior": "allow", "message": "# Edited"}
        conversation.say(conversation.agent.answer(answer))
    assert conversation.until("result").payload["text"] == "# Plan", conversation.describe_events()
    assert not (folder / "workspace/early.txt").exists()
    outputs = [event.payload["output"] for event in conversation.list_events("tool_result")]
    if program == "claude":
        assert "Approved Plan (edited by user):\n# Edited" in outputs[1]
        assert "not a git repository" in outputs[2], "after the approval a command runs"


@both
@pytest.mark.agents
def test_the_model_is_changed_during_a_run_and_its_program_confirms_it(
    program: str, spec: Callable[..., RunSpec], start: Start, model: Any
) -> None:
    conversation = start(spec(program, mcp_command=None), "[[say: One.]]")
    conversation.until("result")
    lines = conversation.agent.set_model("u-1", "another-model")
    assert lines is not None
    conversation.say(lines)
    conversation.say(conversation.agent.send("6f1c2b0e-6f5f-4f0e-9d0a-1f5f0c7f3a12", "[[say: Two.]]"))
    payload = conversation.until("model").payload
    assert (payload["uuid"], payload["model"], payload["ok"]) == ("u-1", "another-model", True)
    conversation.until("result")
    assert model.requests[-1].body["model"] == "another-model"
