"""Every page and every route that is read, asked once of a filled PostgreSQL store."""

from __future__ import annotations

from io import BytesIO

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.routing import Rule

from database import writing
from models import TaskOutcome, TicketStatus, Trigger, format_timestamp, now
from protocol import AGENT_EVENT_KINDS
from tickets.board import lanes
from tickets.lifecycle import moves
from tickets.operations import incidents
from tickets.schedule import tasks

from .conftest import Api, Worker

ENDLESS = ("streams.", "interactive.", "console.attach")
"""Streams and sockets: the tests of streams ask them."""
NAMES = {
    "board_page.show_column": TicketStatus,
    "board_page.show_lane": lanes.LANES,
    "property_menu.show": ("state", "tag"),
    "ticket_page.show_part": ("conversation", "changes", "console", "evidence", "runs", "events", "header", "side"),
    "ticket_page.ask_move": sorted(moves.MOVES),
    "ticket_edit.ask_field": ("title", "priority", "due", "tags"),
    "upkeep.list_task_runs": ("backup",),
    "team_page.show_agent": ("script",),
    "team_page.show_profile": ("script",),
    "project_pages.show_project": ("web",),
    "project_trust.read_configuration": ("web",),
    "upkeep.get_task": ("read",),
    "upkeep.list_task_slots": ("read",),
    "schedule_pages.show_task": ("read",),
    "schedule_pages.ask_edit": ("read",),
}
"""The last part of an address, where it is a name: each that is asked for."""
ADDRESSES = (
    "/board?view=list&q=line", "/board/list?sort=priority", "/board/swim-lanes?group=project", "/board/property/state?tickets=MC-1",
    "/board?view=lanes&group=assigned_to", "/board?view=columns&tag=bug,infra",
    "/activity?kind=agent", "/search?q=line", "/api/v1/search?q=line",
    "/logs?show=heartbeats",
    "/ticket/1?tab=events&at=2", "/api/v1/tickets?q=line&status=in_progress", "/api/v1/tickets/1/comments?limit=1",
)  # fmt: skip
"""Statements of some routes that need parameters."""


def fill(store: Engine, worker: Worker, operator: Api) -> None:
    """Store something of each kind that a page shows."""
    events = [
        {
            "run_seq": at,
            "ts": format_timestamp(now()),
            "event_type": f"agent.{kind}",
            "payload": {"text": kind, "call": kind},
        }
        for at, kind in enumerate(sorted(AGENT_EVENT_KINDS), 1)
    ]
    writes = [
        worker.post(f"/tickets/{worker.ticket}/events", events),
        operator.post("/tickets", {"title": "Another line", "tags": ["bug"], "child_of": worker.ticket}),
        operator.post("/tasks", {"schedule": "0 8 * * *", "ticket": {"title": "Read"}}),
        operator.post("/tickets/1/comments", {"body": "Hello"}),
        operator.post("/tickets/1/messages", {"body": "Hello"}),
        operator.post("/tickets/1/context", {"path": "notes/plan.md"}),
        operator.post("/tickets/1/relationships", {"kind": "blocks", "ticket": "MC-2"}),
        operator.post("/tickets/1/attachments", data={"file": (BytesIO(b"hello\n"), "line.txt")}),
    ]
    assert [answer.text for answer in writes if answer.status_code >= 300] == []
    with writing(store) as session:
        incidents.raise_incident(session, "tmux", "tmux does not answer")
        tasks.record_run(session, "backup", Trigger.TIMER, TaskOutcome.ACTED, now())


def list_addresses(app: Flask) -> list[str]:
    rules = [rule for rule in app.url_map.iter_rules() if "GET" in (rule.methods or ())]
    page_rules = [rule for rule in rules if not rule.endpoint.startswith(ENDLESS)]
    return [address for rule in page_rules for address in build_addresses(rule)]


def build_addresses(rule: Rule) -> list[str]:
    """Build the addresses of a rule: "1" is the number of a ticket, run or file, and names are those above."""
    ones = dict.fromkeys(rule.arguments, "1")
    (name,) = rule.arguments & {"name", "status", "slug"} or {""}
    every = [{**ones, name: str(value)} for value in NAMES[rule.endpoint]] if name else [ones]
    addresses = [rule.build(values, append_unknown=False) for values in every]
    return [pair[1] for pair in addresses if pair]


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_page_and_no_route_that_is_read_fails(
    app: Flask, store: Engine, worker: Worker, operator: Api, browser: FlaskClient
) -> None:
    fill(store, worker, operator)
    addresses = [*list_addresses(app), *ADDRESSES]
    answers = {address: browser.get(address).status_code for address in addresses}
    assert {address: status for address, status in answers.items() if status >= 500} == {}
    assert sum(status == 200 for status in answers.values()) > 90
    assert {address for address in ADDRESSES if answers[address] != 200} == set()
