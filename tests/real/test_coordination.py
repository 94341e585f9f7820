"""What the real programs do to the board through the coordination tools, with nothing but their run's token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs.loops import auto_review, inbox_drain
from models import (
    ActorKind,
    Attachment,
    EvidenceSource,
    InboxItem,
    InboxState,
    Profile,
    Project,
    Ticket,
    TicketContext,
    TicketStatus,
)
from tests.agents.programs import TOOL_PREFIX, both
from tests.jobs.test_auto_review import submit
from tickets.operations import inbox_items
from tickets.operations.inbox_items import NewItem
from tickets.shared import events
from tickets.shared.actors import Actor
from workers.agents.coordination import VERSION
from workers.run.api import ApiClient

from .agent_installation import AgentInstallation

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
"""An image of one red pixel."""
WRITE_STEP = "[[bash: echo x > written.txt]]"
pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_coordination")]


@both
def test_an_agent_files_a_ticket_links_context_and_adds_evidence(program: str, installation: AgentInstallation) -> None:
    ticket_id = installation.give(f"{program}-works", "", acceptance=[{"text": "There is a line"}])
    picture = installation.attach(ticket_id, "Ansicht 1.png", PICTURE)
    note = installation.attach(ticket_id, "note.txt", b"Mind the gap.\n")
    calls = {
        "mc_get_ticket": {},
        "mc_get_attachment": {"attachment": note},
        "mc_progress": {"text": "Half way."},
        "mc_create_ticket": {"title": f"Found by {program}", "description": "It leaks.", "priority": "high"},
        "mc_link_context": {"path": "notes/plan.md", "note": "the plan"},
        "mc_add_evidence": {"path": "line.txt", "summary": "The line itself", "item": 0},
        "mc_report_review": {"summary": "All is filed."},
    }
    steps = "".join(
        f"[[tool: {TOOL_PREFIX[program]}{name} {json.dumps(arguments)}]]" for name, arguments in calls.items()
    )
    path = installation.settings.run_path(len(installation.runs()) + 1) / f"attachments/{note}-note.txt"
    script = f"[[bash: echo hello > line.txt; cat {path}]]{steps}[[say: Over.]]"
    installation.rewrite(ticket_id, script)
    installation.dispatch(ticket_id)

    installation.until(ticket_id, TicketStatus.IN_REVIEW)

    results = installation.list_payloads(ticket_id, "agent.tool_result")
    assert not [result for result in results if result["error"]]
    assert "Mind the gap." in results[0]["output"]
    assert "There is a line" in results[1]["output"] and "Ansicht 1.png" in results[1]["output"]
    assert results[2]["output"].split("\n") == [f"{path} (text/plain, 14 bytes)", "", "Mind the gap.", ""]
    image = {"claude": '"type": "image", "source": {"type": "base64"', "codex": '"image_url": "data:image/png;base64,'}
    assert image[program] in json.dumps(installation.model.requests[-1].body)
    assert f"{picture}-Ansicht_1.png (image/png, 69 bytes, shown with this prompt)" in installation.prompt(
        installation.runs(ticket_id)[-1]
    )
    [status] = installation.list_payloads(ticket_id, "agent.coordination")
    assert (status["state"], status["version"]) == ("ready", VERSION)
    [progress] = installation.list_payloads(ticket_id, "agent.progress")
    assert progress["text"] == "Half way."
    with reading(installation.engine) as session:
        new_ticket = session.scalars(select(Ticket).where(Ticket.title == f"Found by {program}")).one()
        link = session.scalars(select(TicketContext).where(TicketContext.ticket_id == ticket_id)).one()
        file = session.scalars(
            select(Attachment).where(Attachment.run_id.is_not(None), Attachment.ticket_id == ticket_id)
        ).one()
    assert (new_ticket.status, new_ticket.requester, new_ticket.priority.name) == (
        TicketStatus.INBOX,
        f"{program}-works",
        "HIGH",
    )
    assert (link.reference, link.note, link.author) == ("notes/plan.md", "the plan", f"{program}-works")
    stored = installation.settings.attachments_dir / file.stored_as
    assert (file.name, stored.read_text()) == ("line.txt", "hello\n")
    claims = [claim for claim in installation.evidence(ticket_id) if claim.source is EvidenceSource.CLAIM]
    assert [(claim.kind, claim.summary, claim.item) for claim in claims] == [("attachment", "The line itself", 0)]


def test_the_orchestrator_takes_an_item_and_acts_on_it(installation: AgentInstallation) -> None:
    with writing(installation.engine) as session:
        body = NewItem(kind="finding", title="The build is red", body="See its log.")
        item_id = inbox_items.file_item(session, body, Actor(ActorKind.SERVICE, "sweep")).id
    inbox_ticket = get_ticket_id(inbox_drain.make_pass(installation.context).summary["opened"])
    action = {"item": item_id, "type": "ticket", "new_ticket": {"title": "Mend the build", "status": "inbox"}}
    calls = {"inbox_next": {}, "inbox_act": action, "mc_report_done": {"summary": "The inbox is empty."}}
    steps = [f"[[tool: {TOOL_PREFIX['claude']}{name} {json.dumps(values)}]]" for name, values in calls.items()]
    installation.rewrite(inbox_ticket, "".join([*steps, "[[say: Over.]]"]))
    run = installation.dispatch(inbox_ticket)
    token_file = installation.settings.board_token_file(run.id)
    token = token_file.read_text()
    assert token_file.stat().st_mode & 0o777 == 0o600

    installation.until(inbox_ticket, TicketStatus.DONE)

    results = installation.list_payloads(inbox_ticket, "agent.tool_result")
    assert not [result for result in results if result["error"]] and "The build is red" in results[0]["output"]
    with reading(installation.engine) as session:
        item = session.get_one(InboxItem, item_id)
        new_ticket = session.scalars(select(Ticket).where(Ticket.title == "Mend the build")).one()
        assert events.count_events(session, run.id, "inbox_acted") == 1
    assert (item.state, item.delivered_to) == (InboxState.ACTED, "claude-leads")
    assert item.action and item.action["created"] == new_ticket.identifier
    assert installation.prompt(run).count("## The board") == 1 and "Items wait in the inbox." in installation.prompt(
        run
    )

    installation.wait_until_gone(run)
    assert find_text(installation.context.run_dir(run.id), token) == [], "other agents may read that folder"
    installation.make_pass()
    assert not token_file.exists()
    assert ApiClient(installation.settings.api_url, token).get("/inbox").status == 401, "it has ended with the run"


def get_ticket_id(identifier: str) -> int:
    return int(identifier.removeprefix("MC-"))


def find_text(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_reviewer_reads_the_commit_reports_a_finding_and_changes_nothing(installation: AgentInstallation) -> None:
    """The profile allows everything; a review may read only."""
    finding = {"severity": "MINOR", "category": "style", "path": "lines.txt", "title": "One letter says little"}
    calls = [{"findings": [finding | {"line": line}]} for line in (2, 1)]
    steps = [json.dumps(call | {"verdict": "request_changes", "summary": "Read it."}) for call in calls]
    reports = "".join(f"[[tool: {TOOL_PREFIX['claude']}mc_review {step}]]" for step in steps)
    with writing(installation.engine) as session:
        session.execute(update(Profile).where(Profile.name == "claude-free").values(instruction=WRITE_STEP + reports))
        session.execute(update(Project).values(reviewer="claude-free"))
    ticket_id = submit(installation, installation.folder)

    assert auto_review.make_pass(installation.context).summary == {"started": 1}
    installation.make_pass()
    installation.until(ticket_id, TicketStatus.TODO)

    run = installation.runs()[-1]
    assert "MINOR** style. Comment 1 on `lines.txt:1`: One letter says little" in installation.comments(ticket_id)[-1]
    results = installation.list_payloads(run.ticket_id, "agent.tool_result")
    assert [result["error"] for result in results] == [True, True, False], "refused, refused as line 2, reported"
    assert "has 1 lines" in results[1]["output"]
    assert not (Path(run.workspace or "") / "written.txt").exists()
