"""Talking with the real programs while they work: questions, messages, interrupts, and leave to use a tool."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from models import DeliveryState, Outcome, Run, TicketStatus
from tests.agents.programs import CLAUDE, CODEX, ROOT, TOOL, both
from tests.waiting import wait_until
from workers.agents.tui.codex_screen import CodexScreen
from workers.host.tmux import Tmux

from .office import TOKENS_IN, Office

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_conversations")]


@both
def test_a_question_is_answered_in_its_conversation_which_a_fork_leaves_as_it_was(program: str, office: Office) -> None:
    ask = f'[[tool: {TOOL[program]}mc_ask_question {{"question":"Blue or red?","choices":["Blue","Red"]}}]]'
    ticket_id = office.start(f"{program}-works", f"Remember the heron. {ask}[[say: I wait.]]")
    first = office.work_off(ticket_id, TicketStatus.NEEDS_INPUT)
    assert first.outcome is Outcome.QUESTION
    assert_a_fork_goes_on_from(program, first, office)

    office.move(ticket_id, "answer", body="Blue. [[say: REVIEW: Blue it is.]]")
    dispatched = office.dispatch(ticket_id)
    second = office.work_off(ticket_id, TicketStatus.IN_REVIEW)

    assert dispatched.resumes and second.conversation_id == first.conversation_id and first.conversation_id
    assert office.told(ticket_id, "agent.session")[1]["conversation_id"] == first.conversation_id
    assert second.input_tokens == TOKENS_IN, "it counts its own"
    prompt = office.prompt(second)
    assert "**Answer by alice**:\n\nBlue." in prompt
    assert "heron" not in prompt and "How to report" not in prompt
    request = str(office.model.requests[-1].body)
    assert "Remember the heron." in request, "the program remembers by itself"
    assert "I know it." not in request, "the fork is not part of it"


def assert_a_fork_goes_on_from(program: str, source: Run, office: Office) -> None:
    """Another ticket's run knows what was said, has an identity of its own, and tells only what is said in it."""
    link = {"kind": "fork_of", "ticket": office.get(source.ticket_id).identifier}
    fork = office.start(f"{program}-works", "[[say: REVIEW: I know it.]]", relationships=[link])

    run = office.work_off(fork, TicketStatus.IN_REVIEW)
    assert (run.summary, run.forks, run.resumes) == ("I know it.", source.conversation_id, False)
    assert run.conversation_id not in (None, source.conversation_id)
    assert "Remember the heron." in str(office.model.requests[-1].body), "the program remembers by itself"
    assert [told["text"] for told in office.told(fork, "agent.text")] == ["REVIEW: I know it."]
    assert run.input_tokens == TOKENS_IN
    prompt = office.prompt(run)
    assert "a copy of your conversation about" in prompt and f"on branch {source.branch}" in prompt


@both
def test_messages_to_a_busy_agent_arrive_once_each_and_in_order(program: str, office: Office) -> None:
    ticket_id = office.start(f"{program}-works", "[[bash: cat gate]][[say: REVIEW: I have heard both.]]")
    gate = office.gate(ticket_id)
    office.until_event(ticket_id, "agent.tool_call")

    sent = [office.message(ticket_id, body) for body in ("The first remark.", "The second remark.")]
    for uuid in sent:
        office.until_event(ticket_id, "agent.receipt", uuid=uuid)
    gate.write_text("open")
    office.until(ticket_id, TicketStatus.IN_REVIEW)

    messages = office.messages(ticket_id)
    assert [(each.uuid, each.state) for each in messages] == [(uuid, DeliveryState.ACCEPTED) for uuid in sent]
    for uuid in sent:
        receipts = [told["state"] for told in office.told(ticket_id, "agent.receipt") if told["uuid"] == uuid]
        assert receipts == ["queued", "delivered", "accepted"]
    heard = json.dumps(office.model.requests[-1].body)
    assert [heard.count(remark) for remark in ("The first remark.", "The second remark.")] == [1, 1]
    assert heard.index("The first remark.") < heard.index("The second remark.")
    inputs = [told["text"] for told in office.told(ticket_id, "agent.input") if told["source"] == "message"]
    assert inputs == ["The first remark.", "The second remark."]


