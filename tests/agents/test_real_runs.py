"""Whole runs: the wrapper with a real program, from the prompt in the run's folder to the report on the board."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents.programs import ROOT, TOOL, both
from tests.workers.fake_api import FakeApi, serving
from workers import spec as specs
from workers.spec import RunSpec

pytestmark = pytest.mark.agents

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def board() -> Iterator[FakeApi]:
    with serving() as api:
        yield api


@pytest.fixture
def run(folder: Path, spec: Callable[..., RunSpec], board: FakeApi) -> Run:
    """Runs a prompt under the wrapper and gives the report which it left."""

    def work(program: str, prompt: str, **changes: Any) -> dict[str, Any]:
        run_dir = folder / "run"
        run_dir.mkdir(mode=0o700)
        specs.write(run_dir, spec(program, api=board.base, **changes))
        (run_dir / "prompt.md").write_text(prompt)
        argv = [sys.executable, "-m", "workers.wrapper", str(run_dir)]
        subprocess.run(argv, cwd=ROOT, check=False, capture_output=True, timeout=120)
        report: dict[str, Any] = json.loads((run_dir / "report.json").read_bytes())
        return report

    return work


@both
def test_a_verdict_through_the_tools_ends_the_run(program: str, run: Run, board: FakeApi) -> None:
    report = run(
        program,
        f'[[bash: echo hello > out.txt]][[tool: {TOOL[program]}mc_progress {{"text":"nearly there"}}]]'
        f'[[tool: {TOOL[program]}mc_report_done {{"summary":"Wrote out.txt"}}]][[say: That is all.]]',
    )
    assert (report["verdict"], report["summary"], report["exit_code"]) == ("done", "Wrote out.txt", 0)
    assert (report["usage"]["input_tokens"], report["usage"]["output_tokens"]) == (400, 80)
    kinds = [event["event_type"] for event in board.events]
    assert {"agent.session", "agent.tool_call", "agent.tool_result", "agent.progress", "agent.result"} <= set(kinds)
    assert "agent.raw" not in kinds


@both
def test_a_question_in_the_last_words_is_a_verdict_too(program: str, run: Run) -> None:
    report = run(program, "[[say: QUESTION: Blue or red?]]", mcp_command=None)
    assert report["verdict"] == "question"
    assert "Blue or red?" in report["question"]["questions"][0]["text"]


@both
def test_a_usage_limit_ends_the_run_with_the_time_of_its_reset(
    program: str, run: Run, spec: Callable[..., RunSpec]
) -> None:
    env = {key: value for key, value in spec(program).env.items() if key != "ANTHROPIC_AUTH_TOKEN"}
    reset = int(time.time()) // 60 * 60 + 7200
    report = run(program, f"[[limit: {reset}]]", mcp_command=None, env=env | {"CLAUDE_CODE_OAUTH_TOKEN": "dummy"})
    assert report["verdict"] == "usage_limited"
    assert report["failure"]["retry_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(reset))


@both
def test_a_refused_log_in_is_reported_as_such(program: str, run: Run) -> None:
    report = run(program, "[[error: 401]]", mcp_command=None)
    assert (report["verdict"], report["failure"]["class"]) == ("failed", "authentication")
