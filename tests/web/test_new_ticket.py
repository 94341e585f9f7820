"""The form of a new ticket: what it offers, what it makes of what was typed, and that a ticket comes whole or not at all."""

from __future__ import annotations

import io
from html import unescape
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine, update

from database import writing
from models import Agent, Program, now
from settings import Settings
from tests.test_sessions import begin
from tickets.schedule import task_files

from .conftest import OWN_PAGE, Api, csrf_token
from .test_more_pages import text

PARK = {"status": "waiting"}


def post(browser: FlaskClient, **fields: Any) -> Any:
    body = {"csrf": csrf_token(browser), "title": "Write a letter", **fields}
    return browser.post("/ticket/new", data=body, headers=OWN_PAGE)


def text_of(answer: Any) -> str:
    return unescape(answer.get_data(as_text=True))


def newest(operator: Api) -> Any:
    items: Any = operator.get("/tickets?limit=1").json
    return items["items"][0] if items["items"] else None


def test_a_ticket_is_repeated_by_a_task_where_that_is_asked_for(
    browser: FlaskClient, operator: Api, settings: Settings
) -> None:
    fields = {"repeat": " 0 8 * * 1-5 ", "description": "Dear all", "acceptance": "It is sent", "priority": "high"}
    assert post(browser, **fields).location == post(browser, **fields).location.removesuffix("-2")
    task = task_files.require("write-a-letter", settings.tasks_dir)
    assert task.head.ticket is not None and newest(operator) is None
    assert (task.head.schedule, task.prompt, task.head.ticket.acceptance) == ("0 8 * * 1-5", "Dear all", ["It is sent"])
    for wrong, words in (({"repeat": "soon"}, "Invalid cron line"), (PARK | {"wake_kind": "manual"}, "has no status")):
        answer = post(browser, **fields | wrong)
        assert (answer.status_code, words in text_of(answer)) == (422, True), wrong
    assert len(list(settings.tasks_dir.iterdir())) == 2


WAKES: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({"wake_kind": "manual"}, {"kind": "manual"}),
    ({"wake_kind": "answer", "wake_at": "2999-01-01T00:00"}, {"kind": "answer"}),
    ({"wake_kind": "time", "wake_at": "2999-01-01T09:00"}, {"kind": "time", "at": "2999-01-01T09:00:00Z"}),
    ({"wake_kind": "ticket", "wake_ticket": " mc-1 "}, {"kind": "ticket", "ticket": "MC-1"}),
    ({"wake_kind": "probe", "wake_probe": "test -f 'a b'"}, {"kind": "probe", "probe": ["test", "-f", "a b"]}),
    (
        {"wake_kind": "agent_idle", "wake_agent": "script", "wake_minutes": "5"},
        {"kind": "agent_idle", "agent": "script", "minutes": 5},
    ),
]


def test_a_ticket_is_parked_until_whatever_a_person_may_wait_for(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "First"})
    for number, (fields, wake) in enumerate(WAKES, 2):
        ticket = f"/ticket/MC-{number}"
        assert post(browser, **PARK, **fields).location == ticket, fields
        assert (newest(operator)["status"], newest(operator)["wake"]) == ("waiting", wake)
        operator.post(f"/tickets/MC-{number}/moves", {"move": "wake"})
        assert newest(operator)["wake"] is None, fields
        form = {"csrf": csrf_token(browser), "move": "park", **fields}
        assert browser.post(f"{ticket}/move", data=form, headers=OWN_PAGE).status_code == 303, fields
        assert newest(operator)["wake"] == wake


