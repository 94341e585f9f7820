"""The board without a script: its views and what is kept of them, quick add, and changes of many tickets at once."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, update

from bench.weight import PageParser
from database import Session, StoreUnavailable, reading, writing
from models import Run, Ticket, TicketStatus
from tickets.board import columns, saved_views
from tickets.lifecycle import bulk
from tickets.runs import claims
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY
from tickets.shared.lookup import get_ticket
from tickets.team import projects
from tickets.team.projects import NewProject

from .conftest import OWN_PAGE, Api, csrf_token
from .test_more_pages import send, text

MAX_ELEMENTS = 2_500


def cards(page: str) -> list[str]:
    return re.findall(r'data-card="(MC-\d+)"', page)


def find_view(browser: FlaskClient, path: str) -> str | None:
    """Which view a page shows."""
    match = re.search(r'data-view="(\w+)"', text(browser, path))
    return match[1] if match else None


def test_the_view_of_the_address_wins_and_is_remembered(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    assert find_view(browser, "/board") == "lanes"
    assert find_view(browser, "/board?view=columns") == "columns"
    assert find_view(browser, "/board?tag=bug") == "columns"
    assert find_view(browser, "/board?view=list") == "list"
    assert find_view(browser, "/board") == "list"
    assert browser.get("/board?view=spiral").status_code == 422


@pytest.mark.both_databases
def test_a_saved_view_carries_its_view_and_its_order(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    body = send(browser, "/board/views", "/board", name="By rank", query="view=list&sort=priority&column=todo&evil=1")
    assert 'href="/board?sort=priority&amp;view=list" aria-current="true"' in body
    assert 'aria-sort="descending"><a href="/board?sort=priority&amp;view=list">Priority' in body


def test_a_saved_view_belongs_to_who_saved_it(browser: FlaskClient, operator: Api, store: Engine) -> None:
    operator.post("/tickets", {"title": "One"})
    with writing(store) as session:
        saved_views.save_view(session, "Mine", "view=list&tag=bug", Actor.human("bob"))
    body = send(browser, "/board/views", "/board", name="Mine", query="view=list&tag=infra")
    assert "tag=infra&amp;view=list" in body and "tag=bug&amp;view=list" not in body
    send(browser, "/board/views/delete", "/board", name="Mine")
    with reading(store) as session:
        assert [view.query for view in saved_views.list_views(session, "bob")] == ["tag=bug&view=list"]


def test_filters_take_several_values_and_lanes_show_each_project(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    with writing(store) as session:
        for slug in ("web", "api", "infra"):
            body = NewProject(slug=slug, name=slug.title(), folder=f"/srv/{slug}")
            projects.add_project(session, body, Actor.human("bob"))
    for slug, tag in (("web", "bug"), ("api", "q4-goal"), ("infra", "q4-goal")):
        operator.post("/tickets", {"title": "One", "project": slug, "tags": [tag]})
    page = text(browser, "/board?view=list&project=web&project=api&sort=created")
    assert cards(page) == ["MC-2", "MC-1"] and "project=web,api" in page
    assert cards(text(browser, "/board?view=list&tag=q4-goal&project=web,infra")) == ["MC-3"]
    assert '<input type="checkbox" name="tag" value="q4-goal">' in page, "a tag in use can be chosen"
    part = text(browser, "/board/swim-lanes?group=project")
    assert cards(part) == ["MC-2", "MC-3", "MC-1"] and part.count("<section") == 3
    assert cards(text(browser, "/board?view=lanes&group=assigned_to&tag=bug")) == ["MC-1"]
    assert browser.get("/board?group=shape").status_code == 422


@pytest.mark.parametrize("path", ["/", "/board?view=columns", "/board?view=lanes", "/board?view=list", "/ticket/MC-1"])
def test_a_page_asks_the_store_nothing_twice(app: Flask, browser: FlaskClient, operator: Api, path: str) -> None:
    operator.post("/tickets", {"title": "One", "assigned_to": "script"})
    statements: list[str] = []

    def note(*seen: Any) -> None:
        statements.append(seen[2])

    text(browser, "/help")  # the first page of a process also notes the visit and looks why nothing checks health
    engine = app.extensions["mission_control"].engine
    event.listen(engine, "before_cursor_execute", note)
    text(browser, path)
    event.remove(engine, "before_cursor_execute", note)
    assert [statement for statement, times in Counter(statements).items() if times > 1 and statement != "BEGIN"] == []


PARTS = [
    ("/board/column/inbox", ["MC-2"]),
    ("/board/lane/stuck", ["MC-3"]),
    ("/board/list", ["MC-3", "MC-2", "MC-1"]),
    ("/board/list?tag=bug&status=all", ["MC-1"]),
    ("/board/list?sort=priority", ["MC-2", "MC-3", "MC-1"]),
]


def test_each_part_is_read_by_itself(browser: FlaskClient, operator: Api) -> None:
    for facts in ({"tags": ["bug"]}, {"status": "inbox", "priority": "urgent"}, {}):
        operator.post("/tickets", {"title": "One"} | facts)
    block = {"move": "block", "reason": "dependency", "owner": "bob", "next_action": "Answer <the> mail"}
    operator.post("/tickets/MC-3/moves", block)
    for path, names in PARTS:
        part = text(browser, path)
        assert cards(part) == names, path
        assert "MC-3" not in names or "Answer &lt;the&gt; mail" in part, path


def test_parts_that_are_not_there_are_refused(browser: FlaskClient) -> None:
    for path in ("/board/column/asleep", "/board/lane/asleep", "/board/list?sort=colour", "/board?view=list&cursor=1"):
        assert browser.get(path).status_code == 422, path


@pytest.mark.both_databases
def test_more_of_a_list_follows_under_the_same_filters(browser: FlaskClient, operator: Api) -> None:
    for number in range(52):
        operator.post("/tickets", {"title": f"Number {number}", "tags": ["bug"]})
    first = text(browser, "/board?view=list&tag=bug&sort=created")
    onward = re.search(r'class="button plain more" href="([^"]+)"', first)
    assert onward is not None
    rest = text(browser, onward[1].replace("&amp;", "&"))
    assert len(cards(first)) == 50 and cards(rest) == ["MC-2", "MC-1"]


def test_a_board_of_full_columns_has_few_elements(browser: FlaskClient, operator: Api) -> None:
    """The menus of cards are built when they are opened, and a column opens with the cards that are seen."""
    operator.post("/tickets", {"title": "One"})
    empty = PageParser(text(browser, "/board?view=columns")).elements
    for number in range(columns.FIRST_PAGE_SIZE + 2):
        facts = {"title": f"Number {number}", "tags": ["bug"], "assigned_to": "script"}
        operator.post("/tickets", facts)
        operator.post(f"/tickets/MC-{number + 2}/moves", {"move": "park", "wake": {"kind": "manual"}})
    page = text(browser, "/board?view=columns")
    of_column = PageParser(page).elements - empty
    assert len(cards(page)) == columns.FIRST_PAGE_SIZE + 1 and ">Park<" in page
    assert empty + of_column * len(TicketStatus) < MAX_ELEMENTS


def test_quick_add_makes_what_the_board_is_narrowed_to(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    query = "assigned_to=codex&priority=high&tag=bug&view=columns"
    body = send(browser, "/board/quick", f"/board?{query}", title=" Two ", status="inbox", query=query)
    assert "MC-2 was added." in body and cards(body) == ["MC-2"]
    stored: Any = operator.get("/tickets/MC-2").json
    expected = {"title": "Two", "status": "inbox", "assigned_to": "codex", "priority": "high", "tags": ["bug"]}
    assert {name: stored[name] for name in expected} == expected
    form = {"csrf": csrf_token(browser), "title": " ", "status": "inbox"}
    assert browser.post("/board/quick", data=form, headers=OWN_PAGE).status_code == 422
    assert (
        browser.post("/board/quick", data=form | {"title": "x", "status": "done"}, headers=OWN_PAGE).status_code == 422
    )


def many(browser: FlaskClient, operator: Api, count: int = 3, **facts: Any) -> str:
    for _ in range(count):
        operator.post("/tickets", {"title": "One"} | facts)
    return ",".join(f"MC-{number}" for number in range(1, count + 1))


def statuses(store: Engine, names: str) -> list[TicketStatus]:
    with reading(store) as session:
        return [get_ticket(session, name).status for name in names.split(",")]


def test_a_change_of_many_is_asked_by_get_and_made_by_post(browser: FlaskClient, operator: Api, store: Engine) -> None:
    names = many(browser, operator)
    form_page = text(browser, f"/board/bulk?move=block&tickets={names}&query=view%3Dlist")
    assert "3 tickets" in form_page and "MC-1, MC-2, MC-3" in form_page and 'name="next_action"' in form_page
    assert statuses(store, names) == [TicketStatus.TODO] * 3
    facts = {"reason": "dependency", "owner": "bob", "next_action": "Answer the mail", "query": "view=list"}
    body = send(browser, "/board/bulk", "/board", move="block", tickets=names, **facts)
    assert "Block: 3 tickets moved." in body and "Undo 3" in body and 'data-view="list"' in body
    assert statuses(store, names) == [TicketStatus.BLOCKED] * 3
    assert "Undo: 3 tickets moved back." in send(browser, "/board/undo", "/board", tickets=names)
    assert "Undo: 0 of 3 tickets moved back." in send(browser, "/board/undo", "/board", tickets=names)


def test_facts_that_no_ticket_could_take_are_asked_for_again(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    names = many(browser, operator)
    form = {"csrf": csrf_token(browser), "move": "park", "tickets": names, "note": "Half a thought"}
    for wrong in ({"wake_kind": "time"}, {"wake_kind": "probe", "wake_probe": "'"}, {"wake_kind": "agent_idle"}):
        answer = browser.post("/board/bulk", data=form | wrong, headers=OWN_PAGE)
        assert answer.status_code == 422 and "Half a thought" in answer.get_data(as_text=True), wrong
    assert statuses(store, names) == [TicketStatus.TODO] * 3


def test_a_refusal_is_told_once_for_all_of_its_kind(browser: FlaskClient, operator: Api, store: Engine) -> None:
    names = many(browser, operator, 8)
    for number in range(1, 8):
        operator.post(f"/tickets/MC-{number}/moves", {"move": "cancel"})
    body = send(browser, "/board/bulk", "/board", move="cancel", tickets=f"{names},MC-99")
    assert "Cancel: 1 of 9 tickets moved." in body
    assert (
        "Refused: MC-1, MC-2, MC-3, MC-4, MC-5 and 2 more (its state is Cancelled); MC-99 (There is no ticket" in body
    )
    assert statuses(store, "MC-8") == [TicketStatus.CANCELLED]


def test_a_store_that_is_busy_in_between_takes_nothing_from_what_was_changed(
    browser: FlaskClient, operator: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: it was said that nothing was changed, and there was no way back."""
    for title in ("One", "Two", "Three"):
        operator.post("/tickets", {"title": title, "status": "inbox"})
    make, tried = bulk.BulkChange.make, []

    def busy(change: bulk.BulkChange, session: Session, reference: str, *rest: Any) -> Ticket:
        tried.append(reference)
        if reference == "MC-2":
            raise StoreUnavailable("UPDATE", {}, Exception("database is locked"))
        return make(change, session, reference, *rest)

    monkeypatch.setattr(bulk.BulkChange, "make", busy)
    body = send(browser, "/board/bulk", "/board", move="triage", tickets="MC-1,MC-2,MC-3")
    assert "1 of 3 tickets moved. Refused: MC-2, MC-3 (the store could not be reached; try again)." in body
    assert "Undo 1" in body and tried == ["MC-1", "MC-2"], "each ticket would wait as long as the second"


