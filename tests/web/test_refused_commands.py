"""Commands that were refused to a run: what its verdict says of them, and how a person allows them."""

from __future__ import annotations

import socket

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import reading, writing
from models import Ticket, TicketStatus
from tickets.lifecycle import transitions
from tickets.runs import claims, ingest, refusals, reports
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_run, get_ticket
from tickets.team import installed_programs, projects
from tickets.team.projects import NewProject
from workers.agents.probe import ProbeResult

from .conftest import OWN_PAGE, Api, csrf_token

ALICE = Actor.human("alice")
SANDBOX = ProbeResult("sandbox", None, None, found=True, logged_in=None, advice="")
REFUSED = (
    "npm install left-pad",
    "npm install 'left-pad'",
    "git push origin HEAD",
    "cd x && make",
    "npm ci\nnpm test",
    "WebFetch: a.example",
)


def refuse(store: Engine, *commands: str) -> tuple[int, int]:
    """A ticket in review, of whose run these commands were refused; returns ticket and run."""
    with writing(store) as session:
        body = NewProject(slug="web", name="Web", folder="/srv/web", allowed_commands=["docker ps"])
        projects.add_project(session, body, ALICE)
        new_ticket = {"title": "Write a line", "assigned_to": "script", "project": "web"}
        ticket = transitions.create_ticket(session, NewTicket.model_validate(new_ticket), ALICE)
    with writing(store) as session:
        run_id = claims.claim_ticket(session, ticket.id, "here").run.id
        for number, command in enumerate(commands, 1):
            payload = {"level": "warning", "text": "Refused", "refused": command}
            event = {"run_seq": number, "event_type": "agent.notice", "payload": payload}
            ingest.ingest_events(session, run_id, [ingest.WorkerEvent.model_validate(event)])
        reports.apply_report(
            session, run_id, reports.RunReport(verdict="review", summary="I could not."), reports.RetryPolicy()
        )
    return ticket.id, run_id


def load(store: Engine, ticket_id: int) -> Ticket:
    with reading(store) as session:
        return get_ticket(session, ticket_id)


def test_a_tickets_page_explains_the_permissions_that_hold(store: Engine, browser: FlaskClient, operator: Api) -> None:
    ticket_id, _ = refuse(store)
    page = f"/ticket/{load(store, ticket_id).identifier}/part/side"
    assert "Permissions:" not in browser.get(page).get_data(as_text=True)  # the script agent has no policy
    with writing(store) as session:
        installed_programs.record_programs(session, socket.gethostname(), [SANDBOX])
    assert operator.post("/profiles", {"name": "careful", "program": "claude"}).status_code == 201
    member = {"name": "luci", "runnable": True, "profile": "careful"}
    assert operator.post("/agents", member).status_code == 201
    change = {"version": 1, "denied_commands": ["npm publish"], "network": True}
    assert operator.patch("/projects/web", change).status_code == 200
    ticket = {"title": "Write", "assigned_to": "luci", "project": "web"}
    page = f"/ticket/{operator.post('/tickets', ticket).get_json()['identifier']}/part/side"
    side = " ".join(browser.get(page).get_data(as_text=True).split())
    for words in (
        "Permissions: Work in the workspace</summary>",
        "Allows what stays inside the workspace",
        "Sandbox: this machine confines",
        '<a href="/team/profiles/careful">',
        "<dt>Network</dt><dd>Commands may reach it</dd>",
        '<dt>Allowed</dt><dd class="mono">docker ps</dd>',
        '<dt>Denied</dt><dd class="mono">git push, npm publish</dd>',
    ):
        assert words in side, words


@pytest.mark.both_databases
def test_one_click_allows_what_was_refused_and_starts_again(store: Engine, browser: FlaskClient) -> None:
    ticket_id, run_id = refuse(store, *REFUSED)
    identifier = load(store, ticket_id).identifier
    page = browser.get(f"/ticket/{identifier}").get_data(as_text=True)
    assert "6 commands were refused" in page and "Allow for this project and run again" in page

    path = f"/ticket/{identifier}/runs/{run_id}/allow"
    answer = browser.post(path, data={"csrf": csrf_token(browser)}, headers=OWN_PAGE)

    assert answer.status_code == 303
    with reading(store) as session:
        assert projects.get_project(session, "web").allowed_commands == ["docker ps", "npm install left-pad"]
    assert load(store, ticket_id).status is TicketStatus.TODO
    assert "These commands are allowed now" in browser.get(f"/ticket/{identifier}").get_data(as_text=True)


def test_nothing_is_offered_that_a_project_cannot_allow(store: Engine, browser: FlaskClient) -> None:
    ticket_id, run_id = refuse(store, *REFUSED[2:])
    page = browser.get(f"/ticket/{load(store, ticket_id).identifier}").get_data(as_text=True)
    assert "4 commands were refused" in page and "Allow for this project" not in page
    with pytest.raises(ConflictError), writing(store) as session:
        refusals.allow_refused(session, get_run(session, run_id), ALICE)


def test_an_agent_allows_itself_nothing(store: Engine, orchestrator: Api, operator: Api) -> None:
    _, run_id = refuse(store, REFUSED[0])
    assert orchestrator.post(f"/runs/{run_id}/allow-refused").status_code == 403
    with reading(store) as session:
        assert projects.get_project(session, "web").allowed_commands == ["docker ps"]
    assert operator.post(f"/runs/{run_id}/allow-refused").json["status"] == "todo"  # type: ignore[index]


def test_a_run_keeps_few_of_many_refused_commands_and_counts_all(store: Engine) -> None:
    _, run_id = refuse(store, *(f"make {number} {'x' * 400}" for number in range(30)))
    with reading(store) as session:
        stored = get_run(session, run_id).refusals
    assert stored["count"] == 30 and len(stored["commands"]) == refusals.MAX_REFUSED_COMMANDS
    assert max(map(len, stored["commands"])) == refusals.MAX_REFUSED_CHARACTERS
