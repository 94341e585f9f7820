"""What the programs are told before they start: command line, environment, files."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest

from protocol import AGENT_PROGRAMS, FAILURES, PERMISSION_POLICIES, AttachedFile, Permissions, RunLimits
from tests.workers.repositories import create_repository, git
from tests.workers.runs import build_spec
from workers.agents import UnknownProgram, create_agent, load_descriptor
from workers.agents.claude.screen import ClaudeScreen, ClaudeTranscript
from workers.agents.codex.requests import CodexRequests
from workers.agents.coordination import hold_liveness_lock
from workers.agents.permissions import RequestPolicy
from workers.agents.tui.model_change import CONFIRM_SECONDS, ModelChange
from workers.agents.tui.tools_watch import MISSING_SECONDS, ToolsWatch
from workers.contract import attached_files
from workers.contract.agent import AgentAdapter
from workers.contract.agent_events import AgentEvent

STATUS_KINDS = ("coordination", "notice")
MCP = ("/venv/bin/python", "/checkout/mc_coordination_mcp.py")


def prepare_agent(program: str, folder: Path, **changes: Any) -> tuple[list[str], Path]:
    """The command line and the config folder of a spec."""
    spec = build_spec(folder, program=program, binary=f"/opt/{program}", mcp_command=MCP, **changes)
    agent = create_agent(program)
    agent.prepare(spec, folder)
    return agent.command(spec), Path(spec.config_dir)


def test_claude_neither_waits_for_a_limit_nor_repeats_a_refused_request_for_minutes(tmp_path: Path) -> None:
    _, folder = prepare_agent("claude", tmp_path)
    assert json.loads((folder / "settings.json").read_text())["autoContinueAtUsageLimit"] is False
    environments = [
        create_agent("claude").environment(build_spec(tmp_path, program="claude", env=env))
        for env in ({}, {"CLAUDE_CODE_MAX_RETRIES": "5"})
    ]
    assert [environment["CLAUDE_CODE_MAX_RETRIES"] for environment in environments] == ["2", "5"]


@pytest.mark.parametrize("program", ["claude", "codex"])
def test_the_config_folder_is_private_and_holds_no_token(program: str, tmp_path: Path) -> None:
    _, folder = prepare_agent(program, tmp_path)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert "mcr_token-of-this-run" not in file.read_text()


@pytest.mark.parametrize(
    ("permissions", "mode"),
    [
        ("workspace", "acceptEdits"),
        ("ask", "acceptEdits"),
        ("read_only", "default"),
        ("unrestricted", "bypassPermissions"),
    ],
)
def test_permissions_of_claude_become_its_mode(permissions: Permissions, mode: str, tmp_path: Path) -> None:
    argv, _ = prepare_agent("claude", tmp_path, permissions=permissions)
    assert argv[argv.index("--permission-mode") + 1] == mode
    assert argv[argv.index("--permission-prompt-tool") + 1] == "stdio"


def test_a_resumed_claude_keeps_what_it_knew(tmp_path: Path) -> None:
    argv, folder = prepare_agent("claude", tmp_path)
    assert argv[:2] == ["/opt/claude", "-p"] and "--session-id" in argv and "--resume" not in argv
    state = folder / ".claude.json"
    state.write_text(json.dumps({"numStartups": 7, "projects": {"/elsewhere": {"allowedTools": []}}}))
    argv, _ = prepare_agent(
        "claude", tmp_path, resume=True, model="opus", effort="high", limits=RunLimits(turns=9), argv=("--betas", "x")
    )
    assert "--session-id" not in argv and argv[argv.index("--resume") + 1].startswith("6f1c2b0e")
    assert argv[-14:-8] == ["--model", "opus", "--effort", "high", "--max-turns", "9"]
    assert argv[-2:] == ["--betas", "x"]
    new_state = json.loads(state.read_text())
    assert (
        new_state["numStartups"] == 7
        and "/elsewhere" in new_state["projects"]
        and new_state["hasCompletedOnboarding"] is True
    )


def test_codex_is_told_of_the_coordination_server_and_keeps_no_daemon(tmp_path: Path) -> None:
    argv, folder = prepare_agent("codex", tmp_path, effort="high", workspace=str(tmp_path / 'odd "name" ü'))
    assert argv[-3:] == ["workers.agents.codex.bridge", "/opt/codex", str(tmp_path / "run.codex")]
    config = tomllib.loads((folder / "config.toml").read_text())
    server = config["mcp_servers"]["mc-coord"]
    assert (server["command"], server["args"]) == (MCP[0], [MCP[1]])
    assert server["default_tools_approval_mode"] == "approve"
    assert server["env"]["MC_TICKET_ID"] == "3"
    assert config["features"] == {"plugins": False, "daemon_auto_start": False}
    assert config["projects"][str(tmp_path / 'odd "name" ü')]["trust_level"] == "trusted"
    assert config["model_reasoning_effort"] == "high"


def test_codex_may_commit_in_its_worktree_but_not_point_it_elsewhere(tmp_path: Path) -> None:
    """Work that cannot be committed never comes to a reviewer."""
    folder = create_repository(tmp_path / "project")
    place = tmp_path / "place"
    git(folder, "worktree", "add", "--quiet", "-b", "mc/MC-3", str(place))
    prepare_agent(
        "codex", tmp_path, workspace=str(place), hidden_folders=("/home/me/.ssh",), denied_commands=("make x",)
    )

    config = tomllib.loads((tmp_path / "config/config.toml").read_text())
    profile = config["permissions"][config["default_permissions"]]

    own, shared = folder / ".git/worktrees/place", [folder / ".git" / name for name in ("objects", "refs", "logs")]
    write_access = {str(path): "write" for path in (own, *shared)}
    read = {str(own / "commondir"): "read", str(own / "gitdir"): "read", ":slash_tmp": "read"}
    assert profile["filesystem"] == {**write_access, **read, "/home/me/.ssh": "deny"}
    assert (profile["extends"], profile["network"]) == (":workspace", {"enabled": False})
    rules = (tmp_path / "config/rules/default.rules").read_text()
    assert [line.split("]")[0] for line in rules.splitlines()] == [
        'prefix_rule(pattern = ["git", "push"',
        'prefix_rule(pattern = ["make", "x"',
    ]


def test_the_operators_settings_never_widen_what_a_run_may_do(tmp_path: Path) -> None:
    (tmp_path / ".claude").mkdir()
    permissions = {"allow": ["Bash"], "deny": ["Read(//etc/**)"], "defaultMode": "bypassPermissions"}
    settings = {"permissions": permissions, "env": {"HOME": "/", "MC_API": "x", "OWN": "1"}, "hooks": {"Stop": [{}]}}
    (tmp_path / ".claude/settings.json").write_text(json.dumps(settings | {"model": "opus", "statusLine": {}}))
    (tmp_path / ".codex").mkdir()
    provider = 'model_provider = "own"\n[model_providers.own]\nname = "Own"\nstream_max_retries = 9\n'
    config = f'sandbox_mode = "danger-full-access"\n{provider}'
    (tmp_path / ".codex/config.toml").write_text(
        config + '[mcp_servers."a b"]\nurl = "http://x"\nhttp_headers = {A = "b"}'
    )

    prepare_agent("claude", tmp_path, permissions="ask", own_home=str(tmp_path))
    claude = json.loads((tmp_path / "config/settings.json").read_text())
    prepare_agent("codex", tmp_path, permissions="ask", own_home=str(tmp_path))
    codex = tomllib.loads((tmp_path / "config/config.toml").read_text())

    prepare_agent("claude", tmp_path / "plain", permissions="ask")
    plain = json.loads((tmp_path / "plain/config/settings.json").read_text())
    assert claude["permissions"]["allow"] == [rule.replace("/plain", "") for rule in plain["permissions"]["allow"]]
    assert claude["permissions"]["deny"] == [*plain["permissions"]["deny"], "Read(//etc/**)"]
    assert (claude["env"], claude["model"]) == ({"OWN": "1"}, "opus")
    assert claude.keys() == plain.keys() | {"env", "model"}
    own = {"name": "Own", "request_max_retries": 2, "stream_max_retries": 9}
    assert codex["model_provider"] == "own" and codex["model_providers"] == {"own": own}
    assert codex["mcp_servers"]["a b"] == {"url": "http://x", "http_headers": {"A": "b"}}
    assert "sandbox_mode" not in codex


def test_no_folder_outside_is_opened_where_there_is_no_worktree(tmp_path: Path) -> None:
    (tmp_path / "astray").mkdir()
    (tmp_path / "astray/.git").write_text("gitdir: ../somewhere\n")
    for workspace in (create_repository(tmp_path / "whole"), tmp_path, tmp_path / "astray"):
        prepare_agent("codex", tmp_path, workspace=str(workspace))
        config = tomllib.loads((tmp_path / "config/config.toml").read_text())
        assert config["permissions"]["mission-control"]["filesystem"] == {":slash_tmp": "read"}


def test_without_a_sandbox_claude_has_the_usual_commands_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "workspace").mkdir()
    (tmp_path / "workspace/package.json").write_text("{}")
    facts: dict[str, Any] = {"sandbox": False, "check": ("sh", "-c", "make (all)"), "setup": ("make", "deps")}

    prepare_agent("claude", tmp_path, allowed_commands=("docker ps",), denied_commands=("npm publish",), **facts)

    settings = json.loads((tmp_path / "config/settings.json").read_text())
    rules = settings["permissions"]["allow"]
    assert {"Bash(npm:*)", "Bash(make deps:*)", "Bash(git commit:*)", "Bash(docker ps:*)", "mcp__mc-coord"} <= set(
        rules
    )
    assert "sandbox" not in settings and "Bash" not in rules
    assert not [rule for rule in rules if "make (" in rule or "cargo" in rule], "a parenthesis would end the rule"
    assert settings["permissions"]["deny"] == ["Bash(git push:*)", "Bash(npm publish:*)"]


def test_both_modes_of_claude_lack_the_tools_that_leave_the_frame(tmp_path: Path) -> None:
    spec = build_spec(tmp_path, program="claude")
    screen = load_descriptor("claude").create_screen()
    lines = [create_agent("claude").command(spec), screen.command(spec, tmp_path, None)]
    denied = [line[line.index("--disallowedTools") + 1].split(",") for line in lines]
    assert [line.count("--settings") for line in lines] == [1, 1], "the program heeds the last one alone"
    assert denied[0] == denied[1] and {"EnterWorktree", "ScheduleWakeup", "CronCreate", "SendMessage"} < set(denied[0])


@pytest.mark.parametrize(
    ("command", "is_allowed"),
    [
        ("npm install left-pad", True),
        ("npm  install 'left pad'", True),
        ("npm installer", False),
        ("npm run x", False),
        ("npm install x; rm -rf ~", False),
        ("npm install $(id)", False),
        ("npm install x > /etc/passwd", False),
        ("npm install x\nid", False),
        ("X=1 npm install x", False),
        ("npm install 'x", False),
        ("", False),
    ],
)
def test_an_allowed_command_covers_no_other(command: str, is_allowed: bool) -> None:
    policy = RequestPolicy("workspace", ("npm install",))
    assert policy.decide(command) == ("allow" if is_allowed else "deny")


def test_codex_is_judged_by_the_whole_command_not_by_its_summary(tmp_path: Path) -> None:
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex", allowed_commands=("npm install",)), tmp_path)
    for number, command in enumerate(("npm install x", "cd / && npm install x | head")):
        params = {
            "command": shlex.join(["/bin/bash", "-lc", command]),
            "commandActions": [{"command": "npm install x"}],
        }
        agent.parse(
            json.dumps({"method": "item/commandExecution/requestApproval", "id": number, "params": params}).encode()
        )
    replies = [json.loads(line) for line in agent.take_replies()]
    assert [reply["result"]["decision"] for reply in replies] == ["accept", "decline"]


def test_the_policies_differ_in_who_decides() -> None:
    decisions = {name: RequestPolicy(name, ("make",)).decide("id") for name in get_args(Permissions)}
    assert decisions.keys() == PERMISSION_POLICIES.keys()
    assert decisions == {"workspace": "deny", "ask": "ask", "read_only": "deny", "unrestricted": "allow"}
    assert RequestPolicy("ask", ("make",)).decide("make all") == "allow"
    assert RequestPolicy("read_only", ("make",)).decide("make all") == "deny"
    for policy in get_args(Permissions):
        assert RequestPolicy(policy, ("npm",), ("npm publish",)).decide("npm  publish --tag x") == "deny"


def test_a_program_that_is_called_like_a_shell_is_judged_by_its_own_name() -> None:
    requests = CodexRequests(RequestPolicy("workspace", ("npm test",)))
    for number, (program, decision) in enumerate(
        {"/bin/bash": "accept", "./evil": "decline", "bash": "decline"}.items()
    ):
        params = {"command": f"{program} -lc 'npm test'"}
        requests.take({"id": number, "method": "item/commandExecution/requestApproval", "params": params})
        assert json.loads(requests.replies[-1])["result"]["decision"] == decision, program


def test_a_message_before_the_conversation_is_open_waits_for_it(tmp_path: Path) -> None:
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex"), tmp_path)
    agent.open("first")
    assert agent.send("u-2", "second") == []
    agent.parse(b'{"id":1,"result":{}}')
    assert [json.loads(line)["method"] for line in agent.take_replies()] == ["initialized", "thread/start"]
    agent.parse(b'{"id":2,"result":{"thread":{"id":"t-1"}}}')
    texts = [json.loads(line)["params"]["input"][0]["text"] for line in agent.take_replies()]
    assert texts == ["first", "second"]
    assert agent.take_replies() == []


@pytest.mark.parametrize(("resume", "count"), [(False, 300), (True, 0)])
def test_tokens_told_before_the_first_turn_are_an_earlier_processes_only_on_resume(
    resume: bool, count: int, tmp_path: Path
) -> None:
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex", resume=resume), tmp_path)
    agent.open("prompt")
    agent.parse(b'{"id":1,"result":{}}')
    agent.parse(b'{"id":2,"result":{"thread":{"id":"t"}}}')
    usage = {"total": {"inputTokens": 300}, "last": {"inputTokens": 100}}
    notification = {"method": "thread/tokenUsage/updated", "params": {"threadId": "t", "tokenUsage": usage}}
    assert agent.parse(json.dumps(notification).encode())[0].payload["input_tokens"] == count


def read_coordination(agent: AgentAdapter, message: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Parse a message; return the states of the tools and the levels of notices, and the kinds of the replies."""
    events = agent.parse(json.dumps(message).encode())
    states = [event.payload.get("level") or event.payload["state"] for event in events if event.kind in STATUS_KINDS]
    replies = [json.loads(line) for line in agent.take_replies()]
    return states, [
        reply.get("method") or reply.get("request", {}).get("subtype") or reply["type"] for reply in replies
    ]


