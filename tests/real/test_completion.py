"""A ticket worked by the real programs, from todo to review: what people see, and what Mission Control proves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from database import reading
from models import EvidenceSource, EvidenceStatus, MessageKind, Outcome, Run, TicketMessage, TicketStatus
from tests.agents.programs import TOOL_PREFIX, both
from tests.streams.client import Client
from tests.workers.repositories import git

from .agent_installation import COMMIT_STEP, KEYS, TOKENS_IN, TOKENS_OUT, AgentInstallation

pytestmark = [pytest.mark.agents, pytest.mark.xdist_group("real test_completion")]
DOLLARS = {"claude": 3e-6 * TOKENS_IN + 15e-6 * TOKENS_OUT, "codex": 1.25e-6 * TOKENS_IN + 10e-6 * TOKENS_OUT}
"""The list price of an answer, as Claude Code knows it."""


def read_until_run_ended(page: Client) -> Iterator[dict[str, Any]]:
    """What a page is told until the ticket's run has ended."""
    for message in page.events():
        yield message.json
        if message.json["event_type"] == "run_ended":
            return


def list_messages(installation: AgentInstallation, ticket_id: int) -> list[TicketMessage]:
    query = select(TicketMessage).where(TicketMessage.ticket_id == ticket_id).order_by(TicketMessage.seq)
    with reading(installation.engine) as session:
        return list(session.scalars(query))


@both
def test_a_ticket_comes_to_review_with_a_commit_and_a_check_that_were_seen(
    program: str, installation: AgentInstallation
) -> None:
    claims = '[{"text":"line.txt says hello","item":0}]'
    report = f'[[tool: {TOOL_PREFIX[program]}mc_report_done {{"summary":"Look at line.txt","claims":{claims}}}]]'
    script = f"[[text: I will write it.]]{COMMIT_STEP}{report}[[say: Reported.]]"
    ticket_id = installation.give(f"{program}-works", script, acceptance=[{"text": "It says hello"}])
    before = len(installation.model.requests)

    with installation.watching(ticket_id) as page:
        installation.dispatch(ticket_id)
        streamed = list(read_until_run_ended(page))

    [run] = installation.runs(ticket_id)
    assert installation.get(ticket_id).status is TicketStatus.IN_REVIEW
    assert (run.outcome, run.exit_code, run.summary) == (Outcome.DONE, 0, "Look at line.txt")
    assert git(installation.folder, "log", "--format=%s", f"main..{run.branch}") == "Add a line"
    evidence = installation.evidence(ticket_id)
    facts = {fact.kind: fact.status for fact in evidence if fact.source is EvidenceSource.FACT}
    assert facts == dict.fromkeys(("commit", "diff", "check"), EvidenceStatus.OK)
    assert [(entry.summary, entry.item) for entry in evidence if entry.source is EvidenceSource.CLAIM] == [
        ("line.txt says hello", 0)
    ]
    stored_events = [
        (event.seq, event.event_type) for event in installation.events(ticket_id) if "delta" not in event.event_type
    ]
    assert [(event["seq"], event["event_type"]) for event in streamed if "delta" not in event["event_type"]] == [
        entry for entry in stored_events if entry[0] >= streamed[0]["seq"]
    ]
    messages = list_messages(installation, ticket_id)
    assert [entry.text for entry in messages if entry.kind is MessageKind.TEXT] == ["I will write it.", "Reported."]
    calls = [entry for entry in messages if entry.kind is MessageKind.TOOL_CALL]
    assert len(calls) == 2 and "git commit" in calls[0].text and not any((call.data or {})["error"] for call in calls)
    assert installation.events(ticket_id, "agent.raw") == []
    answers = sum(request.step in ("bash", "tool", "say") for request in installation.model.requests[before:])
    assert_was_counted(program, run, answers)


def assert_was_counted(program: str, run: Run, answers: int) -> None:
    """Tokens and cost of a run are what the model has counted."""
    assert answers == 3
    assert (run.input_tokens, run.output_tokens) == (answers * TOKENS_IN, answers * TOKENS_OUT)
    assert (run.cache_read_tokens, run.cache_write_tokens) == (0, 0)
    assert run.cost_usd == pytest.approx(answers * DOLLARS[program]), "as the program says, or by the price table"


@both
def test_a_secret_that_an_agent_prints_reaches_neither_store_nor_spool_nor_pane(
    program: str, installation: AgentInstallation
) -> None:
    config = "CLAUDE_CONFIG_DIR" if program == "claude" else "CODEX_HOME"
    steal = f"env; cat ${config}/../api-token ${config}/../spec.json; echo it is out >&2"
    before = len(installation.model.requests)
    ticket_id = installation.start(f"{program}-free", f"[[bash: {steal}]][[say: REVIEW: I have seen it.]]")

    run = installation.wait_for_run_end(ticket_id, TicketStatus.IN_REVIEW)

    folder = installation.context.run_dir(run.id)
    token = (folder / "api-token").read_text()
    stolen = str(installation.model.requests[before:][-1].body)
    key = KEYS["ANTHROPIC_AUTH_TOKEN" if program == "claude" else "LOOPBACK_API_KEY"]
    assert key in stolen and token in stolen, "the agent itself has seen them"
    assert "it is out" in str(installation.list_payloads(ticket_id, "agent.tool_result"))
    installation.wait_until_gone(run)
    for file in list_public_files(installation.settings.home, folder):
        content = file.read_bytes()
        assert not [secret for secret in (*KEYS.values(), token) if secret.encode() in content], file


def list_public_files(home: Path, run_dir: Path) -> list[Path]:
    """The store and what a run has left for others: not its own keys, nor the program's private folder."""
    private = {run_dir / name for name in ("api-token", "spec.json", "signal.json")}
    left = [file for file in run_dir.iterdir() if file.is_file() and file not in private]
    assert {"events.jsonl", "report.json", "stderr.log"} < {file.name for file in left}
    return [*left, *home.glob("mc.db*")]
