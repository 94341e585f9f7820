"""The forms of a ticket's page, as a browser without scripts sends them: what they do, and what they keep when refused."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, update
from werkzeug.test import TestResponse

import auth
from database import reading, writing
from models import Ticket
from settings import Settings
from tests.test_pictures import png
from tickets.conversation import attachments, context
from tickets.lifecycle.schemas import build_ticket_json
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.team import projects
from tickets.workflow import relationships

from .conftest import OWN_PAGE, Api, csrf_token, start
from .test_attachments import stored

PICTURE = png(640, 480)
PAGE = "/ticket/MC-1"
SEALED = "default-src 'none'"


@pytest.fixture(autouse=True)
def ticket(operator: Api) -> None:
    """MC-1, with something of everything, and MC-2."""
    acceptance = [{"text": "It greets"}, {"text": "It is tested", "met": True}]
    operator.post("/tickets", {"title": "Look", "description": "As it is", "tags": ["bug"], "acceptance": acceptance})
    operator.post("/tickets", {"title": "Look again"})


def now(store: Engine) -> dict[str, Any]:
    with reading(store) as session:
        return build_ticket_json(session, [lookup.get_ticket(session, "MC-1")])[0]


def text(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


def send(browser: FlaskClient, path: str, /, **fields: Any) -> TestResponse:
    body = {"csrf": csrf_token(browser), **fields}
    return browser.post(PAGE + path, data=body, headers=OWN_PAGE)


def move(app: Flask, zone: str) -> None:
    """The settings name another zone."""
    instance: auth.Instance = app.extensions["mission_control"]
    there = instance.settings.model_copy(update={"timezone": zone})
    app.extensions["mission_control"] = replace(instance, settings=there)


def sign_of(browser: FlaskClient, name: str, page: str = PAGE) -> str:
    """The sign that the form of a field carries on the page."""
    form = text(browser, page).split(f'action="{PAGE}/edit/{name}"')[1]
    return str(re.findall(r'name="sign" value="(\w+)"', form)[0])


# -------------------------------------------------------------------------------------------------------------- fields


EDITS: list[tuple[str, Any, Any]] = [
    ("title", " Look closely ", "Look closely"),
    ("description", "Line\r\n\r\nline", "Line\n\nline"),
    ("priority", "urgent", "urgent"),
    ("assigned_to", "codex", "codex"),
    ("assigned_to", "", None),
    ("campaign_owner", "operator", "operator"),
    ("project", "site", "site"),
    ("gate", "checks", "checks"),
    ("tags", ["infra", "review"], ["infra", "review"]),
    ("not_before", "2030-07-01T09:30", "2030-07-01T07:30:00.000000Z"),
    ("expected_check_in", "2030-01-01T09:30", "2030-01-01T08:30:00.000000Z"),
    ("expected_check_in", "", None),
    ("archived", "yes", True),
]


def test_every_field_is_edited_by_its_own_form(browser: FlaskClient, app: Flask, store: Engine) -> None:
    move(app, "Europe/Berlin")
    with writing(store) as session:
        projects.add_project(session, projects.NewProject(slug="site", name="Site", folder="/srv/site"), Actor.human())
    for name, sent_value, expected in EDITS:
        answer = send(browser, f"/edit/{name}", **{name: sent_value}, sign=sign_of(browser, name))
        assert (answer.status_code, answer.headers["Location"]) == (303, PAGE), (name, answer.get_data(as_text=True))
        assert now(store)[name] == expected, name


def test_a_form_shows_a_moment_in_the_zone_in_which_it_reads_it(
    browser: FlaskClient, app: Flask, operator: Api
) -> None:
    move(app, "Asia/Tokyo")
    operator.patch("/tickets/MC-1", {"version": 1, "not_before": "2030-07-01T00:30:00Z"})
    assert 'value="2030-07-01T09:30"' in text(browser, PAGE)


def test_a_stale_edit_keeps_both_texts_and_says_whose_the_other_is(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    sign = sign_of(browser, "description")
    operator.patch("/tickets/MC-1", {"version": 1, "description": "As <others> want it"})
    answer = send(browser, "/edit/description", description="As I want it", sign=sign)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "the-operator changed the description while you were editing" in page
    assert "As &lt;others&gt; want it" in page and "As I want it</textarea>" in page
    assert now(store)["description"] == "As <others> want it"
    [new_sign] = re.findall(r'name="sign" value="(\w+)"', page)
    assert send(browser, "/edit/description", description="As I want it", sign=new_sign).status_code == 303
    assert now(store)["description"] == "As I want it"


def test_an_edit_is_not_in_the_way_of_an_edit_elsewhere(browser: FlaskClient, operator: Api, store: Engine) -> None:
    sign = sign_of(browser, "title")
    operator.patch("/tickets/MC-1", {"version": 1, "priority": "low"})
    assert send(browser, "/edit/title", title="Look up", sign=sign).status_code == 303
    assert (now(store)["title"], now(store)["priority"]) == ("Look up", "low")


def test_what_is_not_valid_is_kept_for_correction(browser: FlaskClient, store: Engine) -> None:
    before = now(store)
    wrong: list[tuple[str, Any]] = [
        ("title", ""),
        ("title", "x" * 201),
        ("priority", "highest"),
        ("assigned_to", "nobody-known"),
        ("project", "nowhere"),
        ("tags", ["Two_words"]),
        ("gate", ""),
        ("not_before", "soon"),
    ]
    for name, sent_value in wrong:
        answer = send(browser, f"/edit/{name}", **{name: sent_value}, sign=sign_of(browser, name))
        page = answer.get_data(as_text=True)
        assert answer.status_code in (404, 422) and "data-problem" in page, (name, sent_value)
        if name in ("title", "not_before"):
            assert f'value="{sent_value}"' in page, (name, sent_value)
        assert now(store) == before, (name, sent_value)


def test_a_preview_is_drawn_as_markdown_and_nothing_is_saved(browser: FlaskClient, store: Engine) -> None:
    sign = sign_of(browser, "description")
    typed = "**Bold** <script>alert(1)</script>"
    page = send(browser, "/edit/description", description=typed, sign=sign, preview="yes").get_data(as_text=True)
    assert "<strong>Bold</strong>" in page and "<script>alert" not in page and html.escape(typed, quote=False) in page
    assert f'name="sign" value="{sign}"' in page
    assert now(store)["description"] == "As it is"


def test_only_what_is_written_in_markdown_is_previewed(browser: FlaskClient) -> None:
    for name, sent_value in (("tags", "bug"), ("title", "x"), ("archived", "yes")):
        sign = sign_of(browser, name)
        assert send(browser, f"/edit/{name}", **{name: sent_value}, sign=sign, preview="yes").status_code == 303, name


def test_a_field_that_is_not_there_is_not_found(browser: FlaskClient) -> None:
    for name in ("status", "version", "nothing"):
        assert browser.get(f"{PAGE}/edit/{name}").status_code == 404
        assert send(browser, f"/edit/{name}", **{name: "x"}).status_code == 404
    assert browser.get("/ticket/MC-99/edit/title").status_code == 404
    assert browser.get(f"{PAGE}/edit/title").status_code == 200


# ---------------------------------------------------------------------------------------------------------- acceptance


def test_items_are_added_said_differently_ticked_and_removed(browser: FlaskClient, store: Engine) -> None:
    send(browser, "/acceptance/add", text="It is told")
    send(browser, "/acceptance/0", item="It greets", text="It greets politely")
    items = ["It greets politely", "It is tested", "It is told"]
    send(browser, "/acceptance", item=items, was=["1"], met=["0", "2"])
    send(browser, "/acceptance/1", item="It is tested", text="It is tested", remove="yes")
    assert now(store)["acceptance"] == [
        {"text": "It greets politely", "met": True},
        {"text": "It is told", "met": True},
    ]


def test_a_tick_leaves_what_others_ticked_meanwhile(browser: FlaskClient, operator: Api, store: Engine) -> None:
    items = ["It greets", "It is tested"]
    met = [{"text": "It greets", "met": True}, {"text": "It is tested", "met": True}]
    operator.patch("/tickets/MC-1", {"version": 1, "acceptance": met})
    send(browser, "/acceptance", item=items, was=["1"], met=[])
    assert [item["met"] for item in now(store)["acceptance"]] == [True, False]


def test_an_item_that_is_gone_keeps_what_was_typed(browser: FlaskClient, operator: Api) -> None:
    operator.patch("/tickets/MC-1", {"version": 1, "acceptance": []})
    answer = send(browser, "/acceptance/0", item="It greets", text="It greets <twice>")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "is no longer on the list" in page
    assert 'value="It greets &lt;twice&gt;"' in page


def test_an_item_needs_words_and_a_list_has_an_end(browser: FlaskClient, operator: Api) -> None:
    empty = send(browser, "/acceptance/add", text="  ")
    assert empty.status_code == 422 and "must not be empty" in empty.get_data(as_text=True)
    operator.patch("/tickets/MC-1", {"version": 1, "acceptance": [{"text": f"Item {n}"} for n in range(50)]})
    assert send(browser, "/acceptance/add", text="One more").status_code == 422


# ----------------------------------------------------------------------------------------- relationships and context


def test_a_ticket_is_related_in_the_words_of_either_end(browser: FlaskClient, store: Engine) -> None:
    assert send(browser, "/relationships", kind="blocked_by", ticket=" mc-2 ").status_code == 303
    with reading(store) as session:
        [link] = relationships.list_relations(session, 1)
    assert (link.words, link.identifier) == ("blocked by", "MC-2")
    assert f'action="{PAGE}/relationships/{link.id}/remove"' in text(browser, PAGE)
    assert send(browser, f"/relationships/{link.id}/remove").status_code == 303
    assert send(browser, f"/relationships/{link.id}/remove").status_code == 404


def test_what_cannot_be_related_is_said_in_the_form(browser: FlaskClient) -> None:
    send(browser, "/relationships", kind="blocked_by", ticket="MC-2")
    for kind, other, status, words in (
        ("blocks", "MC-99", 404, "There is no ticket with that identifier."),
        ("blocks", "Look <again>", 404, "There is no ticket with that identifier."),
        ("blocks", "MC-1", 422, "cannot have a relationship with itself"),
        ("blocks", "MC-2", 409, "a cycle of “blocks”"),
        ("likes", "MC-2", 422, "Unknown kind of relationship"),
    ):
        answer = send(browser, "/relationships", kind=kind, ticket=other)
        page = answer.get_data(as_text=True)
        assert answer.status_code == status and words in page, (kind, other)
        assert f'name="ticket" value="{html.escape(other)}"' in page, (kind, other)


def test_context_is_linked_shown_and_unlinked(browser: FlaskClient, store: Engine) -> None:
    tab = f"{PAGE}?tab=context"
    for kind, path, title in (
        ("vault", "notes/plan.md", "The plan"),
        ("url", "https://docs.invalid/x", ""),
        ("url", "http://docs.invalid/y", ""),
    ):
        answer = send(browser, "/context", kind=kind, path=path, title=title, note="Read it")
        assert (answer.status_code, answer.headers["Location"]) == (303, tab)
    page = text(browser, tab)
    assert 'href="https://docs.invalid/x" rel="noopener noreferrer"' in page
    assert 'href="http://docs.invalid/y"' not in page and "http://docs.invalid/y" in page
    assert "- vault: notes/plan.md The plan Read it" in page
    with reading(store) as session:
        first = context.list_context(session, 1)[0].id
    assert send(browser, f"/context/{first}/remove").status_code == 303
    assert "The plan" not in text(browser, tab)


def test_a_link_that_is_refused_keeps_its_words(browser: FlaskClient) -> None:
    for kind, path in (("url", "javascript:alert(1)"), ("file", "../secrets"), ("vault", ""), ("other", "x")):
        answer = send(browser, "/context", kind=kind, path=path, title="A <title>", note="A note")
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422 and 'value="A &lt;title&gt;"' in page, (kind, path)
        assert "A note</textarea>" in page, (kind, path)


# --------------------------------------------------------------------------------------------------------------- files


def attach(browser: FlaskClient, *files: tuple[bytes, str]) -> str:
    uploads = [(io.BytesIO(content), name) for content, name in files]
    return send(browser, "/attachments", file=uploads).headers["Location"]


def rows(store: Engine) -> list[Any]:
    with reading(store) as session:
        return attachments.list_attachments(session, 1)


def test_files_are_attached_by_a_plain_form_and_each_refusal_is_said(
    browser: FlaskClient, store: Engine, settings: Settings
) -> None:
    attach(browser, (PICTURE, "shot.png"), (b"\x7fELF\x00", "program"), (b"A line\n", "check.log"))
    page = text(browser, PAGE)
    assert "program was not attached: A file must be UTF-8 text or one of" in page
    assert [row.name for row in rows(store)] == ["shot.png", "check.log"]
    assert f'<img src="/attachments/{rows(store)[0].id}/preview"' in page
    assert len(stored(settings)) == 2


def test_what_is_told_of_refused_files_fits_a_cookie(browser: FlaskClient) -> None:
    uploads = [(io.BytesIO(b"\x7fELF\x00"), f"{number}{'x' * 3000}") for number in range(20)]
    answer = send(browser, "/attachments", file=uploads)
    assert len(answer.headers["Set-Cookie"]) < 4000
    page = text(browser, PAGE)
    assert page.count("was not attached") == 5 and "15 more were not attached" in page


def test_a_file_is_removed_with_its_content(browser: FlaskClient, store: Engine, settings: Settings) -> None:
    attach(browser, (PICTURE, "shot.png"))
    [row] = rows(store)
    assert (
        browser.post(
            f"/ticket/MC-2/attachments/{row.id}/remove",
            data={"csrf": csrf_token(browser)},
            headers=OWN_PAGE,
        ).status_code
        == 404
    )
    assert send(browser, f"/attachments/{row.id}/remove").status_code == 303
    assert rows(store) == [] and stored(settings) == []


def test_what_is_evidence_stays(
    browser: FlaskClient, app: Flask, operator: Api, store: Engine, settings: Settings
) -> None:
    form = {"file": (io.BytesIO(PICTURE), "proof.png"), "summary": "As it looks now", "item": "0"}
    operator.post("/tickets/MC-1/attachments", data=form)
    [row] = rows(store)
    assert f"/attachments/{row.id}/remove" not in text(browser, PAGE)
    answer = send(browser, f"/attachments/{row.id}/remove")
    assert answer.status_code == 409 and "proof.png is evidence" in answer.get_data(as_text=True)
    assert operator.delete(f"/attachments/{row.id}").status_code == 409
    assert len(stored(settings)) == 1
    body = text(browser, f"{PAGE}?tab=evidence")
    assert f'href="/attachments/{row.id}/preview"' in body and "for item 1" in body


def test_a_picture_is_shown_in_place_and_nothing_else_can_come_of_it(browser: FlaskClient, store: Engine) -> None:
    attach(browser, (PICTURE, "shot.png"))
    answer = browser.get(f"/attachments/{rows(store)[0].id}/preview")
    assert (answer.status_code, answer.mimetype, answer.data) == (200, "image/png", PICTURE)
    assert answer.headers["Content-Disposition"].startswith("inline")
    assert answer.headers["X-Content-Type-Options"] == "nosniff" and answer.headers["Cache-Control"] == "no-store"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith(SEALED) and "script-src" not in policy and "sandbox" in policy


def test_of_a_text_the_first_lines_are_shown_as_text_whatever_it_holds(browser: FlaskClient, store: Engine) -> None:
    page = b"<html><script>alert(1)</script>\n"
    attach(browser, (page + b"line\n" * 1000, "page.html"), (b"\xc3\xbc" * 20_000, "wide.txt"))
    first, second = (browser.get(f"/attachments/{row.id}/preview") for row in rows(store))
    for answer in (first, second):
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"].startswith(SEALED)
        assert answer.get_data(as_text=True).endswith("…\n")
    assert first.get_data(as_text=True).count("\n") == attachments.MAX_PREVIEW_LINES + 2
    assert len(second.data) < attachments.MAX_PREVIEW_BYTES + 10


def test_a_bomb_and_other_kinds_are_only_downloaded(browser: FlaskClient, store: Engine) -> None:
    contents = [png(40_000, 40_000), b"\x89PNG\r\n\x1a\n" + b"\x00" * 40, b"%PDF-1.7", b"PK\x03\x04"]
    attach(browser, *((content, "file") for content in contents))
    for row, content in zip(rows(store), contents, strict=True):
        assert browser.get(f"/attachments/{row.id}/preview").status_code == 404, content[:8]
        assert browser.get(f"/api/v1/attachments/{row.id}").data == content, content[:8]


# -------------------------------------------------------------------------------------------------------------- rights


ROUTES = (
    "/edit/title",
    "/acceptance",
    "/acceptance/add",
    "/acceptance/0",
    "/relationships",
    "/relationships/1/remove",
    "/context",
    "/context/1/remove",
    "/attachments",
    "/attachments/1/remove",
)


def test_no_form_is_taken_from_elsewhere_or_without_its_token(browser: FlaskClient, app: Flask, store: Engine) -> None:
    before, token, elsewhere = now(store), csrf_token(browser), {"Sec-Fetch-Site": "cross-site"}
    for path in (PAGE + route for route in ROUTES):
        assert browser.post(path, data={"csrf": "forged"}, headers=OWN_PAGE).status_code == 403, path
        assert browser.post(path, data={"csrf": token}, headers=elsewhere).status_code == 403, path
        assert app.test_client().post(path, data={"csrf": token}, headers=OWN_PAGE).status_code == 401, path
        assert now(store) == before, path


def test_who_only_looks_changes_nothing_and_is_offered_nothing(viewer: Api, store: Engine) -> None:
    before, client = now(store), viewer.client
    headers = {"Authorization": f"Bearer {viewer.token}"}
    pages = [client.get(PAGE + tab, headers=headers).text for tab in ("", "?tab=evidence", "?tab=context")]
    for path in ROUTES:
        assert client.post(PAGE + path, data={"title": "Mine"}, headers=headers).status_code == 403, path
        assert not [page for page in pages if f'action="{PAGE}{path}"' in page], path
        assert now(store) == before, path
    assert client.get(f"{PAGE}/edit/title", headers=headers).status_code == 403


def test_only_a_person_removes_a_file_over_the_api(
    operator: Api, service: Api, app: Flask, store: Engine, settings: Settings
) -> None:
    run = start(app, store)
    attachment: Any = run.post(f"/tickets/{run.ticket}/attachments", data={"file": (io.BytesIO(PICTURE), "a.png")}).json
    for program in (service, run):
        assert program.delete(f"/attachments/{attachment['id']}").status_code == 403
    assert len(stored(settings)) == 1
    assert operator.delete(f"/attachments/{attachment['id']}").status_code == 204
    assert operator.delete(f"/attachments/{attachment['id']}").status_code == 404
    logged: Any = operator.get(f"/tickets/{run.ticket}/events").json
    last = logged["items"][-1]
    assert (last["event_type"], last["payload"]) == (
        "attachment_removed",
        {"attachment": attachment["id"], "name": "a.png"},
    )
    assert stored(settings) == []


def test_the_page_keeps_its_number_of_queries(browser: FlaskClient, store: Engine) -> None:
    def queries() -> int:
        statements: list[str] = []
        listen = ("before_cursor_execute", lambda *sign: statements.append(sign[2]))
        event.listen(store, *listen)
        for name in ("side", "evidence", "context"):
            text(browser, f"{PAGE}/part/{name}")
        event.remove(store, *listen)
        return len(statements)

    attach(browser, (PICTURE, "a.png"))
    send(browser, "/relationships", kind="blocks", ticket="MC-2")
    send(browser, "/context", kind="vault", path="a.md")
    few = queries()
    attach(browser, *((PICTURE, f"{number}.png") for number in range(5)))
    for kind in ("relates_to", "causes"):
        send(browser, "/relationships", kind=kind, ticket="MC-2")
    send(browser, "/context", kind="vault", path="b.md")
    assert queries() == few


def test_the_resume_after_a_usage_limit_is_shown_with_its_time_and_can_be_cancelled(
    browser: FlaskClient, operator: Api, store: Engine
) -> None:
    send(browser, "/move", move="park", wake_kind="manual", version=now(store)["version"])
    with writing(store) as session:
        moment = datetime(2099, 11, 21, 12, tzinfo=UTC)
        session.execute(update(Ticket).values(wake={"kind": "usage_reset", "at": moment.isoformat()}, wake_at=moment))
    assert "data-resumes" in text(browser, "/board/column/waiting"), "from which the card's menu is built"
    assert 'datetime="2099-11-21T12:00:00' in text(browser, PAGE)

    assert send(browser, "/move", move="park", version=now(store)["version"]).status_code == 303

    assert now(store)["status"] == "waiting" and now(store)["wake"] == {"kind": "manual"}
    assert "Cancel resume" not in text(browser, PAGE) and "data-resumes" not in text(browser, "/board/column/waiting")
