"""A ticket from todo to review, with a real board, real tmux, real git and the real script agent."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs import dispatch_pass, start_run
from models import (
    EvidenceSource,
    EvidenceStatus,
    Outcome,
    Profile,
    Project,
    Run,
    RunState,
    Scope,
    TaskOutcome,
    TicketStatus,
)
from tests.canary import ADDRESS, CANARY, KEY, PASSWORD, list_leaks
from tests.streams.client import Client
from tests.waiting import wait_until
from tests.workers.repositories import git
from tests.workers.runs import build_spec
from tickets.operations import tokens
from tickets.planning import phase_editing
from tickets.planning.phase_editing import DecidePhase
from tickets.shared import events, lookup
from tickets.team import agents

from .installation import ALICE, Installation


def record_variables(name: str, more: str) -> list[str]:
    """Build a command that writes its variables of the run to a file in HOME, and then does more."""
    return ["sh", "-c", f"env | grep ^MC_ | sort >$HOME/{name}.env; {more}"]


OUTFIT: dict[str, Any] = {
    "copy_files": [".env"],
    "ports": 3,
    "setup_command": record_variables("setup", "true"),
    "teardown_command": record_variables("teardown", "echo no disk; exit 3"),
}


def test_a_ticket_is_worked_reviewed_and_worked_again_on_its_branch(served_installation: Installation) -> None:
    folder = served_installation.project(check=record_variables("check", "echo covered >check.out"), **OUTFIT)
    (folder / ".env").write_text("SECRET=1\n")
    (folder / ".env").chmod(0o600)
    script = "date +%N >>line.txt; env | sort >env.txt; false || true"
    ticket_id = served_installation.ticket(script, project="web", title="Add a line")

    done = served_installation.make_pass()

    assert (done.outcome, done.summary["claimed"]) == (TaskOutcome.ACTED, ["MC-1"])
    served_installation.until(ticket_id, TicketStatus.IN_REVIEW)
    [run] = served_installation.runs(ticket_id)
    assert (run.outcome, run.state, run.branch) == (Outcome.DONE, RunState.ENDED, "mc/MC-1-add-a-line")
    assert run.base_sha == git(folder, "rev-parse", "main") and run.tmux_target
    facts = {fact.kind: fact for fact in served_installation.evidence(ticket_id) if fact.source is EvidenceSource.FACT}
    assert facts["check"].status is EvidenceStatus.OK
    assert git(folder, "log", "--format=%s", "-1", "mc/MC-1-add-a-line") == "MC-1: Add a line"
    assert "Ticket picked up by script via MC dispatcher." in served_installation.comments(ticket_id)
    assert_secrets_were_kept(served_installation, run)
    assert_outfit_was_given(served_installation, run)
    assert served_installation.make_pass().summary["released"] == 1
    assert not list(served_installation.settings.ports_dir.iterdir())
    assert served_installation.make_pass().outcome is TaskOutcome.NOOP

    git(folder, "commit", "--quiet", "--allow-empty", "-m", "elsewhere")
    served_installation.move(ticket_id, "request_changes", body="Once more, please.")
    served_installation.until(ticket_id, TicketStatus.IN_REVIEW, passing=True)

    first, second = served_installation.runs(ticket_id)
    assert (second.generation, second.branch, second.base_sha) == (2, first.branch, first.base_sha)
    assert second.workspace == first.workspace
    prompt = (served_installation.context.run_dir(second.id) / "prompt.md").read_text()
    assert "**Review feedback by alice**:\n\nOnce more, please." in prompt
    with reading(served_installation.engine) as session:
        assert session.scalar(select(Run.prompt).where(Run.id == second.id)) == prompt


def test_a_prompt_is_kept_as_the_program_gets_it_in_both_modes_but_without_secrets(installation: Installation) -> None:
    spec = build_spec(installation.settings.home, secrets=("s3cr3t-of-alice",))
    text = "!Look:\ts3cr3t-of-alice and " + spec.token
    screen = replace(spec, mode="tui")
    for item, message in (
        (spec, "!Look:\t[redacted] and [redacted]"),
        (screen, "Message: !Look:    [redacted] and [redacted]"),
        (replace(screen, attended=True, resume=True), None),
    ):
        assert start_run.format_sent_prompt(installation.context, item, text) == message


LEAKY = r"""
printf %s "$SETTING" | head -c 20; sleep 0.3; printf '\033[31m'; printf %s "$SETTING" | tail -c +21; sleep 0.3
printf %s "$MATERIAL" >&2; echo "$SETTING" >"$SETTING.txt"
printf %s "$SETTING"; head -c 31950 /dev/zero | tr '\0' x; echo
echo "REVIEW: Is $SETTING of $DATABASE_URL right?"
"""
LEAKY_CHECK = "printf %s \"$SETTING\"; head -c 4080 /dev/zero | tr '\\0' y; exit 1"


def test_no_secret_of_a_profile_gets_into_database_logs_or_streams(template: Path, tmp_path: Path) -> None:
    variables = {"SETTING": CANARY, "MATERIAL": KEY, "DATABASE_URL": ADDRESS}
    installation = Installation(template, tmp_path / "home", extra=variables)
    try:
        installation.open_board()
        installation.project(check=["sh", "-c", LEAKY_CHECK])
        with writing(installation.engine) as session:
            session.execute(update(Profile).values(env_allow=list(variables)))
            token = tokens.issue_token(session, tokens.NewToken(name="reader", scope=Scope.VIEWER), ALICE)[1]
        ticket_id = installation.ticket(LEAKY, project="web")
        stream = Client(installation.settings.port, token, "/api/v1/tickets/MC-1/stream").open()
        installation.make_pass()
        installation.until(ticket_id, TicketStatus.IN_REVIEW)
        messages = list(takewhile(lambda message: "run_ended" not in message.data, stream.events()))
        stream.close()

        [run] = installation.runs(ticket_id)
        log = installation.context.run_dir(run.id) / "mc-MC-1.tmux.log"
        own_log = log.read_bytes()
        log.write_bytes(own_log + f"an earlier version wrote {CANARY} here\n".encode())
        tail = Client(installation.settings.port, token, "/api/v1/tickets/MC-1/tail").open().body()
        assert b"wrote [redacted] here" in tail
        home = installation.settings.home
        files = [*home.glob("mc.db*"), *(path for path in home.glob("logs/**/*") if path.is_file())]
        content = b"".join([*(file.read_bytes() for file in files), own_log, tail])
        content += "".join(message.data for message in messages).encode()
        assert list_leaks(content, CANARY, KEY, PASSWORD) == []
        assert any("[redacted]" in message.data for message in messages)
        facts = {fact.kind: fact for fact in installation.evidence(ticket_id) if fact.source is EvidenceSource.FACT}
        assert str(facts["check"].data).count("y") > 4000, "the check was run, and its end is shown"
    finally:
        installation.close()


def assert_outfit_was_given(installation: Installation, run: Run) -> None:
    """Agent and commands get the same variables, the files are copies, and what the check writes is no uncommitted work."""
    home, workspace = installation.settings.home, Path(run.workspace or "")
    agent = [line for line in (workspace / "env.txt").read_text().splitlines() if line.startswith("MC_")]
    for name in ("setup", "check", "teardown"):
        assert (home / f"{name}.env").read_text().splitlines() == agent, name
    variables = dict(line.split("=") for line in agent)
    ports = [int(variables[f"MC_PORT_{number}"]) for number in (1, 2, 3)]
    assert ports == list(range(ports[0], ports[0] + 3)) and variables["MC_RUN_SLUG"].startswith(f"mc-run-{run.id}-")
    assert not (workspace / ".env").is_symlink() and (workspace / ".env").stat().st_mode & 0o777 == 0o600
    assert git(workspace, "status", "--porcelain") == "" and ".env" not in git(workspace, "ls-files")
    with reading(installation.engine) as session:
        notices = [event.payload for event in events.list_after(session, 0, 500) if event.event_type == "agent.notice"]
    assert any("exit code 3): no disk" in str(payload) for payload in notices)


def assert_secrets_were_kept(installation: Installation, run: Run) -> None:
    """The run's folder is its owner's alone, and its agent's environment has nothing of the server's."""
    folder = installation.context.run_dir(run.id)
    spec = json.loads((folder / "spec.json").read_text())
    environment = dict(line.split("=", 1) for line in (Path(spec["workspace"]) / "env.txt").read_text().splitlines())
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "spec.json").stat().st_mode) == 0o600
    assert environment["MC_RUN_ID"] == f"{installation.settings.instance}-{run.id}"
    assert spec["token"] not in environment.values()
    own = ("MC_RUN_ID", "MC_RUN_SLUG", "MC_PORT_")
    assert not [name for name in environment if name.startswith("MC_") and not name.startswith(own)]


def test_a_step_that_fails_is_a_failed_attempt_with_its_record(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket("echo trying; exit 3")
    served_installation.make_pass()

    ticket = served_installation.until(ticket_id, TicketStatus.TODO)

    assert (ticket.attempts, ticket.not_before is not None) == (1, True)
    comments = "\n".join(served_installation.comments(ticket_id))
    assert "RUNTIME TERMINAL STATE" in comments and "exit code 3" in comments


def test_a_ticket_without_anything_to_run_asks_and_is_answered(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket()
    served_installation.make_pass()
    served_installation.until(ticket_id, TicketStatus.NEEDS_INPUT)

    ordinary_id = served_installation.ticket("true", priority="urgent")
    served_installation.move(ticket_id, "answer", body="There is nothing, just say so.")
    wait_until(
        lambda: served_installation.make_pass(resumed_only=True).summary["claimed"] == ["MC-1"], description="the claim"
    )

    served_installation.until(ticket_id, TicketStatus.NEEDS_INPUT)
    assert len(served_installation.runs(ticket_id)) == 2
    assert served_installation.get(ordinary_id).status is TicketStatus.TODO


def test_a_slot_whose_run_ended_during_the_pass_is_had_at_once(
    served_installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = served_installation.project()
    with writing(served_installation.engine) as session:
        session.execute(update(Project).values(max_runs=1))
    first, second = (served_installation.ticket("true", project="web") for _ in range(2))
    served_installation.make_pass()
    served_installation.until(first, TicketStatus.IN_REVIEW)
    monkeypatch.setattr(dispatch_pass, "settle_runs", lambda *_: None)  # the run has ended after this pass looked

    assert served_installation.make_pass().summary["claimed"] == ["MC-2"]

    served_installation.until(second, TicketStatus.IN_REVIEW)
    assert git(folder, "branch", "--list", "mc/*").count("mc/") == 2


PHASED = """
```sh phase=Dev
echo hello >>line.txt
```

