"""What the service worker may keep is a literal list; held against the route table, so that a new page is not kept by chance."""

from __future__ import annotations

import json
import re
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient

from .test_origin_matrix import addresses

WORKER = Path(__file__).parent.parent.parent / "static" / "worker.js"
PAGES = {"/", "/board", "/activity", "/tasks", "/team", "/incidents"}


def read_cacheable_patterns() -> list[re.Pattern[str]]:
    listed = WORKER.read_text("utf-8").split("const CACHEABLE_PATHS = [")[1].split("];")[0]
    return [
        re.compile(line.strip().strip(",").strip("/").replace("\\/", "/"))
        for line in listed.split("\n")
        if line.strip()
    ]


def test_only_the_pages_named_are_kept(app: Flask) -> None:
    paths = {path for _, path in addresses(app, False)}
    assert {path for path in paths if any(pattern.match(path) for pattern in read_cacheable_patterns())} == PAGES
    tickets = {"/ticket/MC-1", "/ticket/MC-1/part/side", "/ticket/new", "/ticket/MC-1/move/block", "/ticket/1"}
    assert {path for path in tickets if any(pattern.match(path) for pattern in read_cacheable_patterns())} == {
        "/ticket/MC-1"
    }


def test_the_worker_knows_the_instance_the_version_and_the_files_that_pages_need(
    app: Flask, browser: FlaskClient
) -> None:
    answer = app.test_client().get("/worker.js")
    site = json.loads(answer.get_data(as_text=True).removeprefix("const SITE = ").split(";\n", 1)[0])
    assets = app.extensions["assets"]
    assert site["instance"] == app.extensions["mission_control"].settings.instance
    assert site["version"] == assets.version and answer.mimetype == "text/javascript"
    page = browser.get("/board").get_data(as_text=True) + browser.get("/offline").get_data(as_text=True)
    required_files = {
        path.split("#")[0]
        for path in re.findall(
            r'<(?:link rel="(?:style|module|pre)[^>]*|script )[^>]*(?:src|href)="(/static/[^"]+)"', page
        )
    }
    assert len(required_files) > 10 and required_files <= set(site["shell"])
    assert not [path for path in site["shell"] if "xterm" in path]
    assert all(app.test_client().get(path).status_code == 200 for path in site["shell"])
