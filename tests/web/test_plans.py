"""What a page costs does not grow with the store: no statement of it reads a table that grows from one end to the other."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, event

from .conftest import Api, start

GROWING = {
    "tickets", "runs", "ticket_events", "ticket_comments", "ticket_messages", "ticket_phases", "ticket_relationships",
    "ticket_tags", "evidence", "queued_messages", "run_requests", "attachments", "quarantine", "task_runs", "inbox_items",
    "incidents", "logins",
}  # fmt: skip
PAGES = (
    "/", "/review", "/board?view=columns", "/board?view=lanes", "/board?view=list", "/board?view=list&sort=priority&status=all",
    "/board?assigned_to=script", "/board?priority=high", "/board?tag=bug", "/activity", "/search?q=words", "/health", "/tasks",
    "/incidents", "/team", "/settings", "/logs", "/ticket/MC-1/operator", "/ticket/MC-1", "/ticket/MC-1?tab=evidence",
    "/ticket/MC-1?tab=runs", "/ticket/MC-1?tab=context", "/ticket/MC-1?tab=events", "/ticket/MC-1/part/side",
    "/api/v1/tickets?limit=5", "/api/v1/tickets/MC-1", "/api/v1/needs-you", "/api/v1/agents", "/api/v1/tickets/MC-1/runs",
    "/metrics",
)  # fmt: skip
SCAN = re.compile(r"SCAN (?P<table>[a-z_]+?)(?:_\d+)?(?: USING (?:COVERING )?INDEX (?P<index>\w+))?")


def read_whole(statement: str, plan: list[str]) -> list[str]:
    """The steps of a plan that read a growing table whole. An index of what is live is small, and one whose order is asked for
    is read up to the limit."""
    stops = "LIMIT" in statement and not any("TEMP B-TREE" in step for step in plan)
    scans = [(step, match) for step in plan if (match := SCAN.fullmatch(step)) and match["table"] in GROWING]
    return [step for step, match in scans if not (match["index"] and (stops or "live" in match["index"]))]


def test_a_scan_is_told_from_a_walk_that_stops() -> None:
    assert read_whole("SELECT 1 FROM runs LIMIT ?", ["SCAN runs"]) == ["SCAN runs"]
    assert read_whole("SELECT 1 FROM runs", ["SCAN runs_1 USING INDEX runs_state"]) == [
        "SCAN runs_1 USING INDEX runs_state"
    ]
    assert read_whole("SELECT 1 LIMIT ?", ["SCAN runs USING INDEX a", "USE TEMP B-TREE FOR ORDER BY"]) != []
    assert read_whole("SELECT 1 LIMIT ?", ["SCAN tickets USING COVERING INDEX tickets_updated", "SCAN agents"]) == []
    assert (
        read_whole(
            "SELECT 1", ["SCAN runs USING INDEX runs_live", "SEARCH tickets USING INTEGER PRIMARY KEY (rowid=?)"]
        )
        == []
    )


# PostgreSQL plans by how much there is, which is little here.
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_no_page_reads_a_growing_table_whole(app: Flask, store: Engine, operator: Api) -> None:
    start(app, store)
    statements: list[tuple[str, Any]] = []
    event.listen(store, "before_cursor_execute", lambda *told: statements.append((told[2], told[3])))
    for path in PAGES:
        answer = operator.client.get(path, headers={"Authorization": f"Bearer {operator.token}"})
        assert answer.status_code == 200, path
    reads = {statement: values for statement, values in statements if statement.startswith(("SELECT", "WITH"))}
    assert len(reads) > len(PAGES)

    with store.connect() as connection:
        for statement, values in reads.items():
            plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)]
            assert read_whole(statement, plan) == [], statement
