"""The team's page and its forms, without scripts: what is shown, what is changed, and what is said of a mistake."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from markupsafe import escape
from sqlalchemy import Engine, update
from werkzeug.test import TestResponse

from database import reading, writing
from models import Agent, Profile, Run, TicketEvent, now
from protocol import PERMISSION_POLICIES
from settings import PRICES_SOURCE, Budget, Settings
from tickets.team import agents, installed_programs, profiles
from web.site import team_forms
from workers.agents.probe import ProbeResult

from .conftest import OWN_PAGE, Api, csrf_token, start

CLAUDE = ProbeResult("claude", "/opt/claude", "2.1.329", found=True, logged_in=False, advice="Run `claude` and log in.")
CODEX = ProbeResult(
    "codex", None, None, found=False, logged_in=None, advice="Install Codex, or work with another agent."
)


def send(browser: FlaskClient, path: str, **fields: Any) -> TestResponse:
    token = csrf_token(browser)
    return browser.post(path, data={"csrf": token, **fields}, headers=OWN_PAGE)


def text(answer: TestResponse) -> str:
    return " ".join(answer.get_data(as_text=True).split())


def agent(store: Engine, name: str) -> Agent:
    with reading(store) as session:
        return agents.get_agent(session, name)


def profile(store: Engine, name: str) -> Profile:
    with reading(store) as session:
        return profiles.get_profile(session, name)


def changes(store: Engine, event: str) -> list[dict[str, Any]]:
    with reading(store) as session:
        return [row.payload_json for row in session.query(TicketEvent).filter_by(event_type=event)]


# ------------------------------------------------------------------------------------------------------------ the page


def test_the_page_says_of_programs_what_is_found_and_what_to_do(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        installed_programs.record_programs(session, "desk", [CLAUDE, CODEX])
    page = text(browser.get("/team"))
    assert "2.1.329 /opt/claude, not logged in" in page
    assert "Run `claude` and log in." in page
    assert "not found. Install Codex, or work with another agent." in page
    assert "Programs on desk" in page


def test_a_profile_is_chosen_with_its_policies_explained(browser: FlaskClient, store: Engine) -> None:
    page = text(browser.get("/team/profiles/new"))
    assert all(f"{policy.title}<small>{escape(policy.explanation)}" in page for policy in PERMISSION_POLICIES.values())
    assert "has not been checked for a sandbox yet" in page
    for programs, words in (
        (True, "Sandbox: this machine confines"),
        (False, "Allow-list: this machine has no sandbox. Why"),
    ):
        probe = ProbeResult("sandbox", None, None, found=programs, logged_in=None, advice="" if programs else "Why.")
        with writing(store) as session:
            installed_programs.record_programs(session, socket.gethostname(), [probe])
        assert words in text(browser.get("/team/profiles/new"))


def test_the_page_shows_load_and_what_was_spent_today(app: Flask, browser: FlaskClient, store: Engine) -> None:
    worker = start(app, store, assigned_to="claude")
    with writing(store) as session:
        session.execute(update(Run).where(Run.id == worker.run).values(input_tokens=41_000, cost_usd=1.25))
    page = text(browser.get("/team"))
    assert "1 of 2 busy" in page
    assert "1 run today · 41 k tokens · $1.25" in page


class TestWithABudget:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"budget": Budget(day_cost_usd=2)})

    def test_the_page_shows_how_much_of_the_day_is_left(self, app: Flask, browser: FlaskClient, store: Engine) -> None:
        worker = start(app, store, assigned_to="claude")
        usage = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.usage", "payload": {"cost_usd": 1.5}}
        assert worker.post(f"/tickets/{worker.ticket}/events", usage).status_code == 200
        assert "$1.50 of $2.00 today" in text(browser.get("/team"))

    def test_a_run_that_passes_it_is_told_to_stop(self, app: Flask, operator: Api, store: Engine) -> None:
        worker = start(app, store, assigned_to="claude")
        usage = {"run_seq": 1, "ts": "2026-01-01T00:00:00Z", "event_type": "agent.usage", "payload": {"cost_usd": 2.5}}
        worker.post(f"/tickets/{worker.ticket}/events", usage)
        stop = worker.post(f"/runs/{worker.run}/heartbeat", {"state": "running"}).json
        assert stop and stop["stop"]["code"] == "budget"
        ticket = operator.get(f"/tickets/{worker.ticket}").json
        assert ticket and (ticket["status"], ticket["wake"]["kind"]) == ("waiting", "time")


def test_a_viewer_reads_the_team_and_changes_nothing(viewer: Api) -> None:
    headers = {"Authorization": f"Bearer {viewer.token}"}
    assert viewer.client.get("/team", headers=headers).status_code == 200
    assert viewer.client.post("/team/agents/claude", headers=headers).status_code == 403


# -------------------------------------------------------------------------------------------------------------- agents


def test_an_agent_is_added_by_a_plain_form(browser: FlaskClient, store: Engine) -> None:
    fields = {"name": "reviewer", "kind": "agent", "title": "Reviews", "profile": "codex", "capacity": "3"}
    answer = send(browser, "/team/agents/new", runnable="yes", aliases="rev critic", **fields)
    assert (answer.status_code, answer.location) == (303, "/team")
    stored = agent(store, "reviewer")
    assert (stored.runnable, stored.capacity, stored.aliases) == (True, 3, ["rev", "critic"])


def test_an_agent_is_switched_off_and_its_capacity_changed(browser: FlaskClient, store: Engine) -> None:
    send(browser, "/team/agents/claude", title="Claude Code", profile="claude", capacity="5")
    assert (agent(store, "claude").runnable, agent(store, "claude").capacity) == (False, 5)
    assert changes(store, "agent_edited") == [
        {"agent": "claude", "changes": {"runnable": [True, False], "capacity": [2, 5]}}
    ]


def test_a_mistake_is_said_beside_its_field_and_nothing_typed_is_lost(browser: FlaskClient) -> None:
    for fields, words in (
        ({"name": "Loud", "kind": "agent"}, "String should match pattern"),
        ({"name": "claude", "kind": "agent"}, "There is already a member of the team named claude"),
        ({"name": "me", "kind": "human", "runnable": "yes"}, "A runnable member must be an agent with a profile"),
        ({"name": "me", "kind": "agent", "profile": "none"}, "There is no profile named"),
        ({"name": "me", "kind": "agent", "aliases": "codex"}, "There is already a member of the team named codex"),
        ({"name": "me", "kind": "agent", "capacity": "900"}, "less than or equal to 64"),
    ):
        answer = send(browser, "/team/agents/new", **{"title": "Kept as typed", **fields})
        assert answer.status_code in (409, 422), fields
        assert words in text(answer), fields
        assert "Kept as typed" in text(answer), fields


def test_a_cooldown_is_shown_and_ended(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        values = {"cooldown_until": now() + timedelta(hours=2), "cooldown_reason": "usage limit"}
        session.execute(update(Agent).where(Agent.name == "codex").values(**values))
    assert "Cooling down, ends" in text(browser.get("/team"))
    token = csrf_token(browser)
    assert browser.post("/team/agents/codex/cooldown", data={"csrf": token}, headers=OWN_PAGE).status_code == 303
    assert (agent(store, "codex").cooldown_until, agent(store, "codex").cooldown_reason) == (None, None)


def test_nobody_by_that_name(browser: FlaskClient) -> None:
    assert browser.get("/team/agents/nobody").status_code == 404
    assert browser.get("/team/profiles/nothing").status_code == 404


# ------------------------------------------------------------------------------------------------------------ profiles

PLAIN = {"program": "claude", "mode": "headless", "permissions": "ask"}


def test_a_profile_is_added_with_its_limits(browser: FlaskClient, store: Engine) -> None:
    fields = {
        **PLAIN,
        "name": "careful",
        "model": "opus",
        "instruction": "Work slowly.",
        "argv": "--betas 'a b'",
        "env_allow": "API_KEY\nPROXY",
    }
    limits = {"limit.day_cost_usd": "2.5", "limit.turns": "30", "limit.silence_seconds": ""}
    assert send(browser, "/team/profiles/new", **fields, **limits).status_code == 303
    stored = profile(store, "careful")
    assert (stored.argv, stored.env_allow) == (["--betas", "a b"], ["API_KEY", "PROXY"])
    assert (stored.limits, stored.instruction) == ({"day_cost_usd": 2.5, "turns": 30}, "Work slowly.")


def test_a_form_that_is_sent_as_it_came_changes_nothing(browser: FlaskClient, store: Engine) -> None:
    with writing(store) as session:
        own = {"day_cost_usd": 0.1, "run_seconds": 600.0, "memory_mb": 2048.0, "ticket_runs": 3.0}
        session.execute(update(Profile).where(Profile.name == "codex").values(limits=own, argv=["-c", 'a="b c"']))
    before = profile(store, "codex")
    page = browser.get("/team/profiles/codex").get_data(as_text=True)
    send(browser, "/team/profiles/codex", **fields_of(page))
    assert changes(store, "profile_edited") == []
    assert profile(store, "codex").limits == before.limits


def fields_of(page: str) -> dict[str, str]:
    """The values of a form as a browser would send them."""
    from html.parser import HTMLParser

    values: dict[str, str] = {}

    class Reader(HTMLParser):
        field: str | None = None
        area: str | None = None

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            facts = {name: value or "" for name, value in attrs}
            if (
                tag == "input"
                and "name" in facts
                and ("checked" in facts or facts.get("type") not in ("checkbox", "radio"))
            ):
                values[facts["name"]] = facts.get("value", "")
            elif tag == "select":
                self.field = facts.get("name")
            elif tag == "option" and self.field and ("selected" in facts or self.field not in values):
                values[self.field] = facts["value"]
            elif tag == "textarea":
                self.area = facts["name"]
                values[self.area] = ""

        def handle_endtag(self, tag: str) -> None:
            self.area = None if tag == "textarea" else self.area

        def handle_data(self, data: str) -> None:
            if self.area:
                values[self.area] += data

    Reader().feed(page)
    return {name: value for name, value in values.items() if name != "csrf"}


@pytest.mark.parametrize(
    ("program", "model", "note"),
    [
        ("claude", "claude-sonnet-4-5", None),
        ("claude", "opus", "A budget in US dollars applies only to models with a price"),
        ("claude", "claude-x", "No price is set for the model claude-x, so a budget in US dollars is enforced only at"),
        (
            "codex",
            "some-model",
            "No price is set for the model some-model, so a budget in US dollars cannot be enforced",
        ),
        ("codex", None, "A budget in US dollars applies only to models with a price"),
        ("codex", "gpt-5", "Codex counts a turn when it ends"),
        ("script", None, "only runs and minutes can be limited"),
    ],
)
def test_a_budget_that_cannot_hold_is_named_where_it_is_set(program: str, model: str | None, note: str | None) -> None:
    notes = team_forms.build_budget_notes({"program": program, "model": model}, Settings(home=Path("/nowhere")))
    assert notes == [] if note is None else note in " ".join(notes)


def test_the_page_shows_the_prices_with_their_source(browser: FlaskClient) -> None:
    page = browser.get("/team").get_data(as_text=True)
    assert "claude-sonnet-4*" in page and PRICES_SOURCE in page
    assert "applies only to models with a price" in browser.get("/team/profiles/new").get_data(as_text=True)


def test_a_profile_that_cannot_be_is_explained(browser: FlaskClient) -> None:
    for fields, words in (
        ({"argv": "--say 'open"}, "The quotes do not match"),
        ({"env_allow": "MC_HOME"}, "never passed on"),
        ({"env_allow": "A=B"}, "String should match pattern"),
        ({"limit.turns": "many"}, "valid number"),
        ({"limit.turns": "-1"}, "turns must be above zero"),
        ({"limit.wishes": "3"}, "is not a limit of a profile"),
        ({"permissions": "all"}, "Input should be"),
    ):
        answer = send(browser, "/team/profiles/codex", **{**PLAIN, "program": "codex", **fields})
        assert answer.status_code == 422, fields
        assert words in text(answer), fields


# ----------------------------------------------------------------------------------------------------------------- API


def test_the_api_changes_only_what_is_sent(operator: Api, store: Engine) -> None:
    assert operator.patch("/agents/claude", {"capacity": 7}).status_code == 200
    assert (agent(store, "claude").capacity, agent(store, "claude").runnable) == (7, True)
    answer = operator.patch("/profiles/claude", {"limits": {"day_tokens": 1000}, "model": None})
    assert answer.json and answer.json["limits"] == {"day_tokens": 1000}


def test_the_api_refuses_what_the_form_refuses(operator: Api) -> None:
    refusals: list[tuple[str, dict[str, Any], int]] = [
        ("/agents/claude", {"profile": None}, 422),
        ("/agents/claude", {"capacity": None}, 422),
        ("/agents/claude", {"cooldown_until": "2026-01-01T00:00:00Z"}, 422),
        ("/agents/nobody", {"capacity": 1}, 404),
        ("/profiles/claude", {"limits": {"wishes": 3}}, 422),
        ("/profiles/claude", {"name": "other"}, 422),
    ]
    for path, body, status in refusals:
        assert operator.patch(path, body).status_code == status, (path, body)


def test_only_an_operator_changes_the_team(service: Api) -> None:
    for path in ("/agents/claude", "/profiles/claude", "/projects/demo"):
        assert service.patch(path, {}).status_code == 403, path
