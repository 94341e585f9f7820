"""What a ticket's page shows of its runs, its evidence, its past and its routing, and to whom."""

from __future__ import annotations

import io
import re
import socket
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, update

from database import reading, writing
from models import Run
from settings import Settings
from tickets.lifecycle import transitions
from tickets.operations import home_state
from tickets.runs import claims, ingest
from tickets.runs.run_configuration import RunConfiguration
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.team.projects import TrustState
from tickets.workflow import evidence, quarantine

from .conftest import OWN_PAGE, Api, Worker, csrf_token, start

CHECK = {"argv": ["make", "test"], "exit_code": 2, "seconds": 4.0, "sha256": "ab", "tail": "FAILED test_rename"}
SEEN = {"commits": [{"sha": "a" * 40, "subject": "Rename"}], "files_changed": 1, "check": CHECK}


def page(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return answer.get_data(as_text=True)


def end(worker: Worker, **report: Any) -> None:
    assert worker.post(f"/runs/{worker.run}/report", report).status_code == 200


def test_a_run_whose_files_are_gone_says_so(
    browser: FlaskClient, store: Engine, worker: Worker, settings: Settings
) -> None:
    """Regression: nothing told that the folder `runs` of a home had been deleted."""
    event = {"event_type": "agent.coordination", "payload": {"state": "ready"}, "run_seq": 1}
    assert worker.post(f"/tickets/{worker.ticket}/events", [event]).status_code == 200
    host, path = socket.gethostname(), f"/ticket/{worker.ticket}?tab=runs&run={worker.run}"
    with writing(store) as session:
        session.execute(update(Run).values(host=host))

    body = page(browser, path)
    with reading(store) as session:
        run_ids = home_state.find_runs_without_files(session, settings.runs_dir, host, 30)
        elsewhere = home_state.find_runs_without_files(session, settings.runs_dir, "elsewhere", 30)
        expired = home_state.find_runs_without_files(session, settings.runs_dir, host, 0)

    assert "The files of this run are no longer on this machine." in body
    assert (run_ids, elsewhere, expired) == ([worker.run], [], [])
    problem, _ = home_state.describe_missing_files(run_ids, settings.runs_dir)
    assert f"gone from {settings.runs_dir}: {worker.run}. " in problem
    settings.run_path(worker.run).mkdir(parents=True)
    assert "no longer on this machine" not in page(browser, path)
    with reading(store) as session:
        assert home_state.find_runs_without_files(session, settings.runs_dir, host, 30) == []


def test_a_run_is_opened_with_how_it_went_and_what_it_left(browser: FlaskClient, store: Engine, worker: Worker) -> None:
    usage = {"input_tokens": 5000, "cache_read_tokens": 70_000, "cost_usd": 0.5, "turns": 3}
    statuses = [{"state": "restarting"}, {"state": "ready", "version": "2.0.0"}]
    events = [
        {"event_type": "agent.coordination", "payload": payload, "run_seq": seq}
        for seq, payload in enumerate(statuses, 1)
    ]
    worker.post(f"/tickets/{worker.ticket}/events", events)
    end(worker, verdict="failed", summary="No luck.", usage=usage, terminal={"root_cause": "Bad luck."})
    body = page(browser, f"/ticket/{worker.ticket}?tab=runs&run={worker.run}")
    for words in (
        "Run 1",
        "Agent failed: No luck.",
        "Bad luck.",
        "attempts are left",
        "70 k",
        "$0.50",
        "mc-coord 2.0.0 (ready)",
    ):
        assert words in body, words
    assert f"?tab=evidence&amp;run={worker.run}" in body and "Stop this run" not in body
    assert "Prompt as sent" not in body
    with writing(store) as session:
        session.execute(update(Run).values(prompt="MC-1: <b>Look</b>", mode="external"))
    body = page(browser, f"/ticket/{worker.ticket}?tab=runs&run={worker.run}")
    assert "Prompt as sent" in body and "MC-1: &lt;b&gt;Look&lt;/b&gt;" in body
    assert "This work runs outside Mission Control" in body


def test_a_run_says_which_configuration_it_took_and_what_it_ignored(
    browser: FlaskClient, store: Engine, worker: Worker
) -> None:
    path = f"/ticket/{worker.ticket}?tab=runs&run={worker.run}"
    assert "Not taken" not in page(browser, path)
    record = RunConfiguration(
        own=("2 MCP servers: a, b", "14 skills"),
        left_out=("3 hooks",),
        trust=TrustState.TRUSTED,
        brought=("Hook: Stop: <b>rm</b>",),
    )
    with writing(store) as session:
        session.execute(update(Run).values(configuration=record.to_json()))
    assert "This run ignored it" not in page(browser, path)
    change = {
        "event_type": "agent.notice",
        "run_seq": 1,
        "payload": {"text": "Changed.", "ignores_configuration": True},
    }
    with writing(store) as session:
        ingest.ingest_events(session, worker.run, [ingest.WorkerEvent.model_validate(change)])
    body = page(browser, path)
    for words in ("2 MCP servers: a, b; 14 skills", "3 hooks", "is not the one that was trusted", "&lt;b&gt;rm"):
        assert words in body, words


def test_the_list_leads_to_each_run_and_a_refresh_stays_with_it(browser: FlaskClient, worker: Worker) -> None:
    listed = page(browser, f"/ticket/{worker.ticket}?tab=runs")
    assert f'href="/ticket/{worker.ticket}?tab=runs&amp;run={worker.run}"' in listed
    run_markup = page(browser, f"/ticket/{worker.ticket}?tab=runs&run={worker.run}")
    assert f'data-live="/ticket/{worker.ticket}/part/runs?run={worker.run}"' in run_markup


@pytest.mark.parametrize("tab", ["runs", "evidence", "changes"])
def test_a_run_of_another_ticket_is_not_found(
    browser: FlaskClient, app: Flask, store: Engine, worker: Worker, tab: str
) -> None:
    other = start(app, store)
    assert browser.get(f"/ticket/{other.ticket}?tab={tab}&run={worker.run}").status_code == 404
    assert browser.get(f"/ticket/{other.ticket}?tab={tab}&run=x").status_code == 422


def test_a_live_run_is_stopped_with_a_reason_by_an_operator_alone(
    browser: FlaskClient, viewer: Api, operator: Api, worker: Worker
) -> None:
    path = f"/ticket/{worker.ticket}?tab=runs&run={worker.run}"
    assert "Stop this run" in page(browser, path)
    headers = {"Authorization": f"Bearer {viewer.token}"}
    assert "Stop this run" not in viewer.client.get(path, headers=headers).get_data(as_text=True)
    form = {"csrf": csrf_token(browser), "reason": "Wrong branch."}
    answer = browser.post(f"/ticket/{worker.ticket}/runs/{worker.run}/stop", data=form, headers=OWN_PAGE)
    assert answer.status_code == 303
    assert operator.get(f"/tickets/{worker.ticket}").get_json()["status"] == "waiting"
    assert "Stop requested (parked)" in page(browser, path)


def test_the_log_of_each_run_is_read_as_text(
    browser: FlaskClient, settings: Settings, app: Flask, store: Engine, worker: Worker
) -> None:
    path = f"/ticket/{worker.ticket}/runs/{worker.run}/log"
    assert browser.get(path).status_code == 404
    folder = settings.run_path(worker.run)
    folder.mkdir(parents=True)
    (folder / f"mc-{worker.ticket}.tmux.log").write_text("<b>one</b>\ntwo\n")
    answer = browser.get(path)
    assert (answer.mimetype, answer.get_data(as_text=True)) == ("text/plain", "<b>one</b>\ntwo\n")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert path in page(browser, f"/ticket/{worker.ticket}?tab=runs&run={worker.run}")


def test_evidence_is_shown_of_any_run_and_items_with_what_names_them(
    browser: FlaskClient, app: Flask, store: Engine
) -> None:
    first = start(app, store, acceptance=[{"text": "It loads."}, {"text": "It is fast."}])
    end(first, verdict="review", claims=[{"kind": "tests", "text": "Seen to load.", "item": 0}])
    with writing(store) as session:
        ticket = lookup.get_ticket(session, first.ticket)
        transitions.transition(session, ticket.id, "request_changes", Actor.human(), body="Faster.")
        again = claims.claim_ticket(session, ticket.id, "here").run
        evidence.record_observations(
            session, again, SEEN | {"check_base": CHECK | {"exit_code": 0, "tail": "all passed"}}
        )
    newest = page(browser, f"/ticket/{first.ticket}?tab=evidence")
    assert "FAILED test_rename" in newest and "It passed before this work: the failure is new" in newest
    assert "Seen to load." in newest and "No evidence yet." in newest
    older = page(browser, f"/ticket/{first.ticket}?tab=evidence&run={first.run}")
    assert "FAILED test_rename" not in older and "for item 1" in older


def test_what_failed_before_the_work_too_is_told_apart(browser: FlaskClient, store: Engine, worker: Worker) -> None:
    with writing(store) as session:
        run = lookup.get_run(session, worker.run)
        evidence.record_observations(session, run, SEEN | {"check_base": CHECK})
    assert "It also failed before this work" in page(browser, f"/ticket/{worker.ticket}?tab=evidence")


def test_an_uploaded_file_is_linked_where_it_is_evidence(browser: FlaskClient, app: Flask, store: Engine) -> None:
    worker = start(app, store, acceptance=[{"text": "It loads."}])
    form = {"file": (io.BytesIO(b"log\n"), "load.log"), "summary": "The log of a load", "item": "0"}
    attachment = worker.call("POST", f"/tickets/{worker.ticket}/attachments", data=form).get_json()
    body = page(browser, f"/ticket/{worker.ticket}/part/evidence")
    assert body.count(f'href="/attachments/{attachment["id"]}/preview"') == 2


def test_the_past_is_shown_by_its_number(browser: FlaskClient, worker: Worker) -> None:
    end(worker, verdict="review", summary="Look.")
    body = page(browser, f"/ticket/{worker.ticket}?tab=events&at=1")
    assert "As it was after event 1" in body and 'data-after="2"' in body
    assert page(browser, f"/ticket/{worker.ticket}/part/replay?at=9999").count("In review") >= 1
    assert browser.get(f"/ticket/{worker.ticket}?tab=events&at=x").status_code == 422


@pytest.mark.both_databases
def test_a_long_log_is_paged_by_what_is_kept(browser: FlaskClient, worker: Worker) -> None:
    lines = [
        {"run_seq": n, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.usage", "payload": {}} for n in range(1, 81)
    ]
    assert worker.post(f"/tickets/{worker.ticket}/events", lines).status_code == 200
    first = page(browser, f"/ticket/{worker.ticket}?tab=events")
    before = re.search(r"before=(\d+)", first)
    assert before is not None and 'id="event-1"' not in first
    assert 'id="event-1"' in page(browser, f"/ticket/{worker.ticket}?tab=events&before={before[1]}")


def test_operators_see_the_routing_the_console_and_what_was_kept_apart(
    browser: FlaskClient, viewer: Api, settings: Settings, store: Engine, worker: Worker
) -> None:
    with writing(store) as session:
        run = lookup.get_run(session, worker.run)
        quarantine.store_payload(session, run, "report", "too late", {"summary": "<script>alert(1)</script>"})
        session.execute(update(Run).values(host=socket.gethostname()))
    folder = settings.run_path(worker.run)
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("{}\n" * 400)
    (folder / "acked").write_text("12")
    (folder / "reported").write_text("409")
    body = page(browser, f"/ticket/{worker.ticket}/operator")
    for words in ("Routing log", "Claim", "bin/mc attach", "script · script/default/default", "12 acknowledged"):
        assert words in body, words
    assert "1.2 kB in 1 file" in body and "Refused (409)" in body
    assert "&lt;script&gt;alert(1)" in body and "<script>alert(1)" not in body
    assert f"/ticket/{worker.ticket}/operator" in page(browser, f"/ticket/{worker.ticket}")
    headers = {"Authorization": f"Bearer {viewer.token}"}
    assert viewer.client.get(f"/ticket/{worker.ticket}/operator", headers=headers).status_code == 403


def test_a_spool_that_an_agent_has_tampered_with_is_not_followed(
    browser: FlaskClient, settings: Settings, store: Engine, worker: Worker
) -> None:
    with writing(store) as session:
        session.execute(update(Run).values(host=socket.gethostname()))
    folder = settings.run_path(worker.run)
    folder.mkdir(parents=True)
    (folder / "events.jsonl").write_text("{}\n")
    (folder / "acked").symlink_to("/etc/hostname")
    assert "0 acknowledged" in page(browser, f"/ticket/{worker.ticket}/operator")


def test_an_item_shows_its_state_and_a_person_sets_it_or_asks_for_a_proof(
    browser: FlaskClient, app: Flask, store: Engine, operator: Api
) -> None:
    worker = start(app, store, acceptance=[{"text": "It greets"}])
    claim = {"text": "It does", "item": 0, "proof": {"kind": "diff", "ref": "src/<a>.py:10"}}
    decision = {"item": 0, "text": "It greets", "state": "verified", "note": "Tried it"}
    assert worker.post(f"/tickets/{worker.ticket}/acceptance", decision).status_code == 403
    assert worker.get(f"/tickets/{worker.ticket}/acceptance").get_json()["items"][0]["state"] == "not_verified"
    end(worker, verdict="review", summary="Look.", claims=[claim])
    address = f"/ticket/{worker.ticket}/acceptance/0"
    form = {"csrf": csrf_token(browser), "item": "It greets"}
    tab = page(browser, f"/ticket/{worker.ticket}?tab=evidence")
    assert (
        f'href="/ticket/{worker.ticket}?tab=changes&amp;run={worker.run}#line=src/%3Ca%3E.py:10">src/&lt;a&gt;.py:10'
        in tab
    )
    assert "</svg>Verified</span>" in tab and "Ask the agent to prove this" in tab
    assert browser.post(f"{address}/judge", data=form | {"state": "gaps"}, headers=OWN_PAGE).status_code == 303
    assert "</svg>With gaps</span>" in page(browser, f"/ticket/{worker.ticket}?tab=evidence")
    [item] = operator.post(f"/tickets/{worker.ticket}/acceptance", decision).get_json()["items"]
    assert (item["state"], item["met"], item["reason"], item["judge"]) == ("verified", True, "Tried it", "the-operator")
    assert browser.post(f"{address}/judge", data=form | {"state": "x"}, headers=OWN_PAGE).status_code == 422
    assert browser.post(f"{address}/prove", data=form, headers=OWN_PAGE).status_code == 303
    assert "Prove acceptance item 0: “It greets”" in page(browser, f"/ticket/{worker.ticket}")
