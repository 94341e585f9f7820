"""The settings page: the pause, projects from a folder to a form, tokens shown once, and what is set where."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update
from werkzeug.test import TestResponse

from database import reading, writing
from jobs import job_context, program_probes
from models import Project, ProjectDraft, TaskOutcome, TicketEvent, Trigger, now
from settings import Settings
from tickets.dispatch import policy
from tickets.schedule import tasks
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from tickets.team import projects, repositories
from tickets.team.projects import NewProject
from web.team.settings_page import list_settings

from .conftest import OWN_PAGE, Api, csrf_token

ALICE = Actor.human("alice")
FIELDS = {"name": "Code", "slug": "code", "base_branch": "main", "gate": "checks", "max_runs": "3"}


def send(browser: FlaskClient, path: str, to: str | None = None, **fields: Any) -> TestResponse:
    token = csrf_token(browser)
    return browser.post(to or path, data={"csrf": token, **fields}, headers=OWN_PAGE)


def text(answer: TestResponse) -> str:
    return " ".join(answer.get_data(as_text=True).split())


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    commit = ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "First"]
    subprocess.run(["git", "init", "-q", "-b", "main", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), *commit], check=True)
    return folder


@pytest.fixture
def demo(app: Flask, store: Engine) -> Project:
    with writing(store) as session:
        body = NewProject(slug="demo", name="Demo", folder="/srv/demo", check_command=["make", "test"])
        return projects.add_project(session, body, ALICE)


def project(store: Engine, slug: str) -> Project:
    with reading(store) as session:
        return projects.get_project(session, slug)


# --------------------------------------------------------------------------------------------------------------- pause


def test_the_pause_stops_dispatch_with_its_reason_until_it_is_lifted(browser: FlaskClient, store: Engine) -> None:
    send(browser, "/settings", "/settings/pause", reason="moving house")
    with reading(store) as session:
        assert policy.load_shared(session, policy.DispatchLimits()).paused == "moving house"
    assert "Paused: moving house." in text(browser.get("/settings"))
    send(browser, "/settings", "/settings/resume")
    with reading(store) as session:
        assert runtime_flags.get_pause_reason(session) is None


# ------------------------------------------------------------------------------------------------------------ projects


def test_a_folder_becomes_a_project(browser: FlaskClient, store: Engine, settings: Settings, repository: Path) -> None:
    (repository / "draft.txt").write_text("not committed")
    answer = send(browser, "/settings/projects/new", source=str(repository))
    assert answer.status_code == 303
    waiting = browser.get(answer.location).get_data(as_text=True)
    assert "Checking" in waiting and 'http-equiv="refresh"' in waiting

    program_probes.answer_drafts(job_context.build_context(settings, store))

    body = text(browser.get(answer.location))
    assert "1 path has uncommitted changes." in body
    assert '<option value="main" selected>' in body
    commands = {
        "check_command": "sh -c 'make test'",
        "copy_files": ".env\n",
        "ports": "2",
        "sign_landings": "yes",
        "ticket_template": "## Steps\r\n",
    }
    commands |= {"network": "on", "allowed_commands": "npm  install\n\ndocker ps\n", "denied_commands": "npm publish"}
    absent = send(browser, answer.location, **FIELDS | {"base_branch": "absent"})
    assert absent.status_code == 422 and "The repository has no branch absent." in text(absent)
    for address in ("https://alice:token@host.example/x", "https://token@host.example/x", "ext::sh -c x", "-x:y"):
        refusal = send(browser, answer.location, **FIELDS, **commands, push_address=address)
        assert refusal.status_code == 422 and "without password or token" in text(refusal)
    push = {"push_address": "git@host.example:a/b.git"}
    assert send(browser, answer.location, **FIELDS, **commands, **push).status_code == 303
    with writing(store) as session:
        session.execute(update(Project).values(push_address="https://alice@host.example/x"))
    former = {**FIELDS, **commands, "version": "1", "push_address": "https://alice@host.example/x"}
    phase = {"phase-0-name": "Docs", "phase-0-on": "1", "phase-0-end": "reviewer", "phase-1-name": ""}
    former |= phase | {"folder": str(repository)}
    refusal = send(browser, "/settings/projects/code", **former | {"phase-0-agent": "nobody"})
    assert refusal.status_code == 422 and "There is no member of the team named" in text(refusal)
    answer = send(browser, "/settings/projects/code", **former)
    assert answer.status_code == 303, text(answer)
    with writing(store) as session:
        session.execute(update(Project).values(push_address=push["push_address"]))
    stored = project(store, "code")
    assert (stored.push_address, stored.sign_landings) == ("git@host.example:a/b.git", True)
    assert stored.ticket_template == "## Steps\n"
    docs: dict[str, Any] = {"name": "Docs", "agent": None, "gate": "reviewer", "choices": [], "runbook": None}
    assert stored.phases == [docs]
    assert 'value="Docs"' in browser.get("/settings/projects/code").get_data(as_text=True)
    assert (stored.folder, stored.max_runs, stored.gate.value) == (str(repository), 3, "checks")
    assert (stored.check_command, stored.setup_command) == (["sh", "-c", "make test"], None)
    assert (stored.copy_files, stored.link_files, stored.ports) == ([".env"], [], 2)
    assert (stored.allowed_commands, stored.denied_commands) == (["npm install", "docker ps"], ["npm publish"])
    assert stored.network is True


def test_every_entry_refuses_a_base_branch_that_the_repository_lacks(
    browser: FlaskClient, operator: Api, repository: Path, tmp_path: Path
) -> None:
    def refuse(answer: TestResponse, field: str, words: str) -> None:
        error: Any = answer.get_json()
        assert (answer.status_code, error["detail"]["field"]) == (422, field) and words in error["message"], error

    git = ["git", "-C", str(repository)]
    new = {"slug": "code", "name": "Code", "folder": str(repository)}
    lacking = "The repository has no branch absent. Make it with git branch, or choose another."
    refuse(operator.post("/projects", {**new, "base_branch": "absent"}), "base_branch", lacking)
    refuse(operator.post("/projects", {**new, "folder": str(tmp_path)}), "folder", "is not a git repository")
    assert operator.post("/projects", new).status_code == 201
    refuse(operator.patch("/projects/code", {"version": 1, "base_branch": "absent"}), "base_branch", lacking)
    page = send(
        browser, "/settings/projects/code", **FIELDS | {"base_branch": "absent"}, folder=new["folder"], version="1"
    )
    assert page.status_code == 422 and lacking in text(page)
    subprocess.run([*git, "update-ref", "refs/remotes/origin/next", "main"], check=True)
    assert operator.patch("/projects/code", {"version": 1, "base_branch": "next"}).status_code == 200
    subprocess.run([*git, "update-ref", "-d", "refs/remotes/origin/next"], check=True)
    vanished = {**new, "version": 2, "base_branch": "next", "max_runs": 3}
    del vanished["slug"]
    assert operator.patch("/projects/code", vanished).status_code == 200


def test_a_person_trusts_what_a_repository_brings_and_is_asked_again_when_it_changes(
    browser: FlaskClient, operator: Api, store: Engine, repository: Path
) -> None:
    def show() -> str:
        return text(browser.get("/settings/projects/code"))

    def bring(command: str) -> None:
        (repository / ".mcp.json").write_text(
            f'{{"mcpServers": {{"db<b>": {{"command": "{command}", "args": ["a b"]}}}}}}'
        )
        subprocess.run(["git", "-C", str(repository), "add", "."], check=True)
        commit = ["-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "-m", "Bring"]
        subprocess.run(["git", "-C", str(repository), *commit], check=True)

    with writing(store) as session:
        projects.add_project(session, NewProject(slug="code", name="Code", folder=str(repository)), ALICE)
    assert "main has no .claude, .codex or .mcp.json" in show()
    bring("start-db")
    page = show()
    assert "Not trusted yet" in page and "<code>db&lt;b&gt;: start-db &#39;a b&#39;</code>" in page
    digest = operator.get("/projects/code/configuration").get_json()["digest"]
    send(browser, "/settings/projects/code", "/settings/projects/code/trust", digest=digest)
    assert project(store, "code").trusted_digest == digest
    assert "Withdraw trust" in show()
    bring("start-other-db")
    assert "Changed since it was trusted" in show() and "Trust again" in show()
    send(browser, "/settings/projects/code", "/settings/projects/code/trust")
    assert project(store, "code").trusted_digest is None
    with reading(store) as session:
        kinds = list(session.scalars(select(TicketEvent.event_type).where(TicketEvent.event_type.like("project_t%"))))
    assert kinds == ["project_trusted", "project_trust_withdrawn"]


def test_what_is_no_repository_is_said_and_can_be_corrected(
    browser: FlaskClient, store: Engine, settings: Settings, tmp_path: Path
) -> None:
    answer = send(browser, "/settings/projects/new", source=str(tmp_path / "nowhere"))
    program_probes.answer_drafts(job_context.build_context(settings, store))
    page = text(browser.get(answer.location))
    assert "There is no such folder." in page
    assert str(tmp_path / "nowhere") in page


def test_a_source_that_could_not_be_one_is_refused_at_once(browser: FlaskClient) -> None:
    for source in ("", "code", "../etc", "-rf"):
        answer = send(browser, "/settings/projects/new", source=source)
        assert answer.status_code == 422, source
        assert "Give an absolute path" in text(answer), source


def test_a_folder_of_the_home_is_written_with_a_tilde_or_chosen_from_the_git_folders(
    app: Flask, browser: FlaskClient, store: Engine, settings: Settings, tmp_path: Path
) -> None:
    for folder in ("code/shop/.git", "code/shop/vendored/.git", ".cache/hidden/.git", "notes", "two\nlines/.git"):
        (tmp_path / "me" / folder).mkdir(parents=True)
    (tmp_path / "me" / os.fsdecode(b"caf\xe9") / ".git").mkdir(parents=True)  # a name in Latin-1
    ambient = settings.ambient.model_copy(update={"environment": {"HOME": str(tmp_path / "me")}})
    instance = app.extensions["mission_control"]
    app.extensions["mission_control"] = replace(instance, settings=settings.model_copy(update={"ambient": ambient}))
    page = text(browser.get("/settings/projects/new"))
    assert re.findall(r'name="found" value="([^"]+)"', page) == [str(tmp_path / "me/code/shop")]
    assert "~/code/shop" in page and " autofocus" in page
    assert send(browser, "/settings/projects/new", source="~/notes").status_code == 303
    assert send(browser, "/settings/projects/new", found=str(tmp_path / "me/code/shop"), source="").status_code == 303
    with reading(store) as session:
        sources = list(session.scalars(select(ProjectDraft.source).order_by(ProjectDraft.id)))
    assert sources == [str(tmp_path / "me/notes"), str(tmp_path / "me/code/shop")]


def test_a_folder_that_may_not_be_read_is_left_out_of_the_git_folders(tmp_path: Path) -> None:
    (tmp_path / "shop/.git").mkdir(parents=True)
    (tmp_path / "volume").mkdir(mode=0)
    program = "import sys; from web.team.home_folders import *; print(*list_repositories(Path(sys.argv[1])))"
    unprivileged = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"] if os.geteuid() == 0 else []
    argv = [*unprivileged, sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.check_output(argv, text=True).split() == [str(tmp_path / "shop")]


def test_a_look_that_nobody_takes_points_to_the_scheduler(browser: FlaskClient, store: Engine) -> None:
    answer = send(browser, "/settings/projects/new", source="/srv/code")
    with writing(store) as session:
        session.execute(update(ProjectDraft).values(created=now() - timedelta(minutes=1)))
    assert "Is the scheduler running?" in text(browser.get(answer.location))


def test_a_project_is_changed_against_the_version_that_was_read(
    browser: FlaskClient, store: Engine, demo: Project
) -> None:
    fields = {**FIELDS, "name": "Better", "folder": "/srv/demo", "version": "1"}
    assert send(browser, "/settings/projects/demo", **fields).status_code == 303
    assert (project(store, "demo").name, project(store, "demo").version) == ("Better", 2)
    assert project(store, "demo").check_command is None
    again = send(browser, "/settings/projects/demo", **fields | {"name": "Typed meanwhile"})
    assert again.status_code == 409
    assert "has changed since you loaded it" in text(again) and "Typed meanwhile" in text(again)


def test_a_project_that_cannot_be_is_explained(browser: FlaskClient, demo: Project) -> None:
    for fields, words in (
        ({"base_branch": "--upload-pack=x"}, "not a valid git branch name"),
        ({"folder": "relative"}, "an absolute path"),
        ({"link_files": "../../etc/passwd"}, "must be relative paths"),
        ({"copy_files": "/etc/passwd"}, "must be relative paths"),
        ({"allowed_commands": "npm install; id"}, "is not a program with its first arguments"),
        ({"denied_commands": "npm:*) Bash(rm"}, "is not a program with its first arguments"),
        ({"check_command": "make 'test"}, "The quotes do not match"),
        ({"max_runs": "0"}, "greater than or equal to 1"),
    ):
        answer = send(browser, "/settings/projects/demo", **FIELDS | {"folder": "/srv/demo", "version": "1"} | fields)
        assert answer.status_code == 422, fields
        assert words in text(answer), fields


def test_the_workspaces_of_a_project_are_changed_by_their_machine(
    browser: FlaskClient, store: Engine, demo: Project
) -> None:
    old = {"name": "pool-1.20261130T080000", "state": "set_aside", "branch": "mc/MC-1", "since": "2026-11-30T08:00:00Z"}
    old |= {"reason": "It is not a worktree.", "problem": "", "place": "/srv/worktrees/demo/pool-1.20261130T080000"}
    slots = [{"name": "pool-1", "state": "free", "branch": "mc/MC-2", "holder": None}, old]
    slots.append({"name": "pool-2", "state": "held", "branch": "mc/MC-3", "holder": "run-7"})
    with writing(store) as session:
        facts = {"problem": "/srv/demo has no branch main.", "notes": ["The submodule lib is not initialised: x"]}
        repositories.record_state(session, demo.id, "vm1", slots=slots, **facts)
    page = text(browser.get("/settings/projects/demo"))
    for words in ("no branch main", "submodule lib", "It is not a worktree.", old["place"], 'href="/runs/7"'):
        assert words in page, words
    assert (page.count("Clean pool-"), page.count("Delete pool-")) == (1, 1)

    request = {"host": "vm1", "slot": "pool-1", "action": "set_aside"}
    assert send(browser, "/settings/projects/demo", "/settings/projects/demo/slots", **request).status_code == 303

    assert ">Requested<" in text(browser.get("/settings/projects/demo"))
    with reading(store) as session:
        assert [(row.slot, row.action.value) for row, _ in repositories.list_requests(session, "vm1")] == [
            ("pool-1", "set_aside")
        ]
    bad = {"host": "vm1", "slot": "../pool-1", "action": "delete"}
    assert send(browser, "/settings/projects/demo", "/settings/projects/demo/slots", **bad).status_code == 422


def test_every_branch_name_that_git_accepts_is_accepted() -> None:
    words = "HEAD @ a..b a@{b a@b /a a/ a//b .a a/.b a.lock a.lock/b a.locker -a a- a. a/b.c ümlaut/日本語 feature/#12"
    characters = " ~^:?*[\\{}!$%&'()+,;=\"|<>\x7f"
    names = [*words.split(" "), *(f"a{character}b" for character in characters)]
    argv = ["git", "check-ref-format", "--branch"]
    accepted = {
        name for name in names if subprocess.run([*argv, name], capture_output=True, check=False).returncode == 0
    }
    assert {name for name in names if not projects.REFUSED_BRANCH.search(name)} == accepted


def test_a_project_is_archived(browser: FlaskClient, store: Engine, demo: Project) -> None:
    fields = {**FIELDS, "folder": "/srv/demo", "version": "1", "archive": "yes"}
    send(browser, "/settings/projects/demo", **fields)
    with reading(store) as session:
        assert projects.list_projects(session) == []


def test_the_api_changes_a_project(operator: Api, demo: Project) -> None:
    answer = operator.patch("/projects/demo", {"version": 1, "max_runs": 5})
    assert answer.json and (answer.json["max_runs"], answer.json["version"]) == (5, 2)
    assert answer.json["check_command"] == ["make", "test"]
    assert operator.patch("/projects/demo", {"version": 1, "max_runs": 6}).json["error"] == "stale_project"  # type: ignore[index]
    assert operator.patch("/projects/demo", {"version": 2, "name": None}).status_code == 422
    assert operator.patch("/projects/none", {"version": 1, "max_runs": 6}).status_code == 404


# -------------------------------------------------------------------------------------------------------------- tokens


def test_the_secret_of_a_token_is_shown_once_and_works(app: Flask, browser: FlaskClient) -> None:
    answer = send(browser, "/settings", "/settings/tokens", name="ci", scope="service", days="30")
    secret = answer.get_data(as_text=True).split('id="secret">')[1].split("<")[0]
    assert answer.headers["Cache-Control"] == "no-store"
    assert secret not in text(browser.get("/settings"))
    assert Api(app.test_client(), secret).get("/tickets").status_code == 200


def test_a_token_is_revoked(app: Flask, browser: FlaskClient) -> None:
    answer = send(browser, "/settings", "/settings/tokens", name="ci", scope="service", days="")
    secret = answer.get_data(as_text=True).split('id="secret">')[1].split("<")[0]
    path = answer.get_data(as_text=True).split('action="/settings/tokens/')[-1].split('"')[0]
    assert send(browser, "/settings", f"/settings/tokens/{path}").status_code == 303
    assert Api(app.test_client(), secret).get("/tickets").status_code == 401


def test_a_token_that_cannot_be_is_explained(browser: FlaskClient) -> None:
    for name, status, words in (
        ("Not Good", 422, "String should match pattern"),
        ("twice", 200, ""),
        ("twice", 409, "already"),
    ):
        answer = send(browser, "/settings", "/settings/tokens", name=name, scope="viewer", days="7")
        assert answer.status_code == status
        assert words in text(answer)


# -------------------------------------------------------------------------------------------------------------- in use


def test_the_settings_in_use_are_shown_with_where_to_change_them_and_what_retention_deleted(
    browser: FlaskClient, settings: Settings, store: Engine
) -> None:
    with writing(store) as session:
        for rows in (5, 1200, 0):
            summary = {"rows": {"ticket_events": rows} if rows else {}, "files": {"runs": 3} if rows == 5 else {}}
            tasks.record_run(session, "retention", Trigger.TIMER, TaskOutcome.ACTED, now(), summary=summary)
    page = text(browser.get("/settings"))
    assert "1,200 deleted" in page and "5 deleted" not in page and "3 deleted" in page
    assert "Nothing deleted yet" in page
    assert str(settings.config_file) in page
    assert "SSE_MAX_TOTAL_CLIENTS" in page and "MC_BUDGET_DAY_COST_USD" in page


def test_the_password_of_the_store_is_not_among_them(settings: Settings) -> None:
    secret = settings.model_copy(update={"database_url": "postgresql+psycopg://mc:s3cret@db.lan/mc"})
    [row] = [row for row in dict(list_settings(secret))["general"] if row["key"] == "database_url"]
    assert row["value"] == "postgresql+psycopg://db.lan/mc"


def test_settings_are_for_operators(viewer: Api, demo: Project) -> None:
    for path in ("/settings", "/settings/projects/new", "/settings/projects/demo"):
        answer = viewer.client.get(path, headers={"Authorization": f"Bearer {viewer.token}"})
        assert answer.status_code == 403, path
