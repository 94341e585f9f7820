"""The real `codex exec`, chosen by a profile's first argument: one turn for each run, in one conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.model_server import ModelServer
from tests.workers.fake_api import FakeApi, serving
from tests.workers.runs import Run, running
from workers.agents import transcripts
from workers.contract.spec import RunSpec

from .programs import CODEX, TOOL_PREFIX

pytestmark = [pytest.mark.agents, pytest.mark.parametrize("program", [CODEX])]
Work = Callable[..., Run]


@pytest.fixture
def board() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def work(folder: Path, spec: Callable[..., RunSpec], board: FakeApi, program: str) -> Work:
    """Runs a prompt under the wrapper; each run has a folder of its own, the conversation's is shared."""

    def run(prompt: str, **changes: Any) -> Run:
        run_spec = spec(program, **changes)
        values = {name: value for name, value in asdict(run_spec).items() if name not in ("api", "instance", "limits")}
        values |= {"argv": ("exec", *run_spec.argv), "socket": str(folder / "run.sock")}
        home = folder / uuid4().hex[:8]
        home.mkdir()
        with running(home, board.base, prompt, **values) as started_run:
            started_run.wait(60)
            assert started_run.survivors() == []
        return started_run

    return run


def test_a_verdict_through_the_tools_comes_with_a_commands_result(program: str, work: Work, folder: Path) -> None:
    report = f'[[tool: {TOOL_PREFIX[program]}mc_report_done {{"summary":"Wrote out.txt"}}]]'
    run = work(f"[[bash: echo hello > out.txt; echo written]]{report}[[say: That is all.]]")
    assert (run.report["verdict"], run.report["summary"], run.report["exit_code"]) == ("done", "Wrote out.txt", 0)
    assert (folder / "workspace/out.txt").read_text() == "hello\n"
    assert [payload["source"] for payload in run.events("agent.input")] == ["prompt"]
    assert run.events("agent.tool_result")[0]["output"].strip() == "written"
    assert run.events("agent.raw") == []
    assert [payload["state"] for payload in run.events("agent.coordination")] == ["ready"]


def test_the_next_run_goes_on_in_the_same_conversation(program: str, work: Work, model: ModelServer) -> None:
    first = work("Remember the heron. [[say: QUESTION: Blue or red?]]", mcp_command=None)
    assert first.report["verdict"] == "question"
    thread = first.report["conversation_id"]

    second = work("Blue. [[say: REVIEW: Blue it is.]]", mcp_command=None, conversation_id=thread, resume=True)

    assert (second.report["verdict"], second.report["summary"]) == ("review", "Blue it is.")
    assert second.report["conversation_id"] == thread
    assert "Remember the heron." in str(model.requests[-1].body)


def test_a_fork_goes_on_in_a_conversation_of_its_own(
    program: str, work: Work, folder: Path, model: ModelServer
) -> None:
    first = work("Remember the heron. [[say: DONE: Gladly.]]", mcp_command=None)
    thread = first.report["conversation_id"]
    assert transcripts.copy_conversation(program, folder / "config", thread, folder / "copied")

    fork = work("[[say: DONE: Forked.]]", mcp_command=None, forks=thread, config_dir=str(folder / "copied"))

    assert fork.report["summary"] == "Forked." and fork.report["conversation_id"] not in ("", thread)
    assert "Remember the heron." in str(model.requests[-1].body)


def test_a_failed_turn_fails_the_run_with_its_class(program: str, work: Work) -> None:
    run = work("[[error: 401]]", mcp_command=None)
    assert (run.report["verdict"], run.report["failure"]["class"]) == ("failed", "authentication")


def test_a_message_waits_for_the_next_run(program: str, work: Work, board: FakeApi) -> None:
    uuid = str(uuid4())
    board.control["messages"] = [{"id": 7, "uuid": uuid, "body": "One more thing.", "mode": "queue"}]
    run = work("[[bash: sleep 1]][[say: DONE: Without it.]]", mcp_command=None)
    assert run.report["summary"] == "Without it."
    assert [payload["state"] for payload in run.events("agent.receipt") if payload["uuid"] == uuid] == ["queued"]