def test_the_owner_of_the_last_ticket_is_offered_and_else_the_only_agent(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    assert "Nobody will start this" in text(browser, "/ticket/new")
    with writing(store) as session:
        session.execute(update(Agent).where(Agent.name != "codex").values(runnable=False))
    assert '<option value="codex" selected>' in text(browser, "/ticket/new")
    post(browser, assigned_to="operator")
    post(browser, assigned_to="")
    assert '<option value="operator" selected>' in text(browser, "/ticket/new")
    assert '<option value="codex" selected>' in text(browser, "/ticket/new?assigned_to=codex")


def test_the_next_form_is_empty_but_for_what_is_repeated(browser: FlaskClient) -> None:
    fields = {"then": "another", "query": "tag=bug", "priority": "high", "assigned_to": "", "acceptance": "It is sent"}
    body = {"csrf": csrf_token(browser), "title": "Write a letter", **fields}
    answer = browser.post("/ticket/new", data=body, headers=OWN_PAGE | {"Accept": "application/json"})
    markup = unescape(answer.get_data(as_text=True))
    assert "MC-1 was created." in markup and "data-next" in markup
    assert "Write a letter" not in markup and "It is sent" not in markup
    assert 'value="bug" checked' in markup and '<option value="high" selected>' in markup
    assert '<option value="" selected>Nobody yet' in markup


REFUSALS: list[tuple[dict[str, str], str, str]] = [
    ({"title": " "}, "new-title", "must not be empty"),
    ({"project": "nothing"}, "new-project", "nothing"),
    ({"assigned_to": "nobody"}, "new-assigned_to", "no member of the team"),
    (PARK | {"wake_kind": "time"}, "new-wake_at", "Choose when it should wake."),
    (PARK | {"wake_kind": "time", "wake_at": "soon"}, "new-wake_at", "valid datetime"),
    (PARK | {"wake_kind": "ticket", "wake_ticket": "MC-99"}, "new-wake_ticket", "There is no ticket MC-99."),
    (PARK | {"wake_kind": "probe", "wake_probe": "'"}, "new-wake_probe", "quotes do not match"),
    (
        PARK | {"wake_kind": "agent_idle", "wake_agent": "script", "wake_minutes": "0"},
        "new-wake_minutes",
        "greater than or equal to 1",
    ),
    ({"not_before": "soon"}, "new-not_before", "valid datetime"),
    ({"link_kind": "blocks", "link_ticket": "MC-99"}, "", "There is no ticket MC-99."),
    ({"link_kind": "eats", "link_ticket": "MC-1"}, "", "Input should be"),
    ({"tags": "c_lour"}, "", "tags"),
]


def test_what_is_wrong_stands_beside_its_field_and_keeps_what_was_typed(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "First"})
    for fields, name, words in REFUSALS:
        answer = post(browser, **{"description": "A <thought>"} | fields)
        page = answer.get_data(as_text=True)
        assert answer.status_code in (404, 422) and words in page and "A &lt;thought&gt;" in page, fields
        assert f'id="{name}-error"' in page or f'id="{name}-help"' in page or not name, fields
        assert newest(operator)["identifier"] == "MC-1", fields


def test_the_line_counts_before_the_fields_of_the_form(browser: FlaskClient, operator: Api) -> None:
    line = {"one_line": "1", "title": "Write #bug a letter @me !low #odd due 2999-03-04", "plain": ["#odd"]}
    post(browser, assigned_to="codex", priority="high", tags=["infra"], **line)
    ticket = newest(operator)
    assert (ticket["title"], ticket["assigned_to"], ticket["priority"]) == ("Write a letter #odd", "operator", "low")
    assert (sorted(ticket["tags"]), ticket["expected_check_in"]) == (["bug", "infra"], "2999-03-04T23:59:00.000000Z")
    post(browser, title="Read #bug @me")
    assert newest(operator)["title"] == "Read #bug @me", "only a line is parsed"
    refused = post(browser, one_line="1", title="#bug @me")
    assert refused.status_code == 422 and 'value="#bug @me"' in refused.text and "must not be empty" in refused.text
    chips = text(browser, "/ticket/new/line?title=Ask+%40nobody+tomorrow&assigned_to=codex&plain=x")
    assert all(words in chips for words in ("“@nobody” is no member of the team", "Starts ", "Codex", 'value="x"'))


