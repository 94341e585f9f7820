"""Use all recorded changes in a copy of the tree to which they were applied, and print the results as JSON.

The working directory is the copy, `MC_HOME` an empty folder, and `PATH` leads to no program.
"""

from __future__ import annotations

import io
import json
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

import auth
import migrations
import queue_reaper
import settings
from app import create_app
from cli.lifecycle_reference import render_lifecycle
from database import reading, writing
from mc_cli import main
from models import Scope
from tickets.operations import tokens
from tickets.schedule import cron, task_files, tasks
from tickets.shared.actors import Actor
from tickets.team import agents
from tickets.team.profiles import NewProfile
from workers.agents import create_agent, credentials, probe

Results = dict[str, Any]


class Board:
    """The application over a new store, with a client of its API and a browser that is logged in."""

    def __init__(self) -> None:
        self.settings = settings.load()
        migrations.upgrade_store(self.settings.database_url, self.settings.home)
        self.app = create_app(self.settings)
        self.engine: Engine = self.app.extensions["mission_control"].engine
        with writing(self.engine) as session:
            agents.seed_team(session, {})
        self.token = issue_token(self.engine)
        self.browser = log_in(self.app, self.engine)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        return self.app.test_client().open(f"/api/v1{path}", method=method, json=body, headers=headers).json

    def get_page(self, path: str) -> str:
        return self.browser.get(path, base_url=f"http://{self.app.extensions['mission_control'].secret_host}").text


def issue_token(engine: Engine) -> str:
    with writing(engine) as session:
        return tokens.issue_token(session, tokens.NewToken(name="alice", scope=Scope.OPERATOR), Actor.system("test"))[1]


def log_in(app: Flask, engine: Engine) -> FlaskClient:
    with writing(engine) as session:
        secret = tokens.log_in_by_link(session, tokens.issue_login_link(session), "a test", 1)
    client = app.test_client()
    instance: auth.Instance = app.extensions["mission_control"]
    client.set_cookie(auth.get_cookie_name(instance.settings), secret, domain=instance.secret_host)
    return client


def use_field(board: Board) -> Results:
    created = board.call("POST", "/tickets", {"title": "Look", "reference": "X-1"})
    return {
        "created": created,
        "side panel": board.get_page("/ticket/MC-1/part/side"),
        "edit form": board.get_page("/ticket/MC-1/edit/reference"),
        "form of a new ticket": board.get_page("/ticket/new"),
        "command line": CliRunner().invoke(main, ["ticket", "create", "--help"]).output,
        "edited": board.call("PATCH", "/tickets/MC-1", {"version": 1, "reference": None}),
        "activity": board.get_page("/activity"),
    }


def use_gate(board: Board) -> Results:
    board.call("POST", "/tickets", {"title": "Draft: paint it"})
    return {
        "of a draft": board.call("GET", "/tickets/MC-2/runnable"),
        "of another": board.call("GET", "/tickets/MC-1/runnable"),
        "side panel": board.get_page("/ticket/MC-2/part/side"),
    }


def use_move(board: Board) -> Results:
    board.call("POST", "/tickets", {"title": "Wait", "assigned_to": "operator"})
    return {
        "ticket": board.get_page("/ticket/MC-3"),
        "form": board.get_page("/ticket/MC-3/move/defer"),
        "moved": board.call("POST", "/tickets/MC-3/moves", {"move": "defer", "version": 1, "owner": "remove"}),
        "activity": board.get_page("/activity?ticket=MC-3"),
        "reference": render_lifecycle(),
    }


def use_page(board: Board) -> Results:
    queue_reaper.main([])
    return {"page": board.get_page("/store"), "style": board.get_page("/static/x/style.css")}


def use_program(board: Board) -> Results:
    login = Path("home", ".echo", "key")
    login.parent.mkdir(parents=True)
    login.touch()
    profile = NewProfile(name="parrot", program="echo", argv=["hello"])
    return {
        "profile": profile.program,
        "binary": str(settings.load({"MC_ECHO_BINARY": "/opt/echo"}, board.settings.home).binary_of("echo")),
        "adapter": type(create_agent("echo", argv=profile.argv)).__name__,
        "advice": next(result.advice for result in probe.probe_programs(Path()) if result.name == "echo"),
        "has log-in": credentials.link_credentials("echo", Path("home"), Path(tempfile.mkdtemp(dir=Path.cwd()))),
    }


def use_task(board: Board) -> Results:
    files, problems = cron.load_tasks(task_files.SHIPPED_TASKS)
    program, *arguments = files["count-tickets"].command
    code = queue_reaper.main([*arguments, "--trigger", "timer"])
    with reading(board.engine) as session:
        summary = tasks.load_latest(session)["count-tickets"].summary
    page = board.get_page("/tasks")
    return {"problems": problems, "program": program, "exit code": code, "summary": summary, "page": page}


def use_changes() -> Results:
    board = Board()
    return {
        "field": use_field(board),
        "gate": use_gate(board),
        "move": use_move(board),
        "event": {"activity": board.get_page("/activity?kind=machine")},
        "page": use_page(board),
        "program": use_program(board),
        "task": use_task(board),
    }


if __name__ == "__main__":
    with redirect_stdout(io.StringIO()):
        results = use_changes()
    print(json.dumps(results))
