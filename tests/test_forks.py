"""Tickets that begin with a copy of another one's conversation."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, delete, select, update

from database import reading, writing
from models import Agent, Run, TicketComment, TicketRelationship
from tickets.runs import claims, forks, sessions
from tickets.shared import lookup
from tickets.shared.errors import ConflictError
from tickets.workflow import relationships

from .test_prompt import end, hear, prompt_of
from .test_sessions import begin, claimed
from .test_spine import ALICE, make


@pytest.fixture(autouse=True)
def clear_slots(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(Agent).values(capacity=9))


def fork_of(engine: Engine, source: int, **facts: Any) -> int:
    ticket_id = make(engine, **{"assigned_to": "claude"} | facts)
    with writing(engine) as session:
        relationships.relate(session, ticket_id, "fork_of", source, ALICE)
    return ticket_id


def fork_of_spoken(engine: Engine) -> int:
    """A fork of a ticket that has said "c-1" with Claude Code."""
    source = make(engine, assigned_to="claude")
    begin(engine, source, "c-1", config_dir="/runs/1/config")
    return fork_of(engine, source)


def copied(engine: Engine, ticket_id: int) -> str | None:
    """The conversation that the ticket's next run is given a copy of."""
    with writing(engine) as session:
        claim = claims.claim_ticket(session, ticket_id, "here")
        return claim.source.id if claim.source else None


def comments(engine: Engine, ticket_id: int) -> list[str]:
    with reading(engine) as session:
        return list(session.scalars(select(TicketComment.body).where(TicketComment.ticket_id == ticket_id)))


@pytest.mark.both_databases
def test_the_first_run_is_given_the_conversation_of_the_other_ticket(engine: Engine) -> None:
    fork = fork_of_spoken(engine)
    assert copied(engine, fork) == "c-1"


def test_later_runs_go_on_with_their_own(engine: Engine) -> None:
    fork = fork_of_spoken(engine)
    begin(engine, fork, "c-2", config_dir="/runs/2/config")
    run = claimed(engine, fork)
    assert (run.resumes, run.conversation_id) == (True, "c-2")


def test_a_run_that_never_began_is_followed_by_another_with_the_copy(engine: Engine) -> None:
    fork = fork_of_spoken(engine)
    end(engine, claimed(engine, fork), verdict="failed", failure={"class": "environment", "message": "No."})
    assert copied(engine, fork) == "c-1"


def test_a_conversation_that_was_named_and_may_not_be_kept_has_the_copy_behind_it(engine: Engine) -> None:
    """Regression: a run that died before its program had written anything down cost the fork its copy, and nobody was told."""
    fork = fork_of_spoken(engine)
    begin(engine, fork, "c-2", config_dir="/runs/2/config")
    with writing(engine) as session:
        claim = claims.claim_ticket(session, fork, "here")
    assert claim.run.resumes and claim.source and claim.source.id == "c-1"


def test_who_begins_anew_on_purpose_gets_no_copy_again(engine: Engine) -> None:
    fork = fork_of_spoken(engine)
    begin(engine, fork, "c-2", config_dir="/runs/2/config")
    with writing(engine) as session:
        sessions.abandon_conversation(session, fork)
    assert copied(engine, fork) is None


def test_a_conversation_that_was_given_up_is_not_offered_as_one_to_fork(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    begin(engine, ticket_id, "c-1", config_dir="/runs/1/config")
    with writing(engine) as session:
        assert forks.find_speaker(session, lookup.get_ticket(session, ticket_id)) == "claude"
        sessions.abandon_conversation(session, ticket_id)
        assert forks.find_speaker(session, lookup.get_ticket(session, ticket_id)) is None


def test_another_program_cannot_read_it_and_that_is_said(engine: Engine) -> None:
    source = make(engine, assigned_to="codex")
    begin(engine, source, "c-1", config_dir="/runs/1/config")
    fork = fork_of(engine, source)
    run = claimed(engine, fork)
    with writing(engine) as session:
        forks.report_missing_source(session, run)
        run.generation = 2
        forks.report_missing_source(session, run)
    notice = "No conversation of MC-1 with claude is kept here. This one begins anew."
    assert comments(engine, fork).count(notice) == 1


def test_nothing_is_said_of_a_run_that_has_its_copy_or_needs_none(engine: Engine) -> None:
    source = make(engine, assigned_to="claude")
    begin(engine, source, "c-1", config_dir="/runs/1/config")
    fork, other = fork_of(engine, source), make(engine)
    for run in (claimed(engine, fork), claimed(engine, other)):
        before = comments(engine, run.ticket_id)
        with writing(engine) as session:
            claims.record_workspace(session, run.id, forks="c-1" if run.ticket_id == fork else None)
            forks.report_missing_source(session, session.get_one(Run, run.id))
        assert comments(engine, run.ticket_id) == before


def test_the_prompt_says_what_is_a_copy_and_what_is_not_here(engine: Engine) -> None:
    source = make(engine, assigned_to="claude")
    begin(engine, source, "c-1", config_dir="/runs/1/config", repository="/srv/web", branch="mc/MC-1-x")
    fork = fork_of(engine, source, description="The long description.")
    run = claimed(engine, fork)
    with writing(engine) as session:
        claims.record_workspace(session, run.id, forks="c-1", workspace="/here", repository="/srv/web")
        run = session.get_one(Run, run.id)
    text = prompt_of(engine, run)
    assert "The long description." in text and "## How to report" in text
    assert "a copy of your conversation about MC-1" in text and "you work in /here." in text
    assert "on branch mc/MC-1-x" in text
    with writing(engine) as session:
        session.execute(delete(TicketRelationship))
    assert "a copy of your conversation about MC-1" in prompt_of(engine, run), (
        "it has it, whatever is said of the ticket"
    )
    run.repository = "/srv/other"
    assert "mc/MC-1-x" not in prompt_of(engine, run), "there is no such branch in another repository"


def test_a_prompt_without_a_copy_says_nothing_of_one(engine: Engine) -> None:
    fork = fork_of(engine, make(engine))
    run = claimed(engine, fork)
    hear(engine, run)
    assert "A copy of a conversation" not in prompt_of(engine, run)


@pytest.mark.both_databases
def test_a_ticket_is_a_fork_of_one_and_from_its_beginning(engine: Engine) -> None:
    first, second = make(engine), make(engine)
    fork = fork_of(engine, first)
    with writing(engine) as session, pytest.raises(ConflictError, match="already a fork of another one"):
        relationships.relate(session, fork, "fork_of", second, ALICE)
    claimed(engine, second)
    with writing(engine) as session, pytest.raises(ConflictError, match="ticket without runs"):
        relationships.relate(session, first, "forked_as", second, ALICE)