def test_a_run_that_a_bulk_move_stops_is_told(browser: FlaskClient, operator: Api, store: Engine) -> None:
    names = many(browser, operator, 1, assigned_to="script")
    with writing(store) as session:
        run = claims.claim_ticket(session, 1, "here").run.id
    body = send(browser, "/board/bulk", "/board", move="cancel", tickets=names)
    assert "Cancel: 1 ticket moved." in body and "Undo " not in body
    with reading(store) as session:
        assert session.get_one(Run, run).stop_code == "cancelled"


def test_tags_are_added_and_taken_away_and_nobody_owns_what_is_nobodys(browser: FlaskClient, operator: Api) -> None:
    names = many(browser, operator, 2, tags=["infra"], assigned_to="script")
    send(browser, "/board/bulk", "/board", tag="bug", tickets=names)
    send(browser, "/board/bulk", "/board", untag="infra", tickets=names)
    assert "Owner: 2 tickets changed." in send(browser, "/board/bulk", "/board", assigned_to="", tickets=names)
    stored: Any = operator.get("/tickets/MC-2").json
    assert (stored["tags"], stored["assigned_to"]) == (["bug"], None)


def test_a_change_that_there_is_not_is_refused(browser: FlaskClient, operator: Api) -> None:
    form = {"csrf": csrf_token(browser), "tickets": many(browser, operator, 1)}
    wrong: list[dict[str, str]] = [
        {},
        {"move": "fly"},
        {"priority": "sky-high"},
        {"tag": "Two words"},
        {"move": "cancel", "tickets": ""},
        {"move": "cancel", "tickets": ",".join(f"MC-{number}" for number in range(1, 202))},
    ]
    for fields in wrong:
        assert browser.post("/board/bulk", data=form | fields, headers=OWN_PAGE).status_code == 422, fields