def test_relationships_are_said_from_either_end(browser: FlaskClient, operator: Api) -> None:
    for title in ("First", "Second"):
        operator.post("/tickets", {"title": title})
    kinds, tickets = ["blocked_by", "child_of", "blocks"], ["MC-1", "mc-2", " "]
    holder = {"campaign_owner": "script"}
    assert post(browser, link_kind=kinds, link_ticket=tickets, **holder).location == "/ticket/MC-3"
    assert newest(operator)["campaign_owner"] == "script"
    links: Any = operator.get("/tickets/MC-3/relationships").json
    assert [(link["words"], link["ticket"]) for link in links["items"]] == [
        ("blocked by", "MC-1"),
        ("child of", "MC-2"),
    ]
    gates: Any = operator.get("/tickets/MC-3/runnable").json
    assert {gate["name"]: gate["ok"] for gate in gates["gates"]}["dependencies"] is False
    twice = post(browser, link_kind=["blocks", "blocks"], link_ticket=["MC-1", "MC-1"])
    assert twice.status_code == 409 and "already have this relationship" in twice.get_data(as_text=True)
    assert newest(operator)["identifier"] == "MC-3"


def test_files_come_with_the_ticket_or_neither_does(browser: FlaskClient, operator: Api, settings: Settings) -> None:
    def files(*contents: tuple[bytes, str]) -> list[Any]:
        return [(io.BytesIO(content), name) for content, name in contents]

    assert post(browser, files=files((b"one", "one.txt"), (b"two", "two.txt"))).status_code == 303
    listed: Any = operator.get("/tickets/MC-1/attachments").json
    assert [row["name"] for row in listed["items"]] == ["one.txt", "two.txt"]
    stored_files = sorted(Path(settings.attachments_dir).iterdir())
    empty = post(browser, files=files((b"three", "three.txt"), (b"", "four.txt")))
    assert empty.status_code == 422 and "four.txt: The file is empty" in empty.get_data(as_text=True)
    wrong = post(browser, files=files((b"five", "five.txt")), link_kind="blocks", link_ticket="MC-99")
    assert wrong.status_code == 422
    assert sorted(Path(settings.attachments_dir).iterdir()) == stored_files
    assert newest(operator)["identifier"] == "MC-1"


def test_the_owner_is_chosen_knowing_what_each_is_good_for(browser: FlaskClient, operator: Api, store: Engine) -> None:
    program_fields = {"path": "/usr/bin/x", "version": "1", "checked": now(), "host": "here"}
    with writing(store) as session:
        session.add(
            Program(name="codex", found=True, logged_in=False, advice="Log in with codex login.", **program_fields)
        )
        session.add(Program(name="claude", found=False, logged_in=None, advice="", **program_fields))
        session.execute(update(Agent).where(Agent.name == "script").values(capacity=3))
    body = text(browser, "/ticket/new")
    for words in ("Script agent: available, 0 of 3 busy", "Codex: not logged in", "Claude Code: claude is not found"):
        assert words in body
    assert "Operator: a person" in body
    assert body.index("Script agent: available") < body.index("Codex: not logged in")


def test_the_form_begins_with_what_the_board_is_narrowed_to(browser: FlaskClient) -> None:
    body = text(browser, "/ticket/new?query=tag%3Dbug%26priority%3Dhigh%26assigned_to%3Dcodex%26view%3Dlist")
    assert 'value="bug" checked' in body and '<option value="high" selected>' in body
    assert '<option value="codex" selected>' in body


def test_the_next_ticket_begins_like_the_last(browser: FlaskClient) -> None:
    answer = post(browser, then="another", priority="urgent", status="inbox", description="Gone")
    body = browser.get(answer.location).get_data(as_text=True)
    assert "MC-1 was created." in body and '<option value="urgent" selected>' in body
    assert 'value="inbox" checked' in body and "Gone" not in body


def test_programs_name_relationships_with_the_ticket(operator: Api) -> None:
    operator.post("/tickets", {"title": "First"})
    ticket_json: Any = operator.post(
        "/tickets", {"title": "Second", "relationships": [{"kind": "duplicated_by", "ticket": "MC-1"}]}
    ).json
    links: Any = operator.get("/tickets/MC-1/relationships").json
    assert [(link["words"], link["ticket"]) for link in links["items"]] == [("duplicate of", ticket_json["identifier"])]