def test_the_first_turn_of_codex_waits_for_the_coordination_tools(tmp_path: Path) -> None:
    """A failed server is started again once; then the run goes on without it."""
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex", mcp_command=MCP), tmp_path)
    agent.open("prompt")
    agent.parse(b'{"id":1,"result":{}}')
    agent.parse(b'{"id":2,"result":{"thread":{"id":"t"}}}')
    agent.take_replies()
    for name, status, states, replies in (
        ("other", "failed", ["warning"], []),
        ("mc-coord", "starting", [], []),
        ("mc-coord", "failed", ["restarting", "warning"], ["config/mcpServer/reload"]),
        ("mc-coord", "starting", [], []),
        ("mc-coord", "failed", ["missing", "warning"], ["turn/start"]),
        ("mc-coord", "failed", [], []),
        ("mc-coord", "ready", ["ready", "info"], []),
    ):
        notification = {"method": "mcpServer/startupStatus/updated", "params": {"name": name, "status": status}}
        assert read_coordination(agent, notification) == (states, replies), (name, status)


def test_the_first_turn_of_claude_waits_for_the_coordination_tools(tmp_path: Path) -> None:
    """A server that is lost later is started again too, once in a run."""
    (tmp_path / "coordination.json").write_text(json.dumps({"version": "2.0.0"}))
    agent = create_agent("claude")
    agent.prepare(build_spec(tmp_path, program="claude", mcp_command=MCP), tmp_path)
    [line] = agent.open("prompt")
    assert json.loads(line)["request"] == {"subtype": "mcp_status"}
    assert agent.send("u-2", "second") == []

    def build_reply(number: int, status: str) -> dict[str, Any]:
        servers = {"mcpServers": [{"name": "other", "status": "failed"}, {"name": "mc-coord", "status": status}]}
        response = {"subtype": "success", "request_id": f"mc-{number}", "response": servers}
        return {"type": "control_response", "response": response}

    start = {"type": "system", "subtype": "init", "mcp_servers": [{"name": "mc-coord", "status": "failed"}]}
    assert read_coordination(agent, build_reply(1, "connected")) == (["ready"], ["user", "user"])
    assert read_coordination(agent, start) == (["restarting", "warning"], ["mcp_reconnect"])
    refusal = {"subtype": "error", "request_id": "mc-2", "error": "Connection closed"}
    assert read_coordination(agent, {"type": "control_response", "response": refusal}) == ([], ["mcp_status"])
    assert agent.send("u-3", "third") == []
    assert read_coordination(agent, build_reply(3, "failed")) == (["missing", "warning"], ["user"])
    assert read_coordination(agent, start) == ([], [])