```sh phase=Review
test "$(wc -l <line.txt)" -ge 2 || echo "CHANGES: one line is not enough"
```
"""


def test_a_reviewing_agent_sends_work_back_and_passes_it_when_it_is_right(served_installation: Installation) -> None:
    folder = served_installation.project()
    with writing(served_installation.engine) as session:
        agents.add_agent(session, agents.NewAgent(name="checker", runnable=True, profile="script"), ALICE)
    phases = [
        {"name": "Dev", "agent": "script", "gate": "reviewer"},
        {"name": "Review", "agent": "checker", "gate": "none"},
    ]
    ticket_id = served_installation.ticket(project="web", assigned_to=None, description=PHASED, phases=phases)

    served_installation.until(ticket_id, TicketStatus.DONE, passing=True, timeout=90)

    outcomes = [
        (run.agent, run.phase, run.outcome and run.outcome.value) for run in served_installation.runs(ticket_id)
    ]
    assert outcomes == [
        ("script", "Dev", "done"),
        ("checker", "Review", "changes"),
        ("script", "Dev", "done"),
        ("checker", "Review", "done"),
    ]
    assert git(folder, "show", "mc/MC-1-write-a-line:line.txt") == "hello\nhello"
    assert "one line is not enough" in served_installation.comments(ticket_id)


BY_THREE_AGENTS = """
```sh phase=Plan
until test -e {decided}; do sleep 0.05; done
echo small >plan.txt
```

