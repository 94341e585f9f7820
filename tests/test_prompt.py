"""What an agent is told, first and later."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import ActorKind, Agent, Profile, Run, Ticket
from tickets.conversation import reviews, timeline
from tickets.conversation.reviews import NewReview
from tickets.conversation.timeline import NewComment
from tickets.lifecycle import editing, transitions
from tickets.runs import claims, ingest, prompt, reports, takeover
from tickets.runs.ingest import WorkerEvent
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, NotFound
from tickets.shared.inputs import EditTicket
from tickets.team import projects
from tickets.team.projects import NewProject
from tickets.workflow import relationships

from .test_sessions import claimed
from .test_spine import ALICE, make


def prompt_of(engine: Engine, run: Run) -> str:
    with reading(engine) as session:
        return prompt.compose_prompt(session, lookup.get_ticket(session, run.ticket_id), run)


def say(engine: Engine, ticket_id: int, words: str) -> None:
    with writing(engine) as session:
        timeline.add_comment(session, ticket_id, NewComment(body=words), ALICE)


def hear(engine: Engine, run: Run, conversation_id: str = "c-1") -> None:
    """The run's program has begun: its prompt has arrived."""
    event = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.session"}
    session_event = event | {"payload": {"conversation_id": conversation_id}}
    with writing(engine) as session:
        claims.record_workspace(session, run.id, config_dir="/kept")
        ingest.ingest_events(session, run.id, [WorkerEvent.model_validate(session_event)])


def end(engine: Engine, run: Run, **report: Any) -> None:
    with writing(engine) as session:
        reports.apply_report(session, run.id, reports.RunReport(**report), reports.RetryPolicy(backoff_seconds=0))


def test_a_first_prompt_names_the_ticket_the_order_and_everything_that_counts(engine: Engine) -> None:
    with writing(engine) as session:
        session.execute(update(Agent).values(capacity=9))
        body = NewProject(slug="web", name="Web", folder="/srv/web", check_command=["make", "test"])
        projects.add_project(session, body, ALICE)
    other = make(engine, title="The other one")
    facts = {"project": "web", "acceptance": [{"text": "It is documented"}], "description": "Do it.\n"}
    ticket_id = make(engine, title="Add a door", **facts)
    with writing(engine) as session:
        relationships.add_relationship(session, ticket_id, "relates_to", other, ALICE)
    say(engine, ticket_id, "Mind the step.")

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert text.startswith(f"MC-2: Add a door\n\n{prompt.ORDER}\n\nDo it.\n\n{prompt.END_OF_DESCRIPTION}\n")
    for part in ("0. [ ] It is documented", "`make test`", "relates to: MC-1 The other one", "Mind the step."):
        assert part in text
    assert "Ticket picked up" not in text


@pytest.mark.both_databases
def test_a_resumed_conversation_is_told_only_what_is_new(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude", description="The long description.")
    say(engine, ticket_id, "Said before.")
    first = claimed(engine, ticket_id)
    hear(engine, first)
    say(engine, ticket_id, "Said while it worked.")
    end(engine, first, verdict="question", summary="Red or blue?", question={"request": "1"})
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "answer", ALICE, body="Blue.")

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert "Said while it worked." in text and "**Answer by alice**:\n\nBlue." in text
    assert "The long description." not in text and "Said before." not in text and "Red or blue?" not in text


def test_an_agent_is_told_which_comments_on_lines_are_open(engine: Engine) -> None:
    ticket_id, other = make(engine, assigned_to="claude"), make(engine)
    first = claimed(engine, ticket_id)
    hear(engine, first)
    end(engine, first, verdict="review", summary="Look.")
    comments = [{"path": "a.py", "line": line, "body": f"Why {line}?\n\nSay it."} for line in (3, 7, 9)]
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        content = {"base": "b" * 40, "head": "a" * 40, "comments": comments, "version": ticket.version}
        reviews.send_review(session, ticket, NewReview.model_validate(content), ALICE, "alice")
        reviews.resolve_comment(session, ticket_id, 2, True, ALICE)
        with pytest.raises(Forbidden):
            reviews.resolve_comment(session, ticket_id, 1, True, Actor(ActorKind.RUN, "claude", first.id))
        with pytest.raises(NotFound):
            reviews.get_comment(session, other, 1)

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert "- Comment 1 on `a.py:3`: Why 3?\n  \n  Say it." in text and "These are open: 1, 3.\n" in text


def test_a_program_that_remembers_nothing_is_told_everything_again(engine: Engine) -> None:
    """The script agent holds no conversation: without the description it would have nothing to run."""
    ticket_id = make(engine, assigned_to="script", description="```sh\nmake all\n```")
    first = claimed(engine, ticket_id)
    session_event = {
        "run_seq": 1,
        "ts": "2026-01-01T00:00:00Z",
        "event_type": "agent.session",
        "payload": {"version": "1"},
    }
    with writing(engine) as session:
        ingest.ingest_events(session, first.id, [WorkerEvent.model_validate(session_event)])
    end(engine, first, verdict="question", summary="Red or blue?", question={"request": "1"})
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "answer", ALICE, body="Blue.")

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert text.index("make all") < text.index(prompt.END_OF_DESCRIPTION) < text.index("Blue.")


