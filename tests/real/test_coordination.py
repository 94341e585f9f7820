"""What the real programs do to the board through the coordination tools, with nothing but their run's token."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs.loops import auto_review
from models import Attachment, EvidenceSource, Profile, Project, Ticket, TicketContext, TicketStatus
from tests.agents.programs import TOOL_PREFIX, both
from tests.jobs.test_auto_review import submit
from workers.agents.coordination import VERSION

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
