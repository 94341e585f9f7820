"""A ticket from todo to review, with a real board, real tmux, real git and the real script agent."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from sqlalchemy import update

from database import writing
from jobs import dispatch_pass
from models import EvidenceSource, EvidenceStatus, Outcome, Project, Run, RunState, TaskOutcome, TicketStatus
from tests.waiting import wait_until
from tests.workers.repositories import git
from tickets.team import agents

from .house import ALICE, House


def test_a_ticket_is_worked_reviewed_and_worked_again_on_its_branch(open_house: House) -> None:
    folder = open_house.project(check=["sh", "-c", "test -f line.txt"])
    script = "date +%N >>line.txt; env | sort >env.txt; false || true"
    ticket_id = open_house.ticket(script, project="web", title="Add a line")

    done = open_house.make_pass()

    assert (done.outcome, done.summary["claimed"]) == (TaskOutcome.ACTED, ["MC-1"])
    open_house.until(ticket_id, TicketStatus.IN_REVIEW)
    [run] = open_house.runs(ticket_id)
    assert (run.outcome, run.state, run.branch) == (Outcome.DONE, RunState.ENDED, "mc/MC-1-add-a-line")
    assert run.base_sha == git(folder, "rev-parse", "main") and run.tmux_target
    facts = {fact.kind: fact for fact in open_house.evidence(ticket_id) if fact.source is EvidenceSource.FACT}
    assert facts["check"].status is EvidenceStatus.OK
    assert git(folder, "log", "--format=%s", "-1", "mc/MC-1-add-a-line") == "MC-1: Add a line"
    assert "Ticket picked up by script via MC dispatcher." in open_house.comments(ticket_id)
    assert_secrets_were_kept(open_house, run)
    assert open_house.make_pass().summary["released"] == 1
    assert open_house.make_pass().outcome is TaskOutcome.NOOP

    git(folder, "commit", "--quiet", "--allow-empty", "-m", "elsewhere")
    open_house.move(ticket_id, "request_changes", body="Once more, please.")
    open_house.until(ticket_id, TicketStatus.IN_REVIEW, passing=True)

    first, second = open_house.runs(ticket_id)
    assert (second.generation, second.branch, second.base_sha) == (2, first.branch, first.base_sha)
    assert second.workspace == first.workspace
    prompt = (open_house.bench.run_dir(second.id) / "prompt.md").read_text()
    assert "**Review feedback by alice**:\n\nOnce more, please." in prompt


def assert_secrets_were_kept(house: House, run: Run) -> None:
    """The run's folder is its owner's alone, and its agent's environment has nothing of the server's."""
    folder = house.bench.run_dir(run.id)
    spec = json.loads((folder / "spec.json").read_text())
    seen = dict(line.split("=", 1) for line in (Path(spec["workspace"]) / "env.txt").read_text().splitlines())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "spec.json").stat().st_mode) == 0o600
    assert seen["MC_RUN_ID"] == f"{house.settings.instance}-{run.id}"
    assert spec["token"] not in seen.values()
    assert not [name for name in seen if name.startswith("MC_") and name != "MC_RUN_ID"]


def test_a_step_that_fails_is_a_failed_attempt_with_its_record(open_house: House) -> None:
    ticket_id = open_house.ticket("echo trying; exit 3")
    open_house.make_pass()

    ticket = open_house.until(ticket_id, TicketStatus.TODO)

    assert (ticket.attempts, ticket.not_before is not None) == (1, True)
    said = "\n".join(open_house.comments(ticket_id))
    assert "RUNTIME TERMINAL STATE" in said and "exit code 3" in said


def test_a_ticket_without_anything_to_run_asks_and_is_answered(open_house: House) -> None:
    ticket_id = open_house.ticket()
    open_house.make_pass()
    open_house.until(ticket_id, TicketStatus.NEEDS_INPUT)

    open_house.move(ticket_id, "answer", body="There is nothing, just say so.")
    wait_until(lambda: open_house.make_pass(resumed_only=True).summary["claimed"] == ["MC-1"], what="the claim")

    open_house.until(ticket_id, TicketStatus.NEEDS_INPUT)
    assert len(open_house.runs(ticket_id)) == 2


def test_a_slot_whose_run_ended_during_the_pass_is_had_at_once(
    open_house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_house.project()
    with writing(open_house.engine) as session:
        session.execute(update(Project).values(max_runs=1))
    first, second = (open_house.ticket("true", project="web") for _ in range(2))
    open_house.make_pass()
    open_house.until(first, TicketStatus.IN_REVIEW)
    monkeypatch.setattr(dispatch_pass, "settle", lambda *_: None)  # the run has ended after this pass looked

    assert open_house.make_pass().summary["claimed"] == ["MC-2"]

    open_house.until(second, TicketStatus.IN_REVIEW)
    assert git(folder, "branch", "--list", "mc/*").count("mc/") == 2


PHASED = """
```sh phase=Dev
echo hello >>line.txt
```

```sh phase=Review
test "$(wc -l <line.txt)" -ge 2 || echo "CHANGES: one line is not enough"
```
"""


def test_a_reviewing_agent_sends_work_back_and_passes_it_when_it_is_right(open_house: House) -> None:
    folder = open_house.project()
    with writing(open_house.engine) as session:
        agents.add_agent(session, agents.NewAgent(name="checker", runnable=True, profile="script"), ALICE)
    phases = [
        {"name": "Dev", "agent": "script", "gate": "reviewer"},
        {"name": "Review", "agent": "checker", "gate": "none"},
    ]
    ticket_id = open_house.ticket(project="web", assigned_to=None, description=PHASED, phases=phases)

    open_house.until(ticket_id, TicketStatus.DONE, passing=True, timeout=90)

    told = [(run.agent, run.phase, run.outcome and run.outcome.value) for run in open_house.runs(ticket_id)]
    assert told == [
        ("script", "Dev", "done"),
        ("checker", "Review", "changes"),
        ("script", "Dev", "done"),
        ("checker", "Review", "done"),
    ]
    assert git(folder, "show", "mc/MC-1-write-a-line:line.txt") == "hello\nhello"
    assert "one line is not enough" in open_house.comments(ticket_id)


def test_a_phase_by_an_agent_is_approved_by_a_person_and_the_next_begins(open_house: House) -> None:
    phases = [{"name": "Dev", "agent": "script"}, {"name": "QA", "agent": "script", "gate": "none"}]
    ticket_id = open_house.ticket("true", assigned_to=None, phases=phases)
    open_house.until(ticket_id, TicketStatus.IN_REVIEW, passing=True)

    open_house.move(ticket_id, "approve")

    open_house.until(ticket_id, TicketStatus.DONE, passing=True, timeout=60)
    assert [run.phase for run in open_house.runs(ticket_id)] == ["Dev", "QA"]