def test_a_ticket_begins_with_the_phases_that_were_ticked(browser: FlaskClient, operator: Api) -> None:
    dev = {
        "phase-0-on": "1",
        "phase-0-name": "Dev",
        "phase-0-place": "2",
        "phase-0-agent": "script",
        "phase-0-end": "checks",
    }
    qa = {
        "phase-1-on": "1",
        "phase-1-name": "QA",
        "phase-1-place": "1",
        "phase-1-agent": "codex",
        "phase-1-end": "person",
    }
    post(browser, **dev, **qa)
    assert (newest(operator)["phase"], newest(operator)["assigned_to"], newest(operator)["gate"]) == (
        "QA",
        "codex",
        "person",
    )
    answer = post(browser, **dev | {"phase-0-agent": "nobody"})
    body = answer.get_data(as_text=True)
    assert (
        answer.status_code == 422 and "no member of the team" in body and 'name="phase-0-on" value="1" checked' in body
    )


def test_a_conversation_is_forked_from_the_ticket_that_holds_it(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    operator.post("/tickets", {"title": "First", "assigned_to": "claude"})
    assert "Fork the conversation" not in text(browser, "/ticket/MC-1")
    begin(store, 1, "c-1", config_dir="/runs/1/config")
    page = text(browser, "/ticket/MC-1")
    link = unescape(page[: page.index(">Fork the conversation<")].rpartition('href="')[2].partition('"')[0])
    form = text(browser, link)
    assert '<option value="fork_of" selected>' in form and '<option value="claude" selected>' in form
    assert post(browser, link_kind="fork_of", link_ticket="MC-1", assigned_to="claude").location == "/ticket/MC-2"
    assert "fork of" in text(browser, "/ticket/MC-2") and "forked as" in text(browser, "/ticket/MC-1")


def test_several_agents_try_one_wish_and_its_page_compares_them(
    browser: FlaskClient, operator: Api, orchestrator: Api
) -> None:
    refusal = post(browser, attempts=["script"])
    assert refusal.status_code == 422 and "Choose two or three agents." in text_of(refusal)
    assert "Choose Now as the start." in text_of(post(browser, attempts=["script", "codex"], status="inbox"))
    assert newest(operator) is None, "a refused form creates nothing"
    assert post(browser, attempts=["script", "codex"], assigned_to="claude").location == "/ticket/MC-1"
    page = text(browser, "/ticket/MC-1")
    assert page.count("Keep this attempt") == 2 and "Compare its attempts and keep one" in page
    assert "Try with several agents" not in page.split("<main")[1].split("Relationships")[0]
    assert 'Attempt at <a href="/ticket/MC-1">' in text(browser, "/ticket/MC-2")
    rows = operator.get("/tickets/MC-2/attempts").get_json()["items"]
    assert [(row["ticket"], row["agent"], row["status"], row["check"]) for row in rows] == [
        ("MC-2", "script", "todo", None),
        ("MC-3", "codex", "todo", None),
    ]
    assert orchestrator.post("/tickets/MC-3/keep").status_code == 403
    form: dict[str, Any] = {"csrf": csrf_token(browser)}
    assert browser.post("/ticket/MC-3/keep", data=form, headers=OWN_PAGE).location == "/ticket/MC-3"
    assert "MC-3 was kept. MC-2 cancelled; the branches stay." in text(browser, "/ticket/MC-3")
    assert operator.get("/tickets/MC-2").get_json()["status"] == "cancelled"

    post(browser, assigned_to="")
    assert "Try with several agents" in text(browser, "/ticket/MC-4")
    assert "Claude Code" in text(browser, "/ticket/MC-4/attempts")
    again = browser.post("/ticket/MC-4/attempts", data=form | {"attempts": ["script"]}, headers=OWN_PAGE)
    assert again.status_code == 422 and "Choose two or three agents." in text_of(again)
    form |= {"attempts": ["script", "claude"]}
    assert browser.post("/ticket/MC-4/attempts", data=form, headers=OWN_PAGE).location == "/ticket/MC-4"
    assert operator.post("/tickets/MC-4/attempts", {"agents": ["script", "codex"]}).status_code == 409
