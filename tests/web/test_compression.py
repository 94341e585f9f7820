"""Pages are compressed, except those whose length would disclose a secret."""

from __future__ import annotations

import gzip

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import auth

from .conftest import OWN_PAGE, Api, Worker, csrf_token

ACCEPTING = {"Accept-Encoding": "gzip"}


def get_encoding(answer: TestResponse) -> str | None:
    return answer.headers.get("Content-Encoding")


def test_pages_and_their_parts_are_compressed_for_who_takes_it(browser: FlaskClient, worker: Worker) -> None:
    for path in ("/", "/board", f"/ticket/{worker.ticket}", "/board/column/in_progress"):
        plain, compressed = browser.get(path), browser.get(path, headers=ACCEPTING)
        assert (get_encoding(plain), get_encoding(compressed)) == (None, "gzip"), path
        assert len(gzip.decompress(compressed.data)) > 2 * len(compressed.data), path
        assert all("Accept-Encoding" in answer.headers["Vary"] for answer in (plain, compressed)), path
    for algorithm in ("br", "zstd"):
        assert get_encoding(browser.get("/board", headers={"Accept-Encoding": algorithm})) == algorithm
    assert get_encoding(browser.get("/board", headers={"Accept-Encoding": "gzip;q=0"})) is None


def test_what_shows_a_secret_is_never_compressed(app: Flask, browser: FlaskClient, operator: Api) -> None:
    form = {"csrf": csrf_token(browser), "name": "laptop", "scope": "viewer", "days": "7"}
    issued = browser.post("/settings/tokens", data=form, headers=OWN_PAGE | ACCEPTING)
    assert "mc_" in issued.text
    answers = [issued, *(browser.get(path, headers=ACCEPTING) for path in ("/settings", "/login", "/drafts"))]
    answers += [app.test_client().get("/offline", headers=ACCEPTING), operator.get("/stream", headers=ACCEPTING)]
    assert [get_encoding(answer) for answer in answers] == [None] * len(answers)
    answers[-1].close()


def test_an_answer_that_sets_a_cookie_is_not_compressed(browser: FlaskClient, operator: Api) -> None:
    operator.post("/tickets", {"title": "One"})
    choosing, chosen = (browser.get("/board?view=lanes", headers=ACCEPTING) for _ in range(2))
    assert ("Set-Cookie" in choosing.headers, get_encoding(choosing)) == (True, None)
    assert ("Set-Cookie" in chosen.headers, get_encoding(chosen)) == (False, "gzip")
    form = {"csrf": csrf_token(browser), "title": "Two", "status": "inbox"}
    added = browser.post("/board/quick", data=form, headers=OWN_PAGE | ACCEPTING, follow_redirects=True)
    assert "MC-2 was added." in added.text and "Set-Cookie" in added.headers and get_encoding(added) is None


@pytest.mark.parametrize("is_weak", [True, False])
def test_the_etag_of_what_is_compressed_is_weak(app: Flask, browser: FlaskClient, is_weak: bool) -> None:
    cookie = browser.get_cookie(auth.get_cookie_name(app.extensions["mission_control"].settings))
    assert cookie is not None
    headers = {"Cookie": f"{cookie.key}={cookie.value}", **ACCEPTING}
    address = f"http://{app.extensions['mission_control'].secret_host}"
    with app.test_request_context("/board", headers=headers, base_url=address):
        assert app.preprocess_request() is None
        answer = Response("a page " * 200, mimetype="text/html")
        answer.set_etag("1", weak=is_weak)
        answer = app.process_response(answer)
        assert (answer.get_etag(), answer.headers["Content-Encoding"]) == (("1", True), "gzip")
