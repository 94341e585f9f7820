from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from redaction import OMISSION_MARK
from tests.waiting import wait_until
from workers.agents.script.program import ScriptAgent
from workers.contract.agent_events import AgentEvent

from .runs import build_spec

PATIENCE = 60.0


class ScriptConversation:
    """The program behind its own parser, in a workspace; `events` grows as it prints."""

    def __init__(self, workspace: Path, home: Path, **fields: Any) -> None:
        self.agent = ScriptAgent()
        spec = build_spec(home, workspace=str(workspace), **fields)
        self.agent.prepare(spec, home)
        self.events: list[AgentEvent] = []
        self.process = subprocess.Popen(
            self.agent.command(spec), cwd=workspace, env=spec.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.process.stdout
        os.set_blocking(self.process.stdout.fileno(), False)
        self._pending = b""

    def say(self, lines: list[bytes]) -> None:
        assert self.process.stdin
        self.process.stdin.write(b"".join(lines))
        self.process.stdin.flush()

    def list_payloads(self, kind: str) -> list[dict[str, Any]]:
        assert self.process.stdout
        *lines, self._pending = (self._pending + (self.process.stdout.read() or b"")).split(b"\n")
        self.events += [event for line in lines for event in self.agent.parse(line)]
        return [dict(event.payload) for event in self.events if event.kind == kind]

    def work(self, prompt: str) -> dict[str, Any]:
        """The result of a prompt."""
        self.say(self.agent.open(prompt))
        return wait_until(lambda: self.list_payloads("result"), PATIENCE, "a result")[0]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "-c", "user.name=A", "-c", "user.email=a@x", "commit", "-q", "--allow-empty", "-m", "Start")
    return folder


@pytest.fixture
def conversation(workspace: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ScriptConversation]:
    conversation = ScriptConversation(workspace, tmp_path, **getattr(request, "param", {}))
    yield conversation
    conversation.process.kill()
    conversation.process.wait()
    for pipe in (conversation.process.stdin, conversation.process.stdout):
        assert pipe
        pipe.close()


def block(*lines: str, info: str = "sh") -> str:
    return "\n".join([f"```{info}", *lines, "```", ""])


def test_every_block_is_a_step_and_the_changes_are_committed_under_the_tickets_name(
    conversation: ScriptConversation, workspace: Path
) -> None:
    result = conversation.work(block("echo hello > a.txt", "cat a.txt") + block("echo $0; pwd"))
    assert result["ok"]
    assert result["text"].startswith("DONE: 2 steps ran, committed as ")
    assert git(workspace, "log", "-1", "--format=%s|%an|%ae") == "MC-3: Say hello|Mission Control|mc@localhost"
    assert git(workspace, "status", "--porcelain") == ""
    assert [(step["step"], step["state"], step.get("status")) for step in conversation.list_payloads("step")] == [
        (1, "started", None),
        (1, "ended", "ok"),
        (2, "started", None),
        (2, "ended", "ok"),
    ]
    assert [call["title"] for call in conversation.list_payloads("tool_call")] == ["echo hello > a.txt", "echo $0; pwd"]
    assert conversation.list_payloads("tool_result")[0]["output"] == "hello\n"


def test_the_author_is_the_operators_and_only_what_the_steps_changed_is_committed(
    conversation: ScriptConversation, workspace: Path, tmp_path: Path
) -> None:
    """A file that git would normalise is left as it is, also when it is edited."""
    (tmp_path / ".gitconfig").write_text("[user]\n\tname = Alice\n\temail = alice@example.org\n")
    git(workspace, "config", "user.name", "An agent")
    for name in ("noise", "edited"):
        (workspace / f"{name}.txt").write_bytes(b"one\r\ntwo\r\n")
    (workspace / "gone.txt").write_text("x\n")
    git(workspace, "add", "--all")
    (workspace / ".gitattributes").write_text("*.txt text\n")
    git(workspace, "add", ".gitattributes")
    git(workspace, "-c", "user.name=A", "-c", "user.email=a@x", "commit", "-q", "-m", "Lines of Windows")
    conversation.work(block("touch noise.txt; printf 'three\\r\\n' >> edited.txt; rm gone.txt; echo new > new.txt"))
    assert git(workspace, "log", "-1", "--format=%an|%ae") == "Alice|alice@example.org"
    assert git(workspace, "show", "--numstat", "--format=").splitlines() == [
        "1\t0\tedited.txt",
        "0\t1\tgone.txt",
        "1\t0\tnew.txt",
    ]


def test_the_last_line_of_the_last_step_may_be_the_verdict(conversation: ScriptConversation, workspace: Path) -> None:
    result = conversation.work(
        "```sh\necho hello >made.txt\necho 'REVIEW: no'\n```\n```sh\necho so\necho 'CHANGES: too short'\n```\n"
    )
    assert (result["ok"], result["text"]) == (True, "CHANGES: too short")


def test_a_failing_step_ends_the_work_and_skips_the_rest(conversation: ScriptConversation, workspace: Path) -> None:
    result = conversation.work(block("echo x > a.txt", "false", "echo never") + block("echo two") + block("echo three"))
    assert (result["ok"], result["failure"]) == (False, "agent_failed")
    assert result["text"] == "Step 1 (echo x > a.txt) ended with exit code 1."
    assert [step["status"] for step in conversation.list_payloads("step") if step["state"] == "ended"] == [
        "failed",
        "skipped",
        "skipped",
    ]
    assert git(workspace, "log", "--format=%s") == "Start"
    assert "never" not in conversation.list_payloads("tool_result")[0]["output"]


