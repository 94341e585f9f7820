"""What pages and programs see of landings: buttons that say what they do, what is under way, and what came of it."""

from __future__ import annotations

import socket
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from database import reading, writing
from models import LandingState, Program, TicketStatus, now
from tests.test_landing import SHA, get, handed_in, pending, project
from tests.test_spine import ALICE
from tickets.lifecycle import transitions
from tickets.runs import landing_results
from tickets.shared import lookup
from tickets.team import projects
from tickets.workflow import branch_states, landing
from tickets.workflow.branch_states import Overlap, TrialResult

from .conftest import OWN_PAGE, Api, csrf_token
from .test_settings_pages import FIELDS, send, text


def page(browser: FlaskClient, query: str = "") -> str:
    return text(browser.get(f"/ticket/MC-1{query}"))


def press(browser: FlaskClient, value: str, **fields: str) -> TestResponse:
    body = {"move": value, "csrf": csrf_token(browser), **fields}
    return browser.post("/ticket/MC-1/move", data=body, headers=OWN_PAGE)


def test_the_button_says_what_will_happen_and_the_menu_has_the_other_ways(browser: FlaskClient, store: Engine) -> None:
    handed_in(store, "leave")
    for policy, label in (
        ("leave", "Approve (no merge)"),
        ("merge", "Approve and merge"),
        ("squash", "Approve and squash"),
        ("push", "Approve and push"),
        ("pull_request", "Approve and open a pull request"),
    ):
        with writing(store) as session:
            project(session, policy)
        button, ticket = f'name="move" value="approve:{policy}">{label}</button>', page(browser)
        assert button in ticket, policy
        missing = [
            way for way in landing.OPTION_LABELS if f'class="item" name="move" value="approve:{way}"' not in ticket
        ]
        assert missing == [policy]
        for path in ("/", "/board"):
            assert f'value="approve:{policy}">{label}' in text(browser.get(path)), (path, policy)


def test_what_has_nothing_to_land_is_just_approved(browser: FlaskClient, store: Engine) -> None:
    handed_in(store, "merge", phases=[{"name": "Dev", "agent": "script"}, {"name": "QA", "agent": "script"}])
    body = page(browser)
    assert 'name="move" value="approve">Approve</button>' in body and "Other ways to approve" not in body


def test_a_decision_that_completes_the_ticket_says_what_becomes_of_the_branch(
    browser: FlaskClient, store: Engine
) -> None:
    ticket_id = handed_in(store, "squash", phases=[{"name": "Dev", "agent": "script", "choices": ["ship", "wait"]}])
    assert "A choice will approve and squash." in page(browser)
    assert press(browser, "approve:squash", choice="ship").status_code == 303
    assert get(store, ticket_id).landing is LandingState.PENDING
    body = page(browser)
    assert "Decided: ship" in body and body.count("Approved by operator; squashing onto main.") >= 2


def test_approval_is_said_while_it_is_carried_out_and_not_offered_again(browser: FlaskClient, store: Engine) -> None:
    ticket_id = handed_in(store, "leave")
    assert press(browser, "approve:merge").status_code == 303
    assert get(store, ticket_id).landing is LandingState.PENDING
    body = page(browser)
    assert "Approved by operator; merging into main." in body and 'value="approve' not in body
    assert "Approved by operator; merging into main." in text(browser.get("/board"))
    again = press(browser, "approve:squash")
    assert again.status_code == 409 and "is already approved" in text(again)


def test_what_failed_is_said_with_its_reason_where_a_person_looks(browser: FlaskClient, store: Engine) -> None:
    ticket_id, plan = pending(store)
    with writing(store) as session:
        landing_results.record_failure(session, ticket_id, plan, "The disk is full. Make room, then approve again.")
    words = "Approved by alice, but not merged into main. The disk is full. Make room, then approve again."
    for path in ("/ticket/MC-1", "/board", "/"):
        assert words in text(browser.get(path)), path
    assert 'value="approve:merge">Approve and merge' in page(browser)


def test_the_form_of_an_approval_that_is_to_be_explained_asks_for_the_way_too(
    browser: FlaskClient, store: Engine
) -> None:
    ticket_id = handed_in(store, "squash", acceptance=[{"text": "It greets by name"}])
    assert "1 acceptance item unmet" in page(browser)
    refusal = press(browser, "approve:squash")
    form = text(browser.get("/ticket/MC-1/move/approve"))
    for markup in (text(refusal), form):
        assert 'value="approve:squash" data-default>Approve and squash anyway' in markup
        assert 'value="approve:leave">' in markup and "It greets by name" in markup
        assert 'name="waive" required' in markup and 'name="choice"' not in markup and 'name="note"' not in markup
    assert refusal.status_code == 409 and press(browser, "approve:merge", waive="Seen.").status_code == 303
    plan = landing.get_plan(get(store, ticket_id))
    assert plan is not None and (plan.policy, plan.waived) == ("merge", "Seen.")
    alone = text(browser.get("/ticket/MC-1/move/park"))
    assert "Branch</label>" not in alone