def test_a_property_is_set_from_its_menu(browser: FlaskClient, operator: Api, store: Engine) -> None:
    names = many(browser, operator, 2, assigned_to="script", tags=["infra"])
    options = {
        name: re.findall(r'<button class="item[^"]*" name="(\w+)" value="([^"]*)"( data-on)?', text(browser, path))
        for name in ("state", "priority", "assigned_to", "tag", "park")
        for path in [f"/board/property/{name}?tickets={names}"]
    }
    assert ("move", "cancel", "") in options["state"]
    assert ("priority", "normal", " data-on") in options["priority"]
    assert ("assigned_to", "script", " data-on") in options["assigned_to"]
    assert {("untag", "infra", " data-on"), ("tag", "bug", "")} <= set(options["tag"])
    name, value, _ = options["park"][1]
    send(browser, "/board/bulk", "/board", move="park", wake_kind="time", tickets=names, **{name: value})
    assert statuses(store, names) == [TicketStatus.WAITING] * 2
    assert browser.get("/board/property/colour?tickets=MC-1").status_code == 404
    assert browser.get("/board/property/state").status_code == 422
    assert 'href="/board/bulk?move=close&amp;tickets=MC-1,MC-2"' in text(
        browser, f"/board/property/state?tickets={names}"
    )


