"""The nightly sweep: evidence of done tickets is verified again, and what no longer holds is filed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from database import reading, writing
from jobs import housekeeping
from jobs.loops import board_sweep
from models import (
    Evidence,
    EvidenceSource,
    EvidenceStatus,
    InboxItem,
    Project,
    Run,
    RunState,
    TaskOutcome,
    Ticket,
    TicketEvent,
    TicketStatus,
    Trigger,
    now,
)
from tests.workers.repositories import git
from tickets.loops import board_sweep as done_work
from tickets.operations import inbox_items
from tickets.runs import claims
from tickets.shared import runtime_flags

from .installation import ALICE, Installation
from .test_landing import ReviewedProject


@pytest.fixture
def project(installation: Installation) -> ReviewedProject:
    """Project with a ticket whose work was checked and merged."""
    project = ReviewedProject(installation, landing="merge", check=["sh", "-c", "cat line.txt"])
    project.create_approved_ticket()
    project.land()
    assert installation.get(1).status is TicketStatus.DONE
    return project


def sweep(project: ReviewedProject) -> tuple[TaskOutcome, dict[str, Any]]:
    result = board_sweep.make_pass(project.installation.context)
    return result.outcome, result.summary


def list_items(project: ReviewedProject) -> list[InboxItem]:
    with reading(project.installation.engine) as session:
        return list(session.scalars(select(InboxItem).where(InboxItem.kind.startswith("sweep-"))))


def forget(project: ReviewedProject) -> None:
    """Let the evidence be verified again in the next sweep."""
    with writing(project.installation.engine) as session:
        session.execute(delete(TicketEvent).where(TicketEvent.event_type == "evidence_rechecked"))


def change_project(project: ReviewedProject, **columns: Any) -> None:
    with writing(project.installation.engine) as session:
        session.execute(update(Project).values(**columns))


def test_evidence_is_verified_once_and_an_item_says_when_it_holds_no_longer(project: ReviewedProject) -> None:
    assert sweep(project) == (TaskOutcome.ACTED, {"verified": ["MC-1"]})
    assert sweep(project) == (TaskOutcome.NOOP, {}), "once, and there is nothing else"
    assert list_items(project) == []
    head = git(project.repo, "rev-parse", "main")
    git(project.repo, "update-ref", "refs/heads/main", f"{head}~1")
    assert sweep(project) == (TaskOutcome.ACTED, {"filed": ["MC-1"]})
    assert list_items(project)[0].title == "MC-1 is done, but main does not have its work"
    git(project.repo, "update-ref", "refs/heads/main", head)

    forget(project)
    change_project(project, check_command=["sh", "-c", "cat line.txt; exit 3"])
    assert sweep(project) == (TaskOutcome.ACTED, {"filed": ["MC-1"], "verified": ["MC-1"]})
    item = list_items(project)[1]
    assert item.kind == "sweep-evidence" and "`sh -c 'cat line.txt; exit 3'`" in item.body
    assert "exit 3" in item.body and "line\n" in item.body
    forget(project)
    assert sweep(project) == (TaskOutcome.NOOP, {}), "an item says so"
    assert project.installation.get(1).status is TicketStatus.DONE, "it moves nothing"
    settings = project.installation.settings
    assert list(settings.sweeps_dir.iterdir()) == [] and "sweep" not in git(project.repo, "worktree", "list")


def test_newer_tickets_without_a_check_hide_no_evidence(
    project: ReviewedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest ones filled the list for ever, as what has no check is never recorded as verified."""
    newer = project.installation.ticket()
    facts: dict[str, Any] = {"source": EvidenceSource.FACT, "status": EvidenceStatus.OK, "summary": "", "author": "x"}
    with writing(project.installation.engine) as session:
        run = claims.claim_ticket(session, newer, project.installation.context.host).run
        session.execute(update(Run).where(Run.id == run.id).values(state=RunState.ENDED, ended=now()))
        values = {"status": TicketStatus.DONE, "closed": now() + timedelta(seconds=1)}
        session.execute(update(Ticket).where(Ticket.id == newer).values(**values))
        session.add(Evidence(ticket_id=newer, kind="commit", **facts))
    monkeypatch.setattr(done_work, "MAX_CANDIDATES", 1)
    assert sweep(project) == (TaskOutcome.ACTED, {"verified": ["MC-1"]})


def test_what_cannot_be_verified_or_filed_is_not_reported_as_done(
    project: ReviewedProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_project(project, setup_command=["false"])
    outcome, summary = sweep(project)
    assert outcome is TaskOutcome.WARNING and summary["problems"]["MC-1"].startswith("false failed")

    forget(project)
    change_project(project, setup_command=None, check_command=["false"])
    is_stopped = board_sweep.make_pass(project.installation.context, lambda: True)
    assert (is_stopped.outcome, list(is_stopped.summary)) == (TaskOutcome.WARNING, ["problems"])
    with monkeypatch.context() as patch:
        patch.setattr(inbox_items, "MAX_OPEN_ITEMS", 0)
        outcome, summary = sweep(project)
    assert outcome is TaskOutcome.WARNING and "The inbox is full" in summary["problems"]["inbox"]
    assert list_items(project) == [] and sweep(project)[1]["filed"] == ["MC-1"], "it is due until an item says so"

    project.repo.rename(project.repo.with_name("moved"))
    with writing(project.installation.engine) as session:
        session.execute(delete(InboxItem))
    forget(project)
    result = housekeeping.run_pass(project.installation.context, board_sweep.TASK, Trigger.TIMER)
    assert result.outcome is TaskOutcome.SKIPPED
    assert result.summary["skipped"] == {"MC-1": f"its repository {project.repo} is gone"}
    with writing(project.installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving house", ALICE)
    assert sweep(project) == (TaskOutcome.SKIPPED, {"reason": "dispatch is paused: moving house"})