def test_an_answer_is_told_again_until_a_run_has_reached_its_agent(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude")
    first = claimed(engine, ticket_id)
    hear(engine, first)
    end(engine, first, verdict="question", summary="Which?", question={"request": "1"})
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "answer", ALICE, body="The blue one.")
    unheard = claimed(engine, ticket_id)
    end(engine, unheard, verdict="failed", failure={"class": "environment", "message": "The disk was full."})

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert "The blue one." in text and "The disk was full." in text


def test_a_prompt_says_where_the_agent_works_what_it_may_do_and_how_it_ends(engine: Engine) -> None:
    with writing(engine) as session:
        projects.add_project(session, NewProject(slug="web", name="Web", folder="/srv/web", base_branch="trunk"), ALICE)
    places = {"workspace": "/work/pool-1", "branch": "mc/MC-1-it", "base_sha": "a" * 40}
    run = claimed(engine, make(engine, project="web", assigned_to="claude"))
    with writing(engine) as session:
        claims.record_workspace(session, run.id, **places)
        run = lookup.get_run(session, run.id)
    text = prompt_of(engine, run)
    assert f"\n{prompt.END_OF_DESCRIPTION}\n\n## Where you work\n\nYou work in the worktree /work/pool-1" in text
    for part in (
        "branch mc/MC-1-it, which was made from trunk at commit aaaaaaaaaaaa.",
        "do not push",
        "end with your run",
    ):
        assert part in text
    assert prompt.describe_permissions("workspace") in text and "Leave a clean working tree" in text
    assert "Report through the mc-coord tools" in text

    with writing(engine) as session:
        session.execute(update(Profile).values(instruction="Work slowly.", permissions="ask"))
        claims.record_workspace(session, run.id, branch=None)
        run = lookup.get_run(session, run.id)
    text = prompt_of(engine, run)
    assert text.startswith("MC-1: Write a line\n\nWork slowly.\n\n") and prompt.ORDER not in text
    assert "You work in the folder /work/pool-1" in text and prompt.describe_permissions("ask") in text


@pytest.mark.both_databases
def test_a_resumed_run_is_given_new_items_a_new_phase_and_what_a_person_did_at_its_screen(engine: Engine) -> None:
    ticket_id = make(engine, assigned_to="claude", acceptance=["It is fast"], description="As it was.")
    say(engine, ticket_id, "Said before.")
    hear(engine, own_run := claimed(engine, ticket_id))
    say(engine, ticket_id, "Said to the agent.")
    commits = [{"sha": letter * 40, "subject": f"Commit {letter}"} for letter in "ab"]
    with writing(engine) as session:
        takeover.take_over(session, ticket_id, ALICE)
    end(engine, own_run, verdict="stopped", observations={"commits": commits[:1]})
    screen_run = claimed(engine, ticket_id)
    hear(engine, screen_run)
    with writing(engine) as session:
        takeover.hand_back(session, ticket_id, ALICE)
    end(engine, screen_run, verdict="stopped", observations={"commits": commits})
    next_run = claimed(engine, ticket_id)
    text = prompt_of(engine, next_run)
    assert "## Handed back" in text and f"- {'b' * 12} Commit b" in text and "Commit a" not in text
    assert "Said to the agent." in text and "Said before." not in text
    assert "Acceptance" not in text and "As it was." not in text and "A new phase" not in text

    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        changes = {"acceptance": ["It is small"], "description": "As it is now."}
        editing.edit_ticket(session, ticket, EditTicket.model_validate({"version": ticket.version, **changes}), ALICE)
    text = prompt_of(engine, next_run)
    assert "0. [ ] It is small" in text and "## The description was changed\n\nAs it is now." in text

    hear(engine, next_run)
    end(engine, next_run, verdict="question", summary="Which?", question={"request": "1"})
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "answer", ALICE, body="This.")
        session.execute(update(Ticket).values(phase="Docs"))
    text = prompt_of(engine, claimed(engine, ticket_id))
    assert "A new phase begins: Docs." in text and "0. [ ] It is small" in text
    assert "Handed back" not in text


@pytest.mark.both_databases
def test_too_long_a_talk_keeps_its_newest_words(engine: Engine) -> None:
    ticket_id = make(engine)
    for number in range(12):
        say(engine, ticket_id, f"word {number} " + "x" * prompt.MAX_COMMENT_CHARACTERS)

    text = prompt_of(engine, claimed(engine, ticket_id))

    assert "word 11 " in text and "word 0 " not in text and "Earlier comments are on the ticket" in text