def test_the_address_of_a_pull_request_is_a_link_only_over_https(browser: FlaskClient, store: Engine) -> None:
    addresses = ("https://github.example/a/pull/5", "javascript:alert(1)", "http://x.example/5")
    for number, address in enumerate(addresses, 1):
        ticket_id, plan = pending(store, "pull_request")
        with writing(store) as session:
            landing_results.record_success(
                session, ticket_id, plan, "Opened a pull request.", {"commit": SHA, "address": address}
            )
        evidence = text(browser.get(f"/ticket/MC-{number}?tab=evidence"))
        for markup in (text(browser.get(f"/ticket/MC-{number}")), evidence):
            assert "Opened a pull request." in markup, address
            assert (f'href="{address}"' in markup) is address.startswith("https://"), address
        assert f"commit: {SHA}" in evidence


def test_programs_approve_and_read_what_becomes_of_it(operator: Api, orchestrator: Api, store: Engine) -> None:
    ticket_id = handed_in(store, "merge")
    answer: Any = orchestrator.post("/tickets/MC-1/moves", {"move": "approve", "landing": "push"})
    assert (answer.status_code, answer.json["error"]) == (403, "forbidden")
    ticket: Any = operator.post("/tickets/MC-1/moves", {"move": "approve", "landing": "squash"}).json
    assert (ticket["status"], ticket["landing"]["state"], ticket["landing"]["policy"]) == (
        "in_review",
        "pending",
        "squash",
    )
    again: Any = operator.post("/tickets/MC-1/moves", {"move": "approve"})
    assert (again.status_code, again.json["error"]) == (409, "landing_pending")
    with writing(store) as session:
        plan = landing.get_plan(get(store, ticket_id))
        assert plan is not None and landing_results.record_failure(session, ticket_id, plan, "No.")
    assert operator.get("/tickets/MC-1").json["landing"]["reason"] == "No."  # type: ignore[index]
    operator.post("/tickets/MC-1/moves", {"move": "request_changes", "body": "Again."})
    assert operator.get("/tickets/MC-1").json["landing"] is None  # type: ignore[index]


def test_a_way_that_does_not_exist_is_refused(browser: FlaskClient, operator: Api, store: Engine) -> None:
    ticket_id = handed_in(store)
    assert press(browser, "approve:fly").status_code == 422
    assert operator.post("/tickets/MC-1/moves", {"move": "approve", "landing": "fly"}).status_code == 422
    assert get(store, ticket_id).status is TicketStatus.IN_REVIEW


def test_the_policy_of_a_project_is_chosen_with_its_help(browser: FlaskClient, operator: Api, store: Engine) -> None:
    with writing(store) as session:
        project(session, "leave")
    form = text(browser.get("/settings/projects/web"))
    assert 'name="landing" value="leave" checked' in form and "asks gh (GitHub) or glab (GitLab)" in form
    fields = {**FIELDS, "folder": "/srv/web", "version": "1", "landing": "squash"}
    assert send(browser, "/settings/projects/web", **fields).status_code == 303
    with reading(store) as session:
        assert projects.get_project(session, "web").landing == "squash"
    assert "Squash and merge when approved" in text(browser.get("/settings"))
    stored: Any = operator.patch("/projects/web", {"version": 2, "landing": "merge"}).json
    assert stored["landing"] == "merge"
    assert operator.patch("/projects/web", {"version": 3, "landing": None}).status_code == 422


def test_the_form_says_that_no_program_can_open_a_pull_request(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        project(session)
        for name in ("gh", "glab"):
            session.add(Program(host=socket.gethostname(), name=name, found=False, checked=now()))
    assert "Neither gh nor glab is installed here" in text(browser.get("/settings/projects/web"))


def test_conflicts_and_overlaps_stand_on_the_card_and_the_review(browser: FlaskClient, store: Engine) -> None:
    ticket_id = handed_in(store, "merge")
    assert "merge-chips" not in text(browser.get("/board"))
    trial = TrialResult(ticket_id, SHA, SHA, "main", SHA, ["src/a.py", "<b>.py"], {"src/a.py": [(9, 20)]})
    with writing(store) as session:
        branch_states.record_trials(session, [trial])
        branch_states.record_overlaps(session, {ticket_id: [Overlap("MC-12", "src/a.py", 10, 20)]})
    for path in ("/board", "/board?view=list", "/ticket/MC-1"):
        markup = text(browser.get(path))
        assert "Conflicts with main</a>" in markup and "Overlaps MC-12</a>" in markup, path
        assert "Conflicts with main in 2 files: src/a.py, &lt;b&gt;.py" in markup and "src/a.py lines 10-20" in markup
    with reading(store) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        note = branch_states.load_notes(session, [ticket])[ticket_id]
    with browser.application.test_request_context():
        merging = browser.application.jinja_env.get_template("macros/merge.html").module
        report = str(merging.report(note))  # type: ignore[attr-defined]
    assert 'href="/ticket/MC-12?tab=changes">MC-12</a> in <code>src/a.py</code> lines 10–20' in report
    with writing(store) as session:
        transitions.transition(session, ticket_id, "approve", ALICE, waive="Seen.", landing="leave")
    assert "merge-chips" not in text(browser.get("/board")), "work that is done conflicts with nothing"