def test_a_claude_that_does_not_know_the_request_begins_all_the_same(tmp_path: Path) -> None:
    agent = create_agent("claude")
    agent.prepare(build_spec(tmp_path, program="claude", mcp_command=MCP), tmp_path)
    agent.open("prompt")
    refusal = {"subtype": "error", "request_id": "mc-1", "error": "unsupported_request"}
    assert read_coordination(agent, {"type": "control_response", "response": refusal}) == ([], ["user"])


CLOSED_CALLS = {
    "codex": "tool call error: tool call failed for `mc-coord/mc_progress`\n\nCaused by:\n    Transport closed",
    "claude": "<tool_use_error>Error: No such tool available: x. Its MCP server 'mc-coord' has disconnected.</tool_use_error>",
}


@pytest.mark.parametrize("program", CLOSED_CALLS)
def test_a_screen_that_loses_the_tools_connects_again_or_says_so(program: str, tmp_path: Path) -> None:
    """Its server has a lock for as long as it lives, and the program's next call fails in its own words."""
    screen = load_descriptor(program).create_screen()
    (tmp_path / "coordination.json").write_text(json.dumps({"version": "2.0.0"}))
    liveness_lock = hold_liveness_lock(tmp_path)
    lost_states = ["restarting"] if screen.reconnect_command else ["missing"]

    def start() -> ToolsWatch:
        watch = ToolsWatch(tmp_path, True, screen.reconnect_command)
        assert look(watch, 1) == ["ready"]
        return watch

    def list_states(events: list[AgentEvent]) -> list[object]:
        return [event.payload["state"] for event in events if event.kind == "coordination"]

    def look(watch: ToolsWatch, now: float) -> list[object]:
        return list_states(watch.look(True, now))

    watch = start()
    for output, states in (("Refused: mc-coord", []), (CLOSED_CALLS[program], lost_states)):
        result = AgentEvent("tool_result", {"output": output, "error": True})
        assert list_states(watch.take_result(result)) == states
    assert watch.take_command(2) == screen.reconnect_command
    watch = start()
    os.close(liveness_lock)
    assert [look(watch, now) for now in (2, 3, 99)] == [[], [], lost_states]


