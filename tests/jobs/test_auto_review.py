"""The task mc-auto-review: what it reviews and by whom, and that it never claims to have acted when it did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import select, update

from database import reading, writing
from jobs.loops import auto_review
from models import CodeReview, Gate, Incident, Profile, Project, ReviewVerdict, Run, TaskOutcome, TicketStatus
from tests.workers.repositories import git
from tickets.lifecycle import transitions
from tickets.runs import claims, reports
from tickets.schedule import tasks
from tickets.shared.inputs import NewTicket
from tickets.team import agents
from tickets.team.agents import EditAgent, NewAgent

from .installation import ALICE, Installation

FINDING = {"severity": "IMPORTANT", "category": "tests", "path": "lines.txt", "line": 1, "title": "No test reads it"}
REPORT = {"verdict": "request_changes", "summary": "One line, untested.", "findings": [FINDING]}
REVIEWER = f"""
```sh
git show --stat HEAD | grep lines.txt
cat >report.py <<'END'
import json, os, urllib.request
body = {json.dumps(REPORT)!r}.encode()
headers = {{"Authorization": "Bearer " + os.environ["MC_API_TOKEN"], "Content-Type": "application/json"}}
address = os.environ["MC_API"] + "/api/v1/tickets/" + os.environ["MC_TICKET_ID"] + "/assessment"
print(urllib.request.urlopen(urllib.request.Request(address, body, headers)).read())
END
python3 report.py
```
"""


def add_reviewer(installation: Installation, instruction: str = REVIEWER) -> None:
    """Add the agent `ada`, whose every run makes the steps of its instruction."""
    with writing(installation.engine) as session:
        session.add(Profile(name="ada", program="script", instruction=instruction))
        session.flush()
        agents.add_agent(session, NewAgent(name="ada", runnable=True, profile="ada"), ALICE)


def submit(installation: Installation, folder: Path, lines: int = 1) -> int:
    """Create a ticket in review, with a commit of so many lines on its branch."""
    with writing(installation.engine) as session:
        body = NewTicket(title="Write lines", project="web", assigned_to="script", gate=Gate.REVIEWER)
        ticket = transitions.create_ticket(session, body, ALICE)
        run, branch = claims.claim_ticket(session, ticket.id, installation.context.host).run, f"mc/{ticket.identifier}"
        base = git(folder, "rev-parse", "main")
        git(folder, "switch", "--quiet", "-c", branch, "main")
        (folder / "lines.txt").write_text("x\n" * lines)
        git(folder, "add", "lines.txt")
        git(folder, "commit", "--quiet", "-m", "lines")
        head = git(folder, "rev-parse", "HEAD")
        git(folder, "switch", "--quiet", "main")
        installation.context.run_dir(run.id).mkdir()
        claims.record_workspace(session, run.id, repository=str(folder), branch=branch, base_sha=base)
        commits = [{"sha": head, "subject": "lines"}]
        end = {"verdict": "done", "observations": {"head_sha": head, "commits": commits, "files_changed": 1}}
        reports.apply_report(session, run.id, reports.RunReport.model_validate(end), reports.RetryPolicy())
        return ticket.id


def load_review(installation: Installation) -> CodeReview | None:
    with reading(installation.engine) as session:
        return session.scalar(select(CodeReview).order_by(CodeReview.id.desc()).limit(1))


def start_pass(installation: Installation) -> tuple[TaskOutcome, dict[str, Any]]:
    result = auto_review.make_pass(installation.context)
    return result.outcome, result.summary


def test_a_script_reviewer_reports_a_finding_and_the_ticket_goes_back(served_installation: Installation) -> None:
    add_reviewer(served_installation)
    ticket_id = submit(served_installation, served_installation.project(reviewer="ada", check=["false"]))

    assert start_pass(served_installation) == (TaskOutcome.ACTED, {"started": 1})
    assert start_pass(served_installation) == (TaskOutcome.NOOP, {"open": 1})
    assert served_installation.make_pass().summary["claimed"] == ["MC-2"]
    served_installation.until(ticket_id, TicketStatus.TODO)

    review, run = load_review(served_installation), served_installation.runs()[-1]
    assert review is not None and (review.verdict, review.note) == (ReviewVerdict.REQUEST_CHANGES, "")
    assert served_installation.get(run.ticket_id).archived
    spec = json.loads((served_installation.context.run_dir(run.id) / "spec.json").read_text())
    assert (spec["permissions"], spec["check"]) == ("read_only", None)
    assert "**IMPORTANT** tests. Comment 1 on `lines.txt:1`" in "".join(served_installation.comments(ticket_id))


def test_nothing_to_review_is_no_work_done(installation: Installation) -> None:
    add_reviewer(installation)
    folder = installation.project()
    submit(installation, folder)
    assert start_pass(installation) == (TaskOutcome.NOOP, {}), "the project has no reviewer"
    with writing(installation.engine) as session:
        session.execute(update(Project).values(reviewer="ada"))
        session.execute(update(Run).values(host="elsewhere"))

    assert start_pass(installation) == (TaskOutcome.NOOP, {}), "its work is on another host"
    assert load_review(installation) is None


def test_half_of_the_work_is_a_warning(installation: Installation) -> None:
    add_reviewer(installation)
    folder = installation.project(reviewer="ada")
    first, second = submit(installation, folder), submit(installation, folder)
    with writing(installation.engine) as session:
        session.execute(update(Run).where(Run.ticket_id == first).values(repository="/nowhere"))

    outcome, summary = start_pass(installation)
    assert (outcome, summary["unreadable"], summary["started"]) == (TaskOutcome.WARNING, 1, 1)
    assert "in /nowhere cannot be read" in str(summary["problems"]) and tasks.HAS_ENTRY not in summary

    review = load_review(installation)
    assert review is not None and review.ticket_id == second


def test_a_review_that_cannot_be_made_is_a_warning_and_needs_a_person(
    installation: Installation,
) -> None:
    add_reviewer(installation)
    folder = installation.project(reviewer="ada")
    ticket_id = submit(installation, folder, lines=5001)

    assert start_pass(installation) == (TaskOutcome.WARNING, {"oversized": 1, tasks.HAS_ENTRY: True})
    assert start_pass(installation) == (TaskOutcome.NOOP, {}), "it is said once"

    review = load_review(installation)
    assert review is not None and review.verdict is ReviewVerdict.NEEDS_PERSON
    assert installation.get(ticket_id).status is TicketStatus.IN_REVIEW
    with reading(installation.engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert (incident.fingerprint, incident.ticket_id) == ("review:oversized:MC-1", ticket_id)
    assert "5001 changed lines, more than review_max_diff_lines (5000)" in incident.detail
    with writing(installation.engine) as session:
        agents.edit_agent(session, "ada", EditAgent(runnable=False), ALICE)
    submit(installation, folder)
    assert start_pass(installation) == (TaskOutcome.WARNING, {"without_reviewer": 1, tasks.HAS_ENTRY: True})