@both
def test_a_message_can_interrupt_a_turn_and_the_conversation_goes_on(program: str, office: Office) -> None:
    before = len(office.model.requests)
    ticket_id = office.start(f"{program}-works", "[[hang: 60]]")
    wait_until(lambda: any(each.step == "hang" for each in office.model.requests[before:]), 20, what="a turn")

    uuid = office.message(ticket_id, "Stop that. [[say: REVIEW: I have turned around.]]", mode="interrupt")

    run = office.work_off(ticket_id, TicketStatus.IN_REVIEW)
    assert (run.outcome, run.summary) == (Outcome.REVIEW, "I have turned around.")
    assert [told.get("stop_reason") for told in office.told(ticket_id, "agent.result")] == ["interrupted", "completed"]
    [message] = office.messages(ticket_id)
    assert (message.uuid, message.state) == (uuid, DeliveryState.ACCEPTED)
    assert office.get(ticket_id).faults == 0


@both
def test_a_person_decides_on_each_tool_when_the_profile_says_ask(program: str, office: Office) -> None:
    steps = "".join(f"[[{_asking(program, name)}]]" for name in ("allowed.txt", "denied.txt"))
    ticket_id = office.start(f"{program}-asks", f"{steps}[[say: REVIEW: That is all.]]")

    for name, behavior in (("allowed.txt", "allow"), ("denied.txt", "deny")):
        request = office.asked(ticket_id)
        assert request.kind == "approval" and f"echo yes > {name}" in request.payload["title"]
        office.reply(ticket_id, request=request.request, behavior=behavior, message="Not today.")

    office.until(ticket_id, TicketStatus.IN_REVIEW)
    dirty = [each.data for each in office.evidence(ticket_id) if each.kind == "uncommitted"]
    assert dirty == [{"paths": ["allowed.txt"]}]
    assert [told["behavior"] for told in office.told(ticket_id, "request_answered")] == ["allow", "deny"]
    results = [str(told) for told in office.told(ticket_id, "agent.tool_result")]
    assert ["Not today." in result for result in results] == [False, program == "claude"]
    assert len(office.runs(ticket_id)) == 1, "the same process went on"


def _asking(program: str, name: str) -> str:
    """A step that writes a file and needs leave for it."""
    command = f"echo yes > {name}"
    escalated = {"cmd": command, "sandbox_permissions": "require_escalated", "justification": "a test"}
    return f"tool: exec_command {json.dumps(escalated)}" if program == "codex" else f"bash: {command}"


@pytest.mark.parametrize("program", [CODEX])
def test_a_person_joins_the_conversation_beside_the_worker(program: str, office: Office, tmp_path: Path) -> None:
    ticket_id = office.start(f"{program}-works", "[[bash: cat gate]][[say: It works.]]")
    office.gate(ticket_id)
    office.until_event(ticket_id, "agent.tool_call")
    tmux = Tmux("joining", tmp_path / "tmux")
    argv = [sys.executable, str(ROOT / "mc_cli.py"), "attach", "--join", office.get(ticket_id).identifier]
    try:
        pane = tmux.new_session("mc-joining", argv, ROOT, office.environment)
        wait_until(lambda: "Work this ticket" in tmux.capture(pane, 60), what="the conversation on the screen")
        words = "Stop waiting. [[say: REVIEW: I heard you.]]"

        CodexScreen().submit(tmux, pane, words)

        run = office.work_off(ticket_id, TicketStatus.IN_REVIEW)
        assert run.summary == "I heard you." and words in [
            told["text"] for told in office.told(ticket_id, "agent.input")
        ]
        wait_until(lambda: all(each.dead for each in tmux.panes()), what="the end of the screen with its run")
    finally:
        subprocess.run(tmux.argv("kill-server"), env=tmux.environment, check=False)


@pytest.mark.parametrize("program", [CLAUDE])
def test_only_what_can_be_joined_is(program: str, office: Office) -> None:
    ticket_id = office.start(f"{program}-works", "[[bash: cat gate]][[say: REVIEW: Done.]]")
    gate = office.gate(ticket_id)
    office.until_event(ticket_id, "agent.tool_call")
    argv = [sys.executable, str(ROOT / "mc_cli.py"), "attach", "--join", office.get(ticket_id).identifier]
    refused = subprocess.run(argv, env=office.environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1 and "cannot be joined" in refused.stderr and "takeover" in refused.stderr
    gate.write_text("open")
    office.until(ticket_id, TicketStatus.IN_REVIEW)