@pytest.mark.parametrize("command", ["/mcp reconnect mc-coord", ""])
def test_a_screen_without_the_tools_is_connected_again_while_it_is_idle(command: str, tmp_path: Path) -> None:
    """A server leaves a sign of its use; a program without a command for it goes on at once."""
    watch = ToolsWatch(tmp_path, True, command)

    def look(now: float) -> list[object]:
        return [event.payload["state"] for event in watch.look(now > 0, now) if event.kind == "coordination"]

    steps = [(0, ""), (1, ""), (MISSING_SECONDS + 1, "restarting" if command else "missing"), (99, "")]
    assert [look(now) for now, _ in steps] == [[state] if state else [] for _, state in steps]
    assert [watch.take_command(100), watch.take_command(100)] == [command, ""]
    assert look(101) == []
    assert look(101 + MISSING_SECONDS) == (["missing"] if command else [])
    (tmp_path / "coordination.json").write_text(json.dumps({"version": "2.0.0"}))
    assert look(200) == ["ready"]
    assert ToolsWatch(tmp_path, False, command).look(True, 99) == []


@pytest.mark.parametrize("kind", ["user", "system"])
@pytest.mark.parametrize(("text", "is_changed"), [("Set model to `B`", True), ("Model 'b' not found", False)])
def test_the_answer_of_a_screen_to_another_model_is_matched_with_its_order(
    kind: str, text: str, is_changed: bool
) -> None:
    """The screen writes commands as messages of the user, and as lines of its own during a turn."""
    transcript, change = ClaudeTranscript(), ModelChange(ClaudeScreen())

    def read(content: str) -> list[AgentEvent]:
        body = {"message": {"content": content}} if kind == "user" else {"content": content, "subtype": "local_command"}
        return transcript.read({"type": kind, **body})

    change.order({"uuid": "u-1", "model": "b"})
    assert [change.take_command(1.0), change.take_command(1.0)] == ["/model b", ""]
    for command, has_answer in (("cost", False), ("model", True)):
        assert read(f"<command-name>/{command}</command-name>") == []
        assert bool(read(f"<local-command-stdout>{text}</local-command-stdout>")) is has_answer
    [answer] = read(f"<local-command-stdout>{text}</local-command-stdout>")
    expected = {"uuid": "u-1", "model": "b", "ok": is_changed, "detail": text.replace("`", "")}
    assert change.match(answer).payload == expected
    assert change.give_up(99.0) == [], "it was answered"
    change.order({"uuid": "u-2", "model": "c"})
    change.take_command(1.0)
    assert change.give_up(1.0 + CONFIRM_SECONDS)[0].payload["ok"] is False


