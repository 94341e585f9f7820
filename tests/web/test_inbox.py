"""The orchestrator's inbox for programs and on its page."""

from __future__ import annotations

from flask.testing import FlaskClient

from .conftest import OWN_PAGE, Api, csrf_token


def test_an_item_is_filed_delivered_and_acted_on(operator: Api, orchestrator: Api, viewer: Api) -> None:
    operator.post("/tickets", {"title": "Fix it"})
    response = operator.post("/inbox", {"kind": "finding", "title": "MC-1 stands still", "ticket": "MC-1"})
    item = response.get_json()
    assert (response.status_code, item["state"], item["ticket"]) == (201, "pending", "MC-1")
    assert viewer.post(f"/inbox/{item['id']}/deliver", None).status_code == 403

    delivered = orchestrator.post(f"/inbox/{item['id']}/deliver", None).get_json()
    assert (delivered["state"], delivered["deliveries"]) == ("delivered", 1) and delivered["lease_until"]
    assert orchestrator.post(f"/inbox/{item['id']}/act", {"action": {"type": "none"}}).status_code == 422
    action = {"type": "comment", "body": "It waits for **MC-2**."}
    answer = orchestrator.post(f"/inbox/{item['id']}/act", {"action": action})
    assert (answer.status_code, answer.get_json()["state"]) == (200, "acted")
    assert orchestrator.post(f"/inbox/{item['id']}/fail", {"reason": "late"}).status_code == 409
    states = {state: viewer.get(f"/inbox?state={state}").get_json()["items"] for state in ("pending", "acted")}
    assert states["pending"] == [] and [row["action"]["type"] for row in states["acted"]] == ["comment"]


def test_a_person_settles_items_on_the_page(operator: Api, browser: FlaskClient) -> None:
    for title in ("One <b>", "Two"):
        operator.post("/inbox", {"kind": "finding", "title": title, "body": "Its log ends in an error."})
    page = browser.get("/inbox").text
    assert "One &lt;b&gt;" in page and "Its log ends in an error." in page
    fields = {"csrf": csrf_token(browser), "reason": "It is known."}
    for number, order, note in ((1, "act", "settled without an action"), (2, "fail", "marked as failed")):
        done = browser.post(f"/inbox/{number}/{order}", data=fields, headers=OWN_PAGE, follow_redirects=True)
        assert note in done.text
    assert "Nothing is pending" in done.text and "No action: It is known." in done.text
    refusal = browser.post("/inbox/1/fail", data=fields, headers=OWN_PAGE, follow_redirects=True)
    assert "already ended as acted" in refusal.text
