"""Talking with the real programs while they work: questions, messages, interrupts, and leave to use a tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models import DeliveryState, Outcome, Run, TicketStatus
from tests.agents.programs import CLAUDE, CODEX, ROOT, TOOL_PREFIX, both
from tests.waiting import wait_until
from workers.agents.codex.screen import CodexScreen
from workers.host.tmux import Tmux

from .agent_installation import TOKENS_IN, AgentInstallation

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_conversations")]


@both
def test_a_question_is_answered_in_its_conversation_which_a_fork_leaves_as_it_was(
    program: str, installation: AgentInstallation
) -> None:
    ask = f'[[tool: {TOOL_PREFIX[program]}mc_ask_question {{"question":"Blue or red?","choices":["Blue","Red"]}}]]'
    ticket_id = installation.start(f"{program}-works", f"Remember the heron. {ask}[[say: I wait.]]")
    first = installation.wait_for_run_end(ticket_id, TicketStatus.NEEDS_INPUT)
    assert first.outcome is Outcome.QUESTION
    assert_a_fork_goes_on_from(program, first, installation)

    installation.move(ticket_id, "answer", body="Blue. [[say: REVIEW: Blue it is.]]")
    dispatched = installation.dispatch(ticket_id)
    second = installation.wait_for_run_end(ticket_id, TicketStatus.IN_REVIEW)

    assert dispatched.resumes and second.conversation_id == first.conversation_id and first.conversation_id
    assert installation.list_payloads(ticket_id, "agent.session")[1]["conversation_id"] == first.conversation_id
    assert second.input_tokens == TOKENS_IN, "it counts its own"
    prompt = installation.prompt(second)
    assert "**Answer by alice**:\n\nBlue." in prompt
    assert "heron" not in prompt and "How to report" not in prompt
    request = str(installation.model.requests[-1].body)
    assert "Remember the heron." in request, "the program remembers by itself"
    assert "I know it." not in request, "the fork is not part of it"


def assert_a_fork_goes_on_from(program: str, source: Run, installation: AgentInstallation) -> None:
    """Another ticket's run knows what was said, has an identity of its own, and tells only what is said in it."""
    link = {"kind": "fork_of", "ticket": installation.get(source.ticket_id).identifier}
    fork = installation.start(f"{program}-works", "[[say: REVIEW: I know it.]]", relationships=[link])

    run = installation.wait_for_run_end(fork, TicketStatus.IN_REVIEW)
    assert (run.summary, run.forks, run.resumes) == ("I know it.", source.conversation_id, False)
    assert run.conversation_id not in (None, source.conversation_id)
    assert "Remember the heron." in str(installation.model.requests[-1].body), "the program remembers by itself"
    assert [payload["text"] for payload in installation.list_payloads(fork, "agent.text")] == ["REVIEW: I know it."]
    assert run.input_tokens == TOKENS_IN
    prompt = installation.prompt(run)
    assert "a copy of your conversation about" in prompt and f"on branch {source.branch}" in prompt


@both
def test_messages_to_a_busy_agent_wait_for_its_turn_and_begin_one_each(
    program: str, installation: AgentInstallation
) -> None:
    ticket_id = installation.start(f"{program}-free", "[[bash: cat gate]][[say: REVIEW: I have heard nothing.]]")
    gate = installation.gate(ticket_id)
    installation.wait_for_event(ticket_id, "agent.tool_call")

    bodies = ("The first remark. [[say: Noted.]]", "The second remark. [[say: REVIEW: I have heard both.]]")
    uuids = [installation.message(ticket_id, body) for body in bodies]
    for uuid in uuids:
        installation.wait_for_event(ticket_id, "agent.receipt", uuid=uuid)
    gate.write_text("open")
    installation.until(ticket_id, TicketStatus.IN_REVIEW)

    results = [payload["text"] for payload in installation.list_payloads(ticket_id, "agent.result")]
    assert results == ["REVIEW: I have heard nothing.", "Noted.", "REVIEW: I have heard both."]
    messages = installation.messages(ticket_id)
    assert [(entry.uuid, entry.state) for entry in messages] == [(uuid, DeliveryState.ACCEPTED) for uuid in uuids]
    for uuid in uuids:
        receipts = [
            payload["state"]
            for payload in installation.list_payloads(ticket_id, "agent.receipt")
            if payload["uuid"] == uuid
        ]
        assert receipts == ["queued", "delivered", "accepted"]
    request_body = json.dumps(installation.model.requests[-1].body)
    assert [request_body.count(remark) for remark in ("The first remark.", "The second remark.")] == [1, 1]
    inputs = [
        payload["text"]
        for payload in installation.list_payloads(ticket_id, "agent.input")
        if payload["source"] == "message"
    ]
    assert inputs == list(bodies)