def test_coordination_tools_are_approved_under_every_policy(tmp_path: Path) -> None:
    request = {"method": "mcpServer/elicitation/request", "id": 5, "params": {"serverName": "mc-coord"}}
    other = {"method": "mcpServer/elicitation/request", "id": 6, "params": {"serverName": "other"}}
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex", permissions="workspace"), tmp_path)
    assert agent.parse(json.dumps(request).encode()) == []
    assert [event.kind for event in agent.parse(json.dumps(other).encode())] == ["notice"]
    replies = [json.loads(line) for line in agent.take_replies()]
    assert [(reply["id"], reply["result"]["action"]) for reply in replies] == [(5, "accept"), (6, "decline")]


def test_a_codex_of_one_turn_says_that_it_lost_the_tools(tmp_path: Path) -> None:
    """It reads nothing during its turn, so nothing can start them again."""
    agent = create_agent("codex", argv=("exec",))
    agent.prepare(build_spec(tmp_path, program="codex", mcp_command=MCP), tmp_path)
    (tmp_path / "coordination.json").write_text(json.dumps({"version": "2.0.0"}))
    call = {"id": "1", "type": "mcp_tool_call", "server": "mc-coord", "tool": "mc_progress", "arguments": {}}
    failure = {"status": "failed", "error": {"message": CLOSED_CALLS["codex"].removeprefix("tool call error: ")}}
    for line, states in (
        ({"type": "item.completed", "item": call | failure}, ["missing", "warning"]),
        ({"type": "turn.completed"}, []),
    ):
        assert read_coordination(agent, line) == (states, [])


