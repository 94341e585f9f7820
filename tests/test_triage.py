"""Triage of the inbox by rules: what they decide, what they leave, and what the task says it did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from jobs import job_context
from jobs.loops import triage as triage_job
from models import ActorKind, InboxItem, InboxState, Ticket, TicketEvent, TicketStatus, TriageNote
from settings import Settings, Triage
from tickets.lifecycle import editing, transitions
from tickets.loops import triage
from tickets.operations import inbox_items
from tickets.runs import claims
from tickets.shared import lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.team.projects import NewProject, add_project

from .test_spine import ALICE

RunTask = Callable[..., dict[str, Any]]


@pytest.fixture
def run_task(engine: Engine, tmp_path: Path) -> RunTask:
    """Make one pass of the task with these settings. Returns its summary with the outcome."""

    def run(**fields: Any) -> dict[str, Any]:
        context = job_context.build_context(Settings(home=tmp_path, triage=Triage(**fields)), engine)
        result = triage_job.make_pass(context)
        return {"outcome": result.outcome.value, **result.summary}

    return run


def capture(engine: Engine, title: str, actor: Actor = ALICE, **fields: Any) -> int:
    with writing(engine) as session:
        body = NewTicket.model_validate({"title": title, "status": "inbox"} | fields)
        return transitions.create_ticket(session, body, actor).id


def add_projects(engine: Engine, *slugs: str) -> None:
    with writing(engine) as session:
        for slug in slugs:
            add_project(session, NewProject(slug=slug, name=slug.capitalize(), folder=f"/src/{slug}"), ALICE)


def read(engine: Engine, ticket_id: int) -> tuple[str, str, int | None, str | None]:
    with reading(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        return ticket.status.value, ticket.priority.label, ticket.project_id, ticket.assigned_to


def read_note(engine: Engine, ticket_id: int) -> tuple[str | None, str] | None:
    with reading(engine) as session:
        note = triage.find_note(session, lookup.get_ticket(session, ticket_id))
        return (note.owner, note.reason) if note else None


def count_events(engine: Engine) -> int:
    with reading(engine) as session:
        return len(session.scalars(select(TicketEvent.id)).all())


@pytest.mark.both_databases
def test_rules_set_priority_and_project_and_propose_an_owner_and_start_nothing(
    engine: Engine, run_task: RunTask
) -> None:
    add_projects(engine, "web", "api")
    ticket_id = capture(engine, "Typo in the header of Web", tags=["bug"])
    assert run_task(owners={"bug": "script"}) == {"outcome": "acted", "proposed": 1}
    assert read(engine, ticket_id) == ("inbox", "low", 1, None)
    reason = "Priority low, by a word in its title. Project web, named in its text. Owner script, by the tag bug."
    assert read_note(engine, ticket_id) == ("script", reason)
    with reading(engine) as session:
        item = session.scalars(select(InboxItem)).one()
        assert (item.kind, item.body) == ("triage", f"Triage proposes an owner. {reason}")
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "triage", ALICE, assigned_to="script")
        assert session.get_one(InboxItem, item.id, populate_existing=True).state is InboxState.ACTED
    assert run_task() == {"outcome": "noop"}
    with reading(engine) as session:
        assert session.scalars(select(TriageNote)).all() == []


def test_a_ticket_is_looked_at_once_each_time_it_comes_to_the_inbox(engine: Engine, run_task: RunTask) -> None:
    ticket_id = capture(engine, "An idea")
    assert run_task() == {"outcome": "noop", "undecided": 1}
    assert read_note(engine, ticket_id) == (None, "Choose an owner: no rule gives one.")
    log_length = count_events(engine)
    assert run_task() == {"outcome": "noop"}
    assert count_events(engine) == log_length, "its reason is noted once"
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "cancel", ALICE)
        transitions.transition(session, ticket_id, "reopen", ALICE, to="inbox")
    assert read_note(engine, ticket_id) is None
    assert run_task(file_undecided=True) == {"outcome": "acted", "filed": 1}
    assert run_task(file_undecided=True) == {"outcome": "noop"}


def test_the_orchestrator_decides_what_the_rules_cannot(engine: Engine, run_task: RunTask) -> None:
    add_projects(engine, "web", "api")
    orchestrator = Actor(ActorKind.ORCHESTRATOR, "luci")
    ticket_id = capture(engine, "An idea")
    run_task(file_undecided=True)
    with writing(engine) as session:
        item = inbox_items.deliver_next(session, orchestrator, 60)
        assert item is not None and item.body.startswith("Choose a project: its text names none.")
        facts = {"assigned_to": "script", "priority": "low", "project": "api"}
        action = inbox_items.MoveAction(type="move", move="triage", facts=facts)
        item = inbox_items.act_on_item(session, item.id, action, orchestrator)
        assert (item.state, item.action and item.action["move"]) == (InboxState.ACTED, "triage")
    assert read(engine, ticket_id) == ("todo", "low", 2, "script")


def test_only_what_no_run_created_goes_to_do_by_itself_and_only_when_the_setting_says_so(
    engine: Engine, run_task: RunTask
) -> None:
    mine = capture(engine, "Broken link", assigned_to="script")
    agent = Actor(ActorKind.RUN, "codex", run_id=1, ticket_id=mine)
    own_tags = capture(engine, "Broken page", agent, assigned_to="script")
    assert run_task(automatic=True) == {"outcome": "acted", "moved": 1, "proposed": 1}
    assert read(engine, mine) == ("todo", "high", None, "script")
    assert read(engine, own_tags) == ("inbox", "high", None, "script")


def test_what_the_orchestrator_puts_into_the_inbox_does_not_start_it_again(engine: Engine, run_task: RunTask) -> None:
    standing = capture(engine, "Work the inbox", status="todo", assigned_to="script")
    with writing(engine) as session:
        runtime_flags.set_flag(session, runtime_flags.INBOX_TICKET, str(standing), ALICE)
        run = claims.claim_ticket(session, standing, "here").run
    orchestrator = Actor(ActorKind.ORCHESTRATOR, "luci", run.id)
    capture(engine, "An idea", orchestrator)
    assert run_task(file_undecided=True) == {"outcome": "noop", "undecided": 1}
    capture(engine, "An idea", orchestrator, assigned_to="script")
    assert run_task(file_undecided=True) == {"outcome": "acted", "proposed": 1}, "on the ticket"
    with reading(engine) as session:
        assert inbox_items.count_open(session) == 0
    with pytest.raises(Forbidden, match="at most 50 tickets"):
        for _ in range(50):
            capture(engine, "More", orchestrator)


# ------------------------------------------------------------------------------------------------------- true outcomes


def test_a_pass_that_decides_nothing_did_not_act(engine: Engine, run_task: RunTask) -> None:
    capture(engine, "An idea")
    capture(engine, "Another idea")
    assert run_task() == {"outcome": "noop", "undecided": 2}


def test_a_pass_that_does_half_is_a_warning_and_does_the_rest_later(
    engine: Engine, run_task: RunTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (capture(engine, title, assigned_to="script") for title in ("Broken link", "Broken page"))
    file_item = inbox_items.file_item

    def refuse_first(session: Any, item: Any, actor: Any) -> Any:
        if item.ticket == "MC-1":
            raise ConflictError("It is being changed.")
        return file_item(session, item, actor)

    with monkeypatch.context() as patch:
        patch.setattr(inbox_items, "file_item", refuse_first)
        assert run_task() == {"outcome": "warning", "proposed": 1, "problems": ["It is being changed."]}
        assert run_task() == {"outcome": "failed", "problems": ["It is being changed."]}
    assert read(engine, first)[1] == "normal" and read(engine, second)[1] == "high", "a refused ticket is not half done"
    assert run_task() == {"outcome": "acted", "proposed": 1}


def test_an_owner_who_is_not_in_the_team_is_a_warning_and_is_proposed_to_nobody(
    engine: Engine, run_task: RunTask
) -> None:
    ticket_id = capture(engine, "Crash", tags=["bug"])
    problems = ["triage.owners names nobody-here, who is not in the team."]
    summary = run_task(owners={"bug": "nobody-here"})
    assert summary == {"outcome": "warning", "edited": 1, "problems": problems}
    note = read_note(engine, ticket_id)
    assert note is not None and note[0] is None and "nobody-here, by the tag bug, is not in the team" in note[1]


# ---------------------------------------------------------------------------------------------------------------- rights


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"title": "Mine now"}, TicketStatus.INBOX),
        ({"acceptance": []}, TicketStatus.INBOX),
        ({"gate": "none"}, TicketStatus.INBOX),
        ({"priority": "low", "archived": True}, TicketStatus.INBOX),
        ({"assigned_to": "script"}, TicketStatus.IN_REVIEW),
    ],
)
def test_triage_edits_its_fields_of_tickets_in_the_inbox_alone(
    engine: Engine, fields: dict[str, Any], status: TicketStatus
) -> None:
    ticket_id = capture(engine, "Broken link")
    with writing(engine) as session:
        session.execute(update(Ticket).values(status=status))
        ticket = lookup.get_ticket(session, ticket_id)
        with pytest.raises(Forbidden):
            editing.edit_ticket(session, ticket, EditTicket.model_validate({"version": 1} | fields), triage.ACTOR)