@both
def test_a_message_can_interrupt_a_turn_and_the_conversation_goes_on(
    program: str, installation: AgentInstallation
) -> None:
    before = len(installation.model.requests)
    ticket_id = installation.start(f"{program}-works", "[[hang: 60]]")
    wait_until(
        lambda: any(entry.step == "hang" for entry in installation.model.requests[before:]), 20, description="a turn"
    )

    uuid = installation.message(ticket_id, "Stop that. [[say: REVIEW: I have turned around.]]", mode="interrupt")

    run = installation.wait_for_run_end(ticket_id, TicketStatus.IN_REVIEW)
    assert (run.outcome, run.summary) == (Outcome.REVIEW, "I have turned around.")
    assert [payload.get("stop_reason") for payload in installation.list_payloads(ticket_id, "agent.result")] == [
        "interrupted",
        "completed",
    ]
    [message] = installation.messages(ticket_id)
    assert (message.uuid, message.state) == (uuid, DeliveryState.ACCEPTED)
    assert installation.get(ticket_id).faults == 0


@both
def test_a_person_decides_on_each_tool_when_the_profile_says_ask(program: str, installation: AgentInstallation) -> None:
    steps = "".join(f"[[{_build_write_step(program, name)}]]" for name in ("allowed.txt", "denied.txt"))
    ticket_id = installation.start(f"{program}-asks", f"{steps}[[say: REVIEW: That is all.]]")

    for name, behavior in (("allowed.txt", "allow"), ("denied.txt", "deny")):
        request = installation.wait_for_request(ticket_id)
        assert request.kind == "approval" and f"echo yes > {name}" in request.payload["title"]
        installation.reply(ticket_id, request=request.request, behavior=behavior, message="Not today.")

    installation.until(ticket_id, TicketStatus.IN_REVIEW)
    dirty = [entry.data for entry in installation.evidence(ticket_id) if entry.kind == "uncommitted"]
    assert dirty == [{"paths": ["allowed.txt"]}]
    assert [payload["behavior"] for payload in installation.list_payloads(ticket_id, "request_answered")] == [
        "allow",
        "deny",
    ]
    results = [str(payload) for payload in installation.list_payloads(ticket_id, "agent.tool_result")]
    assert ["Not today." in result for result in results] == [False, program == "claude"]
    assert len(installation.runs(ticket_id)) == 1, "the same process went on"


def _build_write_step(program: str, name: str) -> str:
    """A step that writes a file and needs leave for it."""
    command = f"sh -c 'echo yes > {name}'"
    if program == "claude":
        return f"tool: Bash {json.dumps({'command': command, 'dangerouslyDisableSandbox': True})}"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "a test"}
    return f"tool: exec_command {json.dumps(escalated)}"


@pytest.mark.parametrize("program", [CODEX])
def test_a_person_joins_the_conversation_beside_the_worker(
    program: str, installation: AgentInstallation, tmp_path: Path
) -> None:
    ticket_id = installation.start(f"{program}-works", "[[bash: cat gate]][[say: It works.]]")
    installation.gate(ticket_id)
    installation.wait_for_event(ticket_id, "agent.tool_call")
    tmux = Tmux("joining", tmp_path / "tmux")
    argv = [sys.executable, str(ROOT / "mc_cli.py"), "attach", "--join", installation.get(ticket_id).identifier]
    try:
        pane = tmux.new_session("mc-joining", argv, ROOT, installation.environment)
        wait_until(lambda: "Work this ticket" in tmux.capture(pane, 60), description="the conversation on the screen")
        words = "Stop waiting. [[say: REVIEW: I heard you.]]"

        CodexScreen().submit(tmux, pane, words)

        run = installation.wait_for_run_end(ticket_id, TicketStatus.IN_REVIEW)
        assert run.summary == "I heard you." and words in [
            payload["text"] for payload in installation.list_payloads(ticket_id, "agent.input")
        ]
        wait_until(
            lambda: all(entry.dead for entry in tmux.list_panes()), description="the end of the screen with its run"
        )
    finally:
        subprocess.run(tmux.argv("kill-server"), env=tmux.environment, check=False)


@pytest.mark.parametrize("program", [CLAUDE])
def test_only_what_can_be_joined_is(program: str, installation: AgentInstallation) -> None:
    ticket_id = installation.start(f"{program}-works", "[[bash: cat gate]][[say: REVIEW: Done.]]")
    gate = installation.gate(ticket_id)
    installation.wait_for_event(ticket_id, "agent.tool_call")
    argv = [sys.executable, str(ROOT / "mc_cli.py"), "attach", "--join", installation.get(ticket_id).identifier]
    completed = subprocess.run(argv, env=installation.environment, capture_output=True, text=True, check=False)
    assert completed.returncode == 1 and "cannot be joined" in completed.stderr and "takeover" in completed.stderr
    gate.write_text("open")
    installation.until(ticket_id, TicketStatus.IN_REVIEW)
