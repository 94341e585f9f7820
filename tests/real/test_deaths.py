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

from .office import Office

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_deaths")]


def in_the_middle_of_a_tool(office: Office, program: str) -> Run:
    """A run whose agent waits in a tool for ever; what follows it is to say that the work went on."""
    went_on = 2 * "[[say: REVIEW: I went on.]]"  # a program may put a turn of its own in place of the broken one
    ticket_id = office.start(f"{program}-works", f"Remember the heron. [[bash: cat gate]]{went_on}")
    office.gate(ticket_id)
    office.until_event(ticket_id, "agent.tool_call")
    run = office.until_running(ticket_id)
    kept = (program, Path(run.config_dir or ""), str(run.conversation_id))
    wait_until(lambda: transcripts.is_kept(*kept), what="the conversation on disk")
    return run


def assert_it_went_on(office: Office, first: Run) -> None:
    """The next run ends the work in the conversation of the one that died."""
    second = office.dispatch(first.ticket_id)
    office.until(first.ticket_id, TicketStatus.IN_REVIEW)
    before, after = office.runs(first.ticket_id)
    assert second.resumes and after.conversation_id == before.conversation_id is not None
    assert after.summary == "I went on." and "heron" not in office.prompt(after)


@both
def test_a_killed_agent_is_started_again_in_the_same_conversation(program: str, office: Office) -> None:
    run = in_the_middle_of_a_tool(office, program)

    os.kill(office.agent_process(run), signal.SIGKILL)

    office.until(run.ticket_id, TicketStatus.TODO)
    [dead] = office.runs(run.ticket_id)
    assert (dead.outcome, dead.failure, dead.exit_code) == (Outcome.FAILED, Failure.KILLED, -signal.SIGKILL)
    ticket = office.get(run.ticket_id)
    assert (ticket.attempts, ticket.faults, ticket.resume) == (0, 1, True)
    assert_it_went_on(office, run)
    assert_it_begins_anew_without(office, run)


def assert_it_begins_anew_without(office: Office, run: Run) -> None:
    """A conversation that its program did not keep is begun anew, from the whole ticket."""
    for remembered in ("projects", "sessions"):
        shutil.rmtree(Path(run.config_dir or "") / remembered, ignore_errors=True)
    office.move(run.ticket_id, "request_changes", body="Once more.")
    with writing(office.engine) as session:
        session.execute(update(Ticket).values(description="Remember the heron. [[say: REVIEW: From the beginning.]]"))

    office.dispatch(run.ticket_id)

    office.until(run.ticket_id, TicketStatus.IN_REVIEW)
    *_, before, after = office.runs(run.ticket_id)
    assert not after.resumes and after.conversation_id != before.conversation_id
    assert after.summary == "From the beginning." and "heron" in office.prompt(after)


@both
def test_a_killed_wrapper_leaves_no_process_and_its_conversation_is_taken_up(program: str, office: Office) -> None:
    run = in_the_middle_of_a_tool(office, program)
    assert run.pid is not None

    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not office.wrapper_lives(run), what="the wrapper's death")
    office.make_pass()

    [lost] = office.runs(run.ticket_id)
    assert (lost.outcome, lost.failure) == (Outcome.LOST, Failure.KILLED)
    assert processes.carrying(office.bench.marker(run.id)) == []
    assert_it_went_on(office, run)
