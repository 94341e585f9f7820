"""The tear-down command of a project, run once when a run's workspace is released."""

from __future__ import annotations

import json
from pathlib import Path

from redaction import Redaction
from workers.contract.spec import RunSpec
from workers.host import files
from workers.repository import checks

TEARDOWN_SECONDS = 60.0
RESULT_FILE = "teardown.json"
MAX_TAIL_LENGTH = 500


def tear_down(run_dir: Path, spec: RunSpec) -> str | None:
    """Run the tear-down command in the workspace, unless it has been run to its end. Returns the reason of a failure."""
    if not spec.teardown or (run_dir / RESULT_FILE).exists() or not Path(spec.workspace).is_dir():
        return None
    outcome = checks.run(
        spec.teardown,
        cwd=Path(spec.workspace),
        env=spec.environment,
        marker=spec.marker,
        log=run_dir / "teardown.log",
        timeout=TEARDOWN_SECONDS,
        redaction=Redaction(spec.all_secrets),
    )
    files.replace(run_dir / RESULT_FILE, json.dumps(outcome.as_json()).encode())
    return None if outcome.has_passed else describe_failure(outcome)


def describe_failure(outcome: checks.CheckResult) -> str:
    """Describe how a tear-down command failed, with the end of its output."""
    ending = (
        f"did not end within {TEARDOWN_SECONDS:g} seconds"
        if outcome.timed_out
        else f"failed (exit code {outcome.exit_code})"
    )
    return f"The tear-down command {ending}: {outcome.tail.strip()[-MAX_TAIL_LENGTH:]}".rstrip(": ")
