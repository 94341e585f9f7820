"""Help, search, tasks, incidents and logs: what a person reads there, and what the forms do without a script."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import Incident, IncidentState, Login, MissReason, PersonVisit, TaskOutcome, TicketEvent, Trigger, now
from settings import Settings
from tickets.conversation import timeline
from tickets.lifecycle import moves, transitions
from tickets.operations import inbox_items, incidents
from tickets.operations.inbox_items import NewItem
from tickets.schedule import ledger, task_files, tasks
from tickets.schedule.slot_plan import MissedSlots
from tickets.shared.actors import Actor
from tickets.shared.inputs import NewTicket

from .conftest import OWN_PAGE, Api, csrf_token, start

OPERATOR = Actor.human("operator")
PAGES = ("/help", "/search", "/tasks", "/incidents", "/logs", "/logs?show=heartbeats", "/logs?show=web")


def text(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


def send(browser: FlaskClient, path: str, page: str, **fields: str) -> str:
    """Post a form of `page` as a browser does; the page it leads to."""
    body = {"csrf": csrf_token(browser), **fields}
    return browser.post(path, data=body, headers=OWN_PAGE, follow_redirects=True).get_data(as_text=True)


def test_no_link_of_the_frame_or_the_overview_leads_nowhere(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        incidents.raise_incident(session, "tmux", "tmux does not answer")
        tasks.record_run(session, "backup", Trigger.TIMER, TaskOutcome.ACTED, now())
    links = {
        link.split("#")[0]
        for path in ("/", "/board", *PAGES)
        for link in re.findall(r'<(?:a|form)[^>]* (?:href|action)="(/[^"]*)"', text(browser, path))
    }
    answers = {link: browser.get(link.replace("&amp;", "&")).status_code for link in links}
    assert {link: status for link, status in answers.items() if status not in (200, 405)} == {}


def test_help_names_the_coordinator_and_every_move_of_the_law(browser: FlaskClient, settings: Settings) -> None:
    markup = text(browser, "/help")
    assert f"requests come in, {settings.coordinator} coordinates the next step" in markup
    assert all(move.label in markup for move in moves.MOVES.values())


@pytest.mark.both_databases
@pytest.mark.parametrize("words", ["evening", "GOOD ada", "mc-1", "1"])
def test_a_ticket_is_found_by_its_words_and_by_its_number(browser: FlaskClient, store: Engine, words: str) -> None:
    with writing(store) as session:
        body = NewTicket.model_validate({"title": "Say good evening", "description": "To <Ada> at least."})
        transitions.create_ticket(session, body, OPERATOR)
        transitions.create_ticket(session, NewTicket(title="Another"), OPERATOR)
    markup = text(browser, f"/search?q={words}")
    assert 'href="/ticket/MC-1"' in markup and 'href="/ticket/MC-2"' not in markup


@pytest.mark.both_databases
def test_a_comment_is_found_with_its_words_marked_and_its_markup_escaped(operator: Api, browser: FlaskClient) -> None:
    operator.post("/tickets", {"title": "Say good evening"})
    operator.post("/tickets/MC-1/comments", {"body": "It is <b>100%</b> ready_now."})
    assert [hit["kind"] for hit in operator.get("/search?q=ready_now").get_json()["items"]] == ["comment"]
    assert operator.get("/search?q=ready_now&kind=ticket").get_json()["items"] == []
    assert operator.get("/search?q=readyXnow").get_json()["items"] == []
    assert "&lt;b&gt;<mark>100%</mark>&lt;/b&gt;" in text(browser, "/search?q=100%25")


def test_a_hit_leads_to_where_its_comment_is_shown(operator: Api, browser: FlaskClient, store: Engine) -> None:
    operator.post("/tickets", {"title": "Say good evening"})
    with writing(store) as session:
        for number in range(70):
            timeline.add_comment(session, 1, timeline.NewComment(body=f"note n{number}x"), OPERATOR)
    place, entry = operator.get("/search?q=n3x").get_json()["items"][0]["href"].split("#")
    assert f'id="{entry}"' in text(browser, place)


@pytest.mark.both_databases
def test_what_needs_a_person_is_listed_and_counted_in_the_frame(
    operator: Api, viewer: Api, browser: FlaskClient
) -> None:
    assert '<meta name="needs" content="0">' in text(browser, "/board")
    operator.post("/tickets", {"title": "One"})
    form = text(browser, "/ticket/MC-1/move/block")
    assert '<option value="operator" selected>' in form and '<option value="codex">' in form
    facts = {"reason": "needs_human", "owner": "alice", "next_action": "Make a key"}
    operator.post("/tickets/MC-1/moves", {"move": "block", **facts})
    attention: Any = viewer.get("/needs-you").json
    assert [(item["ticket"], item["status"], item["line"]) for item in attention["items"]] == [
        ("MC-1", "blocked", "Make a key")
    ]
    markup = text(browser, "/board")
    assert '<meta name="needs" content="1">' in markup and markup.count("data-needs-count>1<") == 2
    assert 'Needs you</h2><span class="count">1<' in text(browser, "/")
    operator.post("/tickets", {"title": "Two"})
    listed = text(browser, "/board?view=list&status=needs_you")
    assert 'id="card-MC-1"' in listed and 'id="card-MC-2"' not in listed


def test_the_review_queue_leads_on_from_a_ticket_that_no_longer_waits(browser: FlaskClient, operator: Api) -> None:
    facts = {"move": "block", "reason": "needs_human", "owner": "alice", "next_action": "Make a key"}
    for title in ("One", "Two"):
        number = operator.post("/tickets", {"title": title}).get_json()["identifier"]
        operator.post(f"/tickets/{number}/moves", facts)
    first = text(browser, "/review")
    assert "<strong>1</strong> of 2" in first and "alice needs to act: Make a key" in first
    assert 'rel="next" href="/review?at=MC-2"' in first and 'rel="prev"' not in first
    assert 'rel="prev" href="/review?at=MC-1"' in text(browser, "/review?at=MC-2")
    operator.post("/tickets/MC-1/moves", {"move": "unblock"})
    bar = text(browser, "/review/part/bar?at=MC-1&position=1")
    assert "No longer waiting" in bar and 'href="/review?after=MC-1&amp;position=1"' in bar
    for query in ("at=MC-1", "after=MC-1&position=1", "after=MC-2&position=1", "at=MC-99"):
        assert browser.get(f"/review?{query}").headers["Location"] == "/review?at=MC-2"
    operator.post("/tickets/MC-2/moves", {"move": "unblock"})
    assert "Nothing needs you" in text(browser, "/review?after=MC-2&position=1")


def test_a_task_is_disabled_enabled_and_asked_for(browser: FlaskClient, store: Engine) -> None:
    assert "was not started because the scheduler is not running" in send(browser, "/tasks/backup/run", "/tasks")
    with writing(store) as session:
        tasks.record_heartbeat(session, "scheduler", "ok", '{"problems": []}')
    assert "backup is disabled" in send(browser, "/tasks/backup/disable", "/tasks")
    assert "is queued" in send(browser, "/tasks/backup/run", "/tasks")
    with reading(store) as session:
        assert tasks.load_decisions(session) == {"backup": False}
        assert tasks.list_requested(session, 0)[1] == {"backup"}
    assert browser.post("/tasks/nothing/run", data={"csrf": csrf_token(browser)}, headers=OWN_PAGE).status_code == 404


def test_the_history_of_a_task_shows_its_output(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        tasks.record_run(
            session, "backup", Trigger.OPERATOR, TaskOutcome.FAILED, now(), exit_code=3, output_tail="<disk full>"
        )
    markup = text(browser, "/tasks/backup")
    assert "&lt;disk full&gt;" in markup and "exit 3" in markup and ">manual" in markup


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        ({"reason": "dispatch is paused: a release"}, "Skipped: <bdi>dispatch is paused: a release</bdi>"),
        ({"held_by": "pid 4 on <host>"}, "Skipped: <bdi>pid 4 on &lt;host&gt; is doing the same work</bdi>"),
        ({}, "Skipped</span>"),
    ],
)
def test_a_skipped_run_says_why(browser: FlaskClient, store: Engine, summary: dict[str, Any], words: str) -> None:
    with writing(store) as session:
        tasks.record_run(session, "backup", Trigger.TIMER, TaskOutcome.SKIPPED, now(), summary=summary)
    assert words in text(browser, "/tasks/backup")
    assert "already running" not in text(browser, "/tasks")


def test_a_persons_task_is_previewed_created_and_edited_and_a_shipped_one_is_not(
    browser: FlaskClient, store: Engine, settings: Settings
) -> None:
    fields = {
        "kind": "ticket",
        "title": "Read <b>",
        "schedule": "30 2 * * *",
        "zone": "Europe/Berlin",
        "catch_up": "skip",
    }
    assert send(browser, "/tasks/new", "/tasks", **fields, preview="1").count("02:30 CE") == 5
    refusal = send(browser, "/tasks/new", "/tasks", **fields | {"schedule": "61 * * * *", "zone": "Mars"})
    assert "Invalid cron line" in refusal and "not a time zone" in refusal and 'value="Read &lt;b&gt;"' in refusal
    assert not settings.tasks_dir.exists()

    page = send(browser, "/tasks/new", "/tasks", **fields)
    assert "read-b was created." in page and "Read &lt;b&gt;" in page and "Skip missed times" in page
    form = text(browser, "/tasks/read-b/edit")
    digest = re.findall(r'name="digest" value="(\w+)"', form)[0]
    response = fields | {"schedule": "0 9 * * *", "digest": digest}
    assert "read-b was changed." in send(browser, "/tasks/read-b/edit", "/tasks", **response)
    assert "has changed since you loaded it" in send(browser, "/tasks/read-b/edit", "/tasks", **response)
    assert task_files.require("read-b", settings.tasks_dir).head.schedule == "0 9 * * *"
    assert browser.get("/tasks/backup/edit").status_code == 409
    assert "shipped task" in send(browser, "/tasks/backup/edit", "/tasks", **fields)
    with writing(store) as session:
        session.execute(update(Login).values(created=now() - timedelta(days=1), proof_at=None))
    command = {"kind": "command", "command": "rm 'a b'", "schedule": "0 9 * * *", "summary": "Clear"}
    assert "proof-secret" in send(browser, "/tasks/new", "/tasks", **command)
    assert task_files.list_names(settings.tasks_dir)[-1] != "clear" and "clear" not in text(browser, "/tasks")


def test_the_ledger_of_a_task_says_what_was_missed_and_what_became_of_its_tickets(
    browser: FlaskClient, store: Engine, settings: Settings
) -> None:
    task = task_files.require("backup", settings.tasks_dir)
    with writing(store) as session:
        moment = now() - timedelta(days=8)
        week = MissedSlots(moment, moment + timedelta(days=7), 10_080, MissReason.NOT_RUNNING)
        ledger.record_missed(session, task, "here", week)
        slot = ledger.begin_slot(session, task, "here", Trigger.TIMER, now(), now())
        ledger.end_slot(session, slot.id, now(), TaskOutcome.FAILED)
    markup = text(browser, "/tasks/backup")
    assert "10,080 times missed" in markup and "The scheduler was not running" in markup and ">Failed" in markup
    assert "10,080" in text(browser, "/tasks")
    assert browser.get("/tasks/nothing").status_code == 404


def test_an_incident_is_acknowledged_and_closed_with_what_shows_it(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        number = incidents.raise_incident(session, "tmux", "tmux does not answer", "look <1>").id
        incidents.escalate_incident(session, number, Actor.system())
        item = NewItem(kind="operator", title="tmux does not answer")
        item_id = inbox_items.file_item(session, item, Actor.system(), incident_id=number).id
    page = text(browser, "/incidents")
    assert "Escalation 1 of 3" in page and f'<a href="/inbox#item-{item_id}">Waits in the inbox</a>' in page
    assert f'<a href="/incidents#incident-{number}">View incident</a>' in text(browser, "/inbox")
    acknowledged = send(browser, f"/incidents/{number}/ack", "/incidents")
    assert "is acknowledged" in acknowledged and ", acknowledged by operator" in acknowledged
    assert "already acknowledged" in send(browser, f"/incidents/{number}/ack", "/incidents")
    assert "enter the evidence" in send(browser, f"/incidents/{number}/close", "/incidents").lower()
    assert "restarted it" in send(browser, f"/incidents/{number}/close", "/incidents", evidence="restarted it")
    with reading(store) as session:
        row = session.scalars(select(Incident)).one()
        kinds = session.scalars(
            select(TicketEvent.event_type).where(TicketEvent.event_type.startswith("incident_"))
        ).all()
    assert (row.state, row.closed_by, row.evidence) == (IncidentState.CLOSED, "operator", "restarted it")
    assert kinds == ["incident_opened", "incident_escalated", "incident_acknowledged", "incident_closed"]


def test_incidents_are_listed_and_settled_by_programs(operator: Api, viewer: Api, store: Engine) -> None:
    with writing(store) as session:
        number = incidents.raise_incident(session, "tmux", "tmux does not answer").id
    assert viewer.post(f"/incidents/{number}/ack").status_code == 403
    assert operator.post(f"/incidents/{number}/ack").get_json()["state"] == "acknowledged"
    assert operator.post(f"/incidents/{number}/close", {"evidence": "seen well"}).get_json()["state"] == "closed"
    assert operator.post("/incidents/99/ack").status_code == 404
    assert [row["id"] for row in viewer.get("/incidents?state=closed").get_json()["items"]] == [number]


def test_logs_are_shown_from_their_end_and_from_their_folder_alone(browser: FlaskClient, settings: Settings) -> None:
    settings.ensure_home()
    (settings.logs_dir / "web.log").write_text("\n".join(f"line {number} <x>" for number in range(1000)))
    (settings.logs_dir / "scheduler.log").symlink_to(settings.logs_dir / "web.log")
    markup = text(browser, "/logs?show=web")
    assert "line 999 &lt;x&gt;" in markup and "line 10 " not in markup
    assert "No such file" in text(browser, "/logs?show=scheduler")
    assert browser.get("/logs?show=../secrets/key").status_code == 404


@pytest.mark.both_databases
def test_the_event_log_is_narrowed_by_type_and_ticket(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    operator.post("/tickets", {"title": "Two"})
    operator.post("/tickets/MC-1/comments", {"body": "Said."})
    assert text(browser, "/logs?kind=ticket_created").count('tab=events"') == 2
    assert text(browser, "/logs?kind=ticket_created&ticket=MC-2").count('tab=events"') == 1
    assert browser.get("/logs?ticket=MC-99").status_code == 404


def test_a_viewer_does_not_read_the_logs(viewer: Api) -> None:
    headers = {"Authorization": f"Bearer {viewer.token}"}
    assert viewer.client.get("/logs", headers=headers).status_code == 403


def test_a_move_offers_its_undo_as_a_form(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One", "status": "inbox"})
    markup = send(browser, "/ticket/MC-1/move", "/ticket/MC-1", move="triage")
    assert "MC-1 moved to To do." in markup and 'action="/ticket/MC-1/undo"' in markup and "Undo</button>" in markup
    assert 'data-state="inbox"' in send(browser, "/ticket/MC-1/undo", "/")
    assert "can no longer be undone" in send(browser, "/ticket/MC-1/undo", "/")


@pytest.mark.both_databases
def test_filters_are_saved_under_a_name_and_deleted(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    markup = send(browser, "/board/views", "/board", name=" Urgent  bugs ", query="tag=bug&priority=urgent&column=todo")
    assert 'href="/board?priority=urgent&amp;tag=bug&amp;view=lanes" aria-current="true"' in markup
    assert "Urgent bugs" in markup
    assert "already" in send(browser, "/board/views", "/board", name="Urgent bugs", query="tag=bug")
    assert "at least one filter" in send(browser, "/board/views", "/board", name="All", query="column=todo")
    assert "Urgent bugs" not in send(browser, "/board/views/delete", "/board", name="Urgent bugs")
    assert "no saved view" in send(browser, "/board/views/delete", "/board", name="Urgent bugs")


def test_archived_tickets_are_shown_apart(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "Old"})
    operator.post("/tickets", {"title": "New"})
    operator.patch("/tickets/MC-1", {"version": 1, "archived": True})
    assert 'id="card-MC-1"' not in text(browser, "/board") and 'id="card-MC-2"' in text(browser, "/board")
    markup = text(browser, "/board?archived=1")
    assert 'id="card-MC-1"' in markup and 'id="card-MC-2"' not in markup


def test_what_happened_while_a_person_was_away_stands_on_the_overview_until_dismissed(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    operator.post("/tickets", {"title": "Write <a> letter", "status": "inbox"})
    assert "While you were away" not in text(browser, "/")
    with writing(store) as session:
        session.merge(PersonVisit(person="operator", last_seen=now() - timedelta(hours=2)))
    operator.post("/tickets/MC-1/moves", {"move": "close", "note": "By hand."})
    page = text(browser, "/")
    assert "While you were away" in page and "Write &lt;a&gt; letter" in page
    assert "While you were away" in text(browser, "/")
    assert "While you were away" not in send(browser, "/overview/away/dismiss", "/")


def test_who_only_reads_sees_the_live_agents_without_a_way_to_interrupt_them(
    app: Flask, store: Engine, viewer: Api, operator: Api
) -> None:
    start(app, store, title="Read along")
    pages = {
        api: api.client.get("/agents/live", headers={"Authorization": f"Bearer {api.token}"})
        for api in (viewer, operator)
    }
    assert all("Read along" in page.text and "No activity yet" in page.text for page in pages.values())
    assert ("Interrupt" in pages[viewer].text, "Interrupt" in pages[operator].text) == (False, True)