def test_a_step_that_takes_too_long_is_ended_with_all_it_started(conversation: ScriptConversation) -> None:
    result = conversation.work(block("sleep 600 & echo $!", "sleep 600", info="sh timeout=0.5"))
    assert result["failure"] == "timeout"
    pid = int(conversation.list_payloads("tool_result")[0]["output"])
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), description="the end of the background process")


def test_a_step_ends_with_its_shell_even_if_a_child_keeps_the_output_open(conversation: ScriptConversation) -> None:
    assert conversation.work(block("sleep 600 &"))["ok"]


def test_folder_and_environment_of_a_step_come_from_its_info_string(
    conversation: ScriptConversation, workspace: Path
) -> None:
    (workspace / "sub").mkdir()
    conversation.work(block('echo "$PWD $COLOUR"', info="bash cwd=sub COLOUR=blue"))
    assert conversation.list_payloads("tool_result")[0]["output"] == f"{workspace}/sub blue\n"


def test_output_is_streamed_while_a_step_runs(conversation: ScriptConversation, workspace: Path) -> None:
    os.mkfifo(workspace / "gate")
    conversation.say(conversation.agent.open(block("echo before", "cat gate")))
    wait_until(lambda: conversation.list_payloads("delta"), description="the first output")
    assert not conversation.list_payloads("tool_result")
    (workspace / "gate").write_text("open\n")
    wait_until(lambda: conversation.list_payloads("result"), description="the result")
    assert conversation.list_payloads("tool_result")[0]["output"] == "before\nopen\n"


def test_a_ticket_without_a_block_becomes_a_question(conversation: ScriptConversation) -> None:
    result = conversation.work("MC-3: Please think about it")
    expected = "QUESTION: This ticket has no sh block, so the script agent has nothing to run."
    assert (result["ok"], result["text"]) == (True, expected)


@pytest.mark.parametrize("conversation", [{"plan": True}], indirect=True)
def test_where_a_plan_is_wanted_it_says_that_it_makes_none(conversation: ScriptConversation, workspace: Path) -> None:
    result = conversation.work(block("touch early"))
    assert result["text"].startswith("QUESTION: A plan is wanted first, and the script agent makes none")
    assert not (workspace / "early").exists()


def test_a_message_is_refused_with_the_reason(conversation: ScriptConversation, workspace: Path) -> None:
    os.mkfifo(workspace / "gate")
    conversation.say(conversation.agent.open(block("cat gate")))
    wait_until(lambda: conversation.list_payloads("step"), description="the step")
    conversation.say(conversation.agent.send("u-1", "Hurry"))
    wait_until(lambda: conversation.list_payloads("receipt"), description="the receipt")
    reason = "The script agent reads no messages: it runs the ticket's blocks and nothing else."
    assert conversation.list_payloads("receipt") == [{"uuid": "u-1", "state": "refused", "detail": reason}]
    assert [payload["source"] for payload in conversation.list_payloads("input")] == ["prompt"]
    (workspace / "gate").write_text("")
    wait_until(lambda: conversation.list_payloads("result"), description="the result")


def test_an_interrupt_ends_the_step_at_once(conversation: ScriptConversation) -> None:
    conversation.say(conversation.agent.open(block("sleep 600") + block("echo two")))
    wait_until(lambda: conversation.list_payloads("step"), description="the step")
    conversation.say(conversation.agent.interrupt())
    result = wait_until(lambda: conversation.list_payloads("result"), PATIENCE, "the result")[0]
    assert (result["ok"], result["stop_reason"]) == (False, "interrupted")


@pytest.mark.parametrize("words", ["end", "eof"])
def test_it_exits_when_told_to_or_when_nobody_speaks_any_more(conversation: ScriptConversation, words: str) -> None:
    conversation.work(block("true"))
    if words == "end":
        conversation.say(conversation.agent.end())
    else:
        assert conversation.process.stdin
        conversation.process.stdin.close()
    assert conversation.process.wait(PATIENCE) == 0


def test_a_workspace_with_its_own_workers_package_is_no_danger(
    conversation: ScriptConversation, workspace: Path
) -> None:
    (workspace / "workers").mkdir()
    (workspace / "workers/__init__.py").write_text("raise SystemExit('the wrong one')")
    assert conversation.work(block("true"))["ok"]


def test_a_line_that_is_no_event_is_kept_as_it_came() -> None:
    agent = ScriptAgent()
    assert [event.kind for line in (b"oops", b"[]", b'{"kind":"dance"}') for event in agent.parse(line)] == ["raw"] * 3


def test_output_beyond_what_a_result_keeps_is_counted(conversation: ScriptConversation) -> None:
    conversation.work(block(f"{sys.executable} -c \"print('x' * 50000)\""))
    output = conversation.list_payloads("tool_result")[0]["output"]
    assert output.startswith(f"[18001 characters before this]{OMISSION_MARK}xxx")
    assert json.dumps(output)
