"""The real programs and their wrappers killed in the middle of a tool: the work goes on where it stopped."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from sqlalchemy import update

from database import writing
from models import Failure, Outcome, Run, Ticket, TicketStatus
from tests.agents.programs import both
from tests.waiting import wait_until
from workers.agents import transcripts
from workers.host import processes

from .agent_installation import AgentInstallation

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_deaths")]


def start_in_tool(installation: AgentInstallation, program: str) -> Run:
    """A run whose agent waits in a tool for ever; what follows it is to say that the work went on."""
    went_on = 2 * "[[say: REVIEW: I went on.]]"  # a program may put a turn of its own in place of the broken one
    ticket_id = installation.start(f"{program}-works", f"Remember the heron. [[bash: cat gate]]{went_on}")
    installation.gate(ticket_id)
    installation.wait_for_event(ticket_id, "agent.tool_call")
    run = installation.wait_until_running(ticket_id)
    conversation = (program, Path(run.config_dir or ""), str(run.conversation_id))
    wait_until(lambda: transcripts.has_conversation(*conversation), description="the conversation on disk")
    return run


def assert_it_went_on(installation: AgentInstallation, first: Run) -> None:
    """The next run ends the work in the conversation of the one that died."""
    second = installation.dispatch(first.ticket_id)
    installation.until(first.ticket_id, TicketStatus.IN_REVIEW)
    before, after = installation.runs(first.ticket_id)
    assert second.resumes and after.conversation_id == before.conversation_id is not None
    assert after.summary == "I went on." and "heron" not in installation.prompt(after)


@both
def test_a_killed_agent_is_started_again_in_the_same_conversation(
    program: str, installation: AgentInstallation
) -> None:
    run = start_in_tool(installation, program)

    os.kill(installation.agent_process(run), signal.SIGKILL)

    installation.until(run.ticket_id, TicketStatus.TODO)
    [dead] = installation.runs(run.ticket_id)
    assert (dead.outcome, dead.failure, dead.exit_code) == (Outcome.FAILED, Failure.KILLED, -signal.SIGKILL)
    ticket = installation.get(run.ticket_id)
    assert (ticket.attempts, ticket.faults, ticket.resume) == (0, 1, True)
    assert_it_went_on(installation, run)
    assert_it_begins_anew_without(installation, run)


def assert_it_begins_anew_without(installation: AgentInstallation, run: Run) -> None:
    """A conversation that its program did not keep is begun anew, from the whole ticket."""
    for folder_name in ("projects", "sessions"):
        shutil.rmtree(Path(run.config_dir or "") / folder_name, ignore_errors=True)
    installation.move(run.ticket_id, "request_changes", body="Once more.")
    with writing(installation.engine) as session:
        session.execute(update(Ticket).values(description="Remember the heron. [[say: REVIEW: From the beginning.]]"))

    installation.dispatch(run.ticket_id)

    installation.until(run.ticket_id, TicketStatus.IN_REVIEW)
    *_, before, after = installation.runs(run.ticket_id)
    assert not after.resumes and after.conversation_id != before.conversation_id
    assert after.summary == "From the beginning." and "heron" in installation.prompt(after)


@both
def test_a_killed_wrapper_leaves_no_process_and_its_conversation_is_taken_up(
    program: str, installation: AgentInstallation
) -> None:
    run = start_in_tool(installation, program)
    assert run.pid is not None

    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not installation.is_wrapper_alive(run), description="the wrapper's death")
    installation.make_pass()

    [lost] = installation.runs(run.ticket_id)
    assert (lost.outcome, lost.failure) == (Outcome.LOST, Failure.KILLED)
    assert processes.find_by_marker(installation.context.marker(run.id)) == []
    assert_it_went_on(installation, run)
