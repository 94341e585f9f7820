"""Run a recorded check again on the same files, in a scratch work tree, and compare."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redaction import SHAPES

from . import checks, git, worktrees

MARKER = "MC_RECHECK"


@dataclass(frozen=True, slots=True)
class RecordedCheck:
    """A check as a receipt records it."""

    argv: Sequence[str]
    exit_code: int | None
    commit: str
    tree: str | None


@dataclass(frozen=True, slots=True)
class CheckComparison:
    """The result of a check that was run again. `problem` says why it differs, or why it could not be run."""

    exit_code: int | None = None
    tail: str = ""
    problem: str = ""


def repeat_check(
    repository: Path,
    check: RecordedCheck,
    *,
    env: Mapping[str, str],
    timeout: float,
    setup: Sequence[str] | None = None,
) -> CheckComparison:
    """Run a check on its commit and compare the files and the exit code with the recorded ones."""
    try:
        tree = git.check_output(repository, "rev-parse", "--verify", f"{git.validate_revision(check.commit)}^{{tree}}")
    except (git.GitError, ValueError):
        return CheckComparison(
            problem=f"{repository} has no commit {check.commit[:12]}: fetch the ticket's branch first"
        )
    if check.tree and tree.strip() != check.tree:
        return CheckComparison(problem=f"the files are others: tree {tree[:12]} instead of {check.tree[:12]}")
    with tempfile.TemporaryDirectory(prefix="mc-receipt-") as folder:
        scratch = Path(folder) / "tree"
        with worktrees.check_out_detached(repository, scratch, check.commit):
            return _run_check(scratch, Path(folder), check, _build_runner(env, timeout), setup)


Runner = Callable[[Sequence[str], Path, Path], checks.CheckResult]


def _build_runner(env: Mapping[str, str], timeout: float) -> Runner:
    def run(argv: Sequence[str], cwd: Path, log: Path) -> checks.CheckResult:
        environment = {**env, MARKER: str(log)}
        return checks.run(
            argv, cwd=cwd, env=environment, marker=f"{MARKER}={log}", log=log, timeout=timeout, redaction=SHAPES
        )

    return run


def _run_check(
    scratch: Path, folder: Path, check: RecordedCheck, run: Runner, setup: Sequence[str] | None
) -> CheckComparison:
    if setup:
        prepared = run(setup, scratch, folder / "setup.log")
        if not prepared.has_passed:
            return CheckComparison(prepared.exit_code, prepared.tail, "the set-up command failed")
    result = run(check.argv, scratch, folder / "check.log")
    differs = result.exit_code != check.exit_code
    problem = f"it ends with {_name_exit(result.exit_code)} instead of {_name_exit(check.exit_code)}" if differs else ""
    return CheckComparison(result.exit_code, result.tail, problem)


def _name_exit(code: int | None) -> str:
    return "no exit code" if code is None else f"exit {code}"
