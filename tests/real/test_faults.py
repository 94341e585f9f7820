"""When the model service fails the real programs: each failure has its one consequence, and nothing is forgotten."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from database import writing
from models import Failure, Outcome, TicketStatus, WakeKind, now
from tests.agents.programs import CLAUDE, CODEX, both
from tests.jobs.installation import ALICE
from tickets.conversation import timeline
from tickets.conversation.timeline import NewComment

from .agent_installation import AgentInstallation

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_faults")]

FAULTS = [
    pytest.param(program.values[0], step, failure, id=f"{program.id}-{failure}")
    for program, step, failure in (
        (CLAUDE, "error: 429", Failure.RATE_LIMIT),
        (CODEX, "drop", Failure.NETWORK),
    )
]
"""How each program shows the other faults is in the recordings; the board goes by the class alone."""


def add_comment(installation: AgentInstallation, ticket_id: int, words: str) -> None:
    with writing(installation.engine) as session:
        timeline.add_comment(session, ticket_id, NewComment(body=words), ALICE)


@both
def test_a_refused_key_blocks_the_ticket_for_the_operator_at_once(
    program: str, installation: AgentInstallation
) -> None:
    ticket_id = installation.start(f"{program}-works", "[[error: 401]]")

    run = installation.wait_for_run_end(ticket_id, TicketStatus.BLOCKED)

    ticket = installation.get(ticket_id)
    assert (run.outcome, run.failure) == (Outcome.FAILED, Failure.AUTHENTICATION)
    assert ticket.block is not None and (ticket.block["reason"], ticket.block["owner"]) == ("environment", "operator")
    assert "Log in" in ticket.block["next_action"]
    assert (ticket.attempts, len(installation.runs(ticket_id))) == (0, 1)
    assert any("RUNTIME TERMINAL STATE" in body for body in installation.comments(ticket_id))


def test_a_budget_ends_a_headless_claude_in_the_middle_of_its_turn(installation: AgentInstallation) -> None:
    """Each answer of the model takes 120 tokens; the turn of eight would take 960, and its result came too late to stop it."""
    ticket_id = installation.start("claude-thrifty", "[[bash: echo one]] " * 7 + "[[say: DONE: eight]]")

    run = installation.wait_for_run_end(ticket_id, TicketStatus.WAITING)

    assert (run.failure or run.stop_code) == "budget"
    assert 250 < run.input_tokens + run.output_tokens <= 250 + 2 * 120
    assert run.cost_usd is not None and run.cost_usd >= (200 * 3 + 20 * 15) / 1e6, "what was seen is counted"


@pytest.mark.parametrize(("program", "step", "failure"), FAULTS)
def test_a_fault_of_the_service_is_tried_again_later_in_the_same_conversation(
    program: str, step: str, failure: Failure, installation: AgentInstallation
) -> None:
    ticket_id = installation.start(f"{program}-works", f"[[{step}]]")

    first = installation.wait_for_run_end(ticket_id, TicketStatus.TODO)

    ticket = installation.get(ticket_id)
    assert (first.outcome, first.failure) == (Outcome.FAILED, failure)
    assert (ticket.attempts, ticket.faults, ticket.resume) == (0, 1, True)
    assert first.ended is not None and ticket.not_before is not None and ticket.not_before > first.ended
    add_comment(installation, ticket_id, "[[say: REVIEW: The service is back.]]")
    second = installation.dispatch(ticket_id)
    installation.until(ticket_id, TicketStatus.IN_REVIEW)
    assert second.resumes and second.conversation_id == first.conversation_id


@both
def test_a_service_that_cannot_be_reached_costs_no_attempt(program: str, installation: AgentInstallation) -> None:
    ticket_id = installation.start(f"{program}-offline", "[[say: DONE: never heard]]")

    run = installation.wait_for_run_end(ticket_id, TicketStatus.TODO)

    ticket = installation.get(ticket_id)
    assert (run.outcome, run.failure) == (Outcome.FAILED, Failure.NETWORK)
    assert (ticket.attempts, ticket.faults) == (0, 1)
    assert run.ended is not None and ticket.not_before is not None and ticket.not_before > run.ended


@both
def test_a_used_up_allowance_parks_the_ticket_until_it_is_reset(program: str, installation: AgentInstallation) -> None:
    reset = datetime.fromtimestamp(int(time.time()) // 60 * 60 + 7200, UTC)
    ticket_id = installation.start(f"{program}-plan", f"[[limit: {int(reset.timestamp())}]]")

    first = installation.wait_for_run_end(ticket_id, TicketStatus.WAITING)

    ticket = installation.get(ticket_id)
    assert (first.outcome, first.failure) == (Outcome.USAGE_LIMITED, Failure.USAGE_LIMIT)
    assert ticket.wake is not None and ticket.wake["kind"] == WakeKind.USAGE_RESET
    assert (ticket.wake_at, ticket.attempts, ticket.faults) == (reset, 0, 0)
    add_comment(installation, ticket_id, "[[say: REVIEW: Allowed again.]]")
    assert installation.make_pass().summary["claimed"] == [] and now() < reset
    second = installation.dispatch(ticket_id)
    installation.until(ticket_id, TicketStatus.IN_REVIEW)
    assert second.resumes and second.conversation_id == first.conversation_id
