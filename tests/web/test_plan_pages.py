"""A plan and a checklist on a ticket's page and over the API, and the change of a run's model."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

from models import Run
from tickets.runs import run_detail

from .conftest import OWN_PAGE, Api, Worker, csrf_token, start


def tell(worker: Worker, number: int, kind: str, **payload: Any) -> None:
    line = {"run_seq": number, "ts": "2026-01-01T00:00:00Z", "event_type": f"agent.{kind}", "payload": payload}
    assert worker.post(f"/tickets/{worker.ticket}/events", [line]).status_code == 200


def test_a_plan_is_decided_by_a_person_on_the_page_and_by_nobody_else(
    browser: FlaskClient, operator: Api, viewer: Api, app: Flask, store: Engine
) -> None:
    worker = start(app, store, assigned_to="claude", planning="first")
    home = f"/ticket/{worker.ticket}"
    tell(worker, 1, "plan", request="r-1", text="## Goal\n\nRename <it>.")
    tell(worker, 2, "checklist", items=[{"text": "Read", "state": "done"}, {"text": "Write", "state": "pending"}])

    def decide(**fields: str) -> str:
        form = {"csrf": csrf_token(browser), **fields}
        return browser.post(f"{home}/plan", data=form, headers=OWN_PAGE, follow_redirects=True).get_data(as_text=True)

    page = browser.get(home).get_data(as_text=True)
    for words in ("<h2>Goal</h2>", "Rename &lt;it&gt;.", "Waiting for approval", "Approve as edited", "1 of 2 done"):
        assert words in page, words
    for caller in (worker, viewer):
        for path, body in (("approve", {"version": 1}), ("return", {"version": 1, "comment": "x"})):
            assert caller.post(f"/tickets/{worker.ticket}/plan/{path}", body).status_code == 403
    page = decide(act="save", version="1", body="Rename it twice.\r\n")
    assert "Version 2 by" in page and '<pre class="preformatted">## Goal' in page, "only the newest version is rendered"
    assert "is not the newest plan" in decide(act="approve", version="1")
    page = decide(act="return", version="2", comment="Once is enough.")
    assert "Once is enough." in page and "Approve as edited" not in page

    [newest, first] = operator.get(f"/tickets/{worker.ticket}/plan").get_json()["items"]
    assert (newest["state"], newest["comment"], newest["body"]) == ("returned", "Once is enough.", "Rename it twice.")
    assert (first["state"], first["author_kind"], first["run_id"]) == ("replaced", "run", worker.run)
    answers = worker.post(f"/runs/{worker.run}/heartbeat", {"state": "waiting"}).get_json()["answers"]
    assert [(answer["behavior"], answer["message"]) for answer in answers] == [("deny", "Once is enough.")]


@pytest.mark.parametrize(
    ("total", "done", "earlier", "later"),
    [(2, 1, 0, 0), (5000, 0, 0, 4900), (5000, 3000, 2980, 1920), (5000, 5000, 4900, 0)],
)
def test_a_long_checklist_is_shown_around_its_open_items_with_the_true_counts(
    app: Flask, total: int, done: int, earlier: int, later: int
) -> None:
    """Regression: a list of thousands made a page of 4 MB."""
    items = [{"text": "x" * 9000, "state": "done" if number < done else "pending"} for number in range(total)]
    checklist = run_detail.build_checklist(Run(checklist=items))
    assert checklist
    counts = {"total": total, "done": done, "earlier": earlier, "later": later}
    assert {name: checklist[name] for name in counts} == counts
    assert len(checklist["items"]) == min(total, 100)
    panel = getattr(app.jinja_env.get_template("macros/checklist.html").module, "panel")  # noqa: B009 - mypy knows none
    markup = " ".join(panel(checklist).split())
    assert len(markup) < 100_000 and f"{done} of {total} done" in markup
    assert (f"{earlier} earlier, not shown" in markup, f"{later} more, not shown" in markup) == (earlier > 0, later > 0)


def test_a_model_is_ordered_on_the_runs_page_where_its_program_takes_one(
    browser: FlaskClient, operator: Api, app: Flask, store: Engine
) -> None:
    worker = start(app, store, assigned_to="claude")
    page = f"/ticket/{worker.ticket}?tab=runs&run={worker.run}"
    form = {"csrf": csrf_token(browser), "model": "other-model"}
    browser.post(f"/ticket/{worker.ticket}/runs/{worker.run}/model", data=form, headers=OWN_PAGE)
    assert "requested the model other-model" in browser.get(page).get_data(as_text=True)
    order = worker.post(f"/runs/{worker.run}/heartbeat", {"state": "running"}).get_json()["model"]
    tell(worker, 1, "model", uuid=order["uuid"], model="other-model", ok=True)
    run = operator.get(f"/runs/{worker.run}").get_json()
    assert (run["model"], run["model_order"]) == ("other-model", None)
    assert operator.post(f"/runs/{worker.run}/model", {"model": "--yes"}).status_code == 422
    assert worker.post(f"/runs/{worker.run}/model", {"model": "mine"}).status_code == 403

    script = start(app, store)
    assert operator.post(f"/runs/{script.run}/model", {"model": "other-model"}).status_code == 409
    body = browser.get(f"/ticket/{script.ticket}?tab=runs&run={script.run}").get_data(as_text=True)
    assert "Script does not change its model during a run." in body