def test_a_question_of_codex_is_answered_by_its_text(tmp_path: Path) -> None:
    question = {"id": "q1", "header": "Pick", "question": "Which?", "options": [{"label": "A", "description": "a"}]}
    request = {"method": "item/tool/requestUserInput", "id": "r-1", "params": {"questions": [question]}}
    agent = create_agent("codex")
    agent.prepare(build_spec(tmp_path, program="codex"), tmp_path)
    payload = agent.parse(json.dumps(request).encode())[0].payload
    assert payload["questions"][0]["choices"] == [{"label": "A", "detail": "a"}]
    reply = agent.answer({"request": payload["request"], "behavior": "allow", "answers": {"Which?": "A"}})
    assert json.loads(reply[0]) == {"id": "r-1", "result": {"answers": {"q1": {"answers": ["A"]}}}}


@pytest.mark.parametrize("program", ["claude", "codex"])
def test_an_unknown_request_gets_an_error_instead_of_silence(program: str, tmp_path: Path) -> None:
    agent = create_agent(program)
    agent.prepare(build_spec(tmp_path, program=program), tmp_path)
    request: dict[str, Any] = {"method": "item/new/thing", "id": 9, "params": {}}
    if program == "claude":
        request = {"type": "control_request", "request_id": "r9", "request": {"subtype": "new_thing"}}
    assert [event.kind for event in agent.parse(json.dumps(request).encode())] == ["raw"]
    assert "error" in json.dumps(json.loads(agent.take_replies()[0]))


