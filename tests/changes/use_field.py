"""Use a ticket's `reference`, which `field.patch` adds, wherever a field appears; print each place as JSON.

Runs in a copy of the tree to which the patch was applied; its argument is an empty folder for the home.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

import auth
import migrations
from app import create_app
from database import writing
from mc_cli import main
from models import Scope
from settings import Settings
from tickets.operations import tokens
from tickets.shared.actors import Actor


def use_field(home: Path) -> dict[str, Any]:
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'mc.db'}")
    migrations.upgrade_store(settings.database_url, home)
    app = create_app(settings)
    engine = app.extensions["mission_control"].engine
    token = issue_token(engine)
    created = call(app, token, "POST", "/tickets", {"title": "Look", "reference": "X-1"})
    browser = log_in(app, engine)
    places = {
        "side panel": browser.get("/ticket/MC-1/part/side").text,
        "edit form": browser.get("/ticket/MC-1/edit/reference").text,
        "form of a new ticket": browser.get("/ticket/new").text,
        "command line": CliRunner().invoke(main, ["ticket", "create", "--help"]).output,
    }
    edited = call(app, token, "PATCH", "/tickets/MC-1", {"version": 1, "reference": None})
    return places | {"created": created, "edited": edited, "activity": browser.get("/activity").text}


def issue_token(engine: Engine) -> str:
    with writing(engine) as session:
        return tokens.issue_token(session, tokens.NewToken(name="alice", scope=Scope.OPERATOR), Actor.system("test"))[1]


def log_in(app: Flask, engine: Engine) -> FlaskClient:
    with writing(engine) as session:
        secret = tokens.log_in_by_link(session, tokens.issue_login_link(session), "a test", 1)
    client = app.test_client()
    client.set_cookie(auth.get_cookie_name(app.extensions["mission_control"].settings), secret)
    return client


def call(app: Flask, token: str, method: str, path: str, body: dict[str, Any]) -> Any:
    headers = {"Authorization": f"Bearer {token}"}
    return app.test_client().open(f"/api/v1{path}", method=method, json=body, headers=headers).json


if __name__ == "__main__":
    print(json.dumps(use_field(Path(sys.argv[1]))))