def test_a_ticket_is_placed_and_shown_at_a_glance(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    operator.post("/tickets", {"title": "Two", "description": "<b>Read</b> *this*", "acceptance": ["It is read"]})
    form = {"csrf": csrf_token(browser), "before": "MC-1"}
    assert browser.post("/ticket/MC-2/place", data=form, headers=OWN_PAGE).status_code == 303
    assert cards(text(browser, "/board/column/todo")) == ["MC-2", "MC-1"]
    assert operator.post("/tickets/MC-2/place", {"to": "down"}).status_code == 200
    assert cards(text(browser, "/board/column/todo")) == ["MC-1", "MC-2"]
    assert operator.post("/tickets/MC-2/place", {"to": "down", "before": "MC-1"}).status_code == 422
    glance = text(browser, "/ticket/MC-2/peek")
    assert "&lt;b&gt;Read" in glance and "<em>this</em>" in glance and "It is read" in glance


def test_a_viewer_changes_nothing(viewer: Api, operator: Api, browser: FlaskClient) -> None:
    names = many(browser, operator, 1)
    headers = {"Authorization": f"Bearer {viewer.token}"}
    for path, form in (("/board/bulk", {"move": "cancel"}), ("/board/quick", {"title": "x"}), ("/board/undo", {})):
        assert viewer.client.post(path, data=form | {"tickets": names}, headers=headers).status_code == 403, path


def test_a_board_without_tickets_leads_to_the_first_one(browser: FlaskClient, operator: Api, store: Engine) -> None:
    operator.post("/tickets", {"title": "Canary"})
    with writing(store) as session:
        session.execute(update(Ticket).values(assigned_to=CANARY, archived=True))
    for path in ("/", "/board"):
        body = text(browser, path)
        assert "Nothing is on the board yet" in body and 'href="/settings/projects/new"' in body, path
        assert "script" in body and cards(body) == [] and "state-counts" not in body, path
    operator.post("/tickets", {"title": "One"})
    for path in ("/", "/board"):
        assert "Nothing is on the board yet" not in text(browser, path), path