```sh phase=Dev
echo hello >>line.txt
```

```sh phase=QA
grep -q hello line.txt
```
"""


def test_three_agents_work_a_ticket_from_a_decision_over_approvals_to_done(
    served_installation: Installation, tmp_path: Path
) -> None:
    folder = served_installation.project()
    with writing(served_installation.engine) as session:
        for name in ("builder", "checker"):
            agents.add_agent(session, agents.NewAgent(name=name, runnable=True, profile="script"), ALICE)
    phases = [
        {"name": "Plan", "agent": "script", "choices": ["small", "large"]},
        {"name": "Dev", "agent": "builder", "gate": "reviewer"},
        {"name": "QA", "agent": "checker"},
    ]
    description = BY_THREE_AGENTS.format(decided=tmp_path / "decided")
    ticket_id = served_installation.ticket(project="web", assigned_to=None, description=description, phases=phases)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)

    with writing(served_installation.engine) as session:
        ticket, decision = lookup.get_ticket(session, ticket_id), DecidePhase(choice="small")
        live = phase_editing.decide_phase(session, ticket, decision, ALICE)
        assert live is not None and live.id == run.id, "the live run is told"
    (tmp_path / "decided").touch()
    assert served_installation.until(ticket_id, TicketStatus.IN_REVIEW, passing=True).phase == "Plan"
    served_installation.move(ticket_id, "approve")
    assert served_installation.until(ticket_id, TicketStatus.IN_REVIEW, passing=True).phase == "QA"
    ticket = served_installation.move(ticket_id, "approve")

    assert ticket.status is TicketStatus.DONE
    runs = served_installation.runs(ticket_id)
    assert [(each.agent, each.phase) for each in runs] == [("script", "Plan"), ("builder", "Dev"), ("checker", "QA")]
    with reading(served_installation.engine) as session:
        prompt_text = session.scalar(select(Run.prompt).where(Run.id == runs[1].id))
    assert "Decided: Plan: small." in (prompt_text or "")
    assert git(folder, "show", "mc/MC-1-write-a-line:line.txt") == "hello"