def test_only_known_programs_have_agents() -> None:
    with pytest.raises(UnknownProgram):
        create_agent("claude; rm -rf /")


@pytest.mark.parametrize("name", AGENT_PROGRAMS)
def test_a_descriptor_has_what_the_abilities_of_its_program_need(name: str) -> None:
    program, descriptor = AGENT_PROGRAMS[name], load_descriptor(name)
    assert program.can_fork <= (descriptor.transcripts is not None)
    assert program.can_join == (descriptor.join_run is not load_descriptor("script").join_run)
    assert program.has_screen == (descriptor.create_screen is not load_descriptor("script").create_screen)
    assert set(descriptor.wordings) <= set(FAILURES)


def test_an_agent_needs_nothing_heavy_and_no_other_program() -> None:
    check = (
        "import sys; from workers.agents import create_agent; create_agent('claude');"
        "print(sorted(name for name in sys.modules if name.startswith(('workers.agents.codex', 'workers.agents.tui'))));"
        "create_agent('codex');"
        "print(sorted({'ssl', 'asyncio', 'http.client', 'mcp', 'pydantic'} & sys.modules.keys()))"
    )
    root = Path(__file__).resolve().parents[2]
    lines = subprocess.run([sys.executable, "-c", check], cwd=root, capture_output=True, text=True, check=True)
    assert lines.stdout.split() == ["[]", "[]"]


def test_an_image_goes_with_the_prompt_in_the_programs_own_way(tmp_path: Path) -> None:
    """The real programs take these; for a screen its path is in the prompt."""
    picture = tmp_path / "attachments/4-a.png"
    attached_files.save_copy(picture, b"png")
    files = [
        AttachedFile(4, "a.png", str(picture), "image/png", 3, True),
        AttachedFile(5, "b", "", "image/png", 9, True),
    ]
    attached_files.write_list(tmp_path, files)

    def read_prompt(program: str, *replies: bytes) -> dict[str, Any]:
        agent = create_agent(program)
        agent.prepare(build_spec(tmp_path, program=program), tmp_path)
        lines = agent.open("prompt")
        for reply in replies:
            agent.parse(reply)
            lines = agent.take_replies()
        assert b"image" not in agent.send("u-2", "later")[0]
        message: dict[str, Any] = json.loads(lines[-1])
        return message

    source = {"type": "base64", "media_type": "image/png", "data": "cG5n"}
    text = {"type": "text", "text": "prompt"}
    assert read_prompt("claude")["message"]["content"] == [text, {"type": "image", "source": source}]
    thread = (b'{"id":1,"result":{}}', b'{"id":2,"result":{"thread":{"id":"t"}}}')
    assert read_prompt("codex", *thread)["params"]["input"] == [text, {"type": "localImage", "path": str(picture)}]
    spec = build_spec(tmp_path, program="codex", argv=("exec",), resume=True)
    one_turn = create_agent("codex", argv=spec.argv)
    one_turn.prepare(spec, tmp_path)
    assert one_turn.command(spec)[-4:] == ["resume", spec.conversation_id, f"--image={picture}", "-"]
