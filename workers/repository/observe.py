"""Mission Control's own observations of a run's work: commits, changes, and the project's check command."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from protocol import Observations
from redaction import Redaction

from . import checks, git, worktree_cleanup, worktrees

MAX_COMMITS = 50
MAX_DIRTY_PATHS = 50
EMPTY_OBSERVATIONS = asdict(Observations(commits=[], dirty=[]))
del EMPTY_OBSERVATIONS["error"]
"""Observations of a workspace without a repository and a check command."""


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Conditions of the check command: its whole environment, the run's marker, and a folder for logs.

    `prepare_base` and `setup` prepare the base's scratch worktree in the same way as the workspace. `give_up` ends a
    check early.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    marker: str
    folder: Path
    timeout: float
    redaction: Redaction
    setup: Sequence[str] | None = None
    prepare_base: Callable[[Path], None] = lambda _scratch: None
    base_check: bool = True
    give_up: Callable[[], bool] = checks.never_give_up


def find_base(workspace: Path, base_sha: str | None, base_branch: str | None) -> str | None:
    """Find the commit at which the work now begins. It advances when the work has merged newer commits of the base branch."""
    if not base_sha or not base_branch:
        return base_sha
    try:
        base = git.resolve_branch(workspace, base_branch)
        ancestor = git.find_merge_base(workspace, "HEAD", base) if base else None
        further = ancestor and ancestor != git.resolve_head(workspace) and git.is_merged(workspace, base_sha, ancestor)
    except (git.GitError, ValueError):
        return base_sha
    return ancestor if further else base_sha


def observe(workspace: Path, base_sha: str | None, checking: CheckSettings | None = None) -> dict[str, Any]:
    """Collect the `observations` of a report, with all keys whatever the state of the workspace. Never raises.

    Git is read before the check runs, as that may change files. `base_sha` is None where there is
    no repository. When the check fails it also runs on a scratch worktree of the base (`check_base`), so
    that older failures are not blamed on the run. `error` names what could not be observed.
    """
    facts, problems = EMPTY_OBSERVATIONS | {"base_sha": base_sha}, []
    parts: list[Callable[[], dict[str, Any]]] = []
    if base_sha:
        parts += [
            partial(part, workspace, base_sha) for part in (_read_head, _read_commits, _read_diff, _read_dirty_paths)
        ]
    if checking:
        parts.append(lambda: {"check": _check_workspace(workspace, checking)})
    if checking and checking.base_check and base_sha:
        parts.append(lambda: {"check_base": _check_base(workspace, base_sha, checking, facts["check"])})
    for part in parts:
        try:
            facts |= part()
        except Exception as error:  # whatever it is, the report must be sent
            problems.append(str(error))
    return facts | {"error": "; ".join(dict.fromkeys(problems))} if problems else facts


def _read_head(workspace: Path, _base: str) -> dict[str, Any]:
    head, tree = git.check_output(workspace, "rev-parse", "HEAD", "HEAD^{tree}").split()
    return {"head_sha": head, "tree_sha": tree}


def _read_commits(workspace: Path, base: str) -> dict[str, Any]:
    commits = git.list_commits(workspace, base, limit=MAX_COMMITS)
    return {"commits": [{"sha": commit.sha, "subject": commit.subject} for commit in commits]}


def _read_diff(workspace: Path, base: str) -> dict[str, Any]:
    """Read the size of the change, and a hash of its raw form: modes, paths and full object names, before and after."""
    stat = git.measure_diff(workspace, base)
    raw = git.run_diff(workspace, base, "HEAD", "--raw", "-z", "--no-abbrev", "--no-renames")
    return {
        "files_changed": stat.files_changed,
        "insertions": stat.insertions,
        "deletions": stat.deletions,
        "diff_sha256": hashlib.sha256(raw.encode()).hexdigest(),
    }


def _read_dirty_paths(workspace: Path, _base: str) -> dict[str, Any]:
    return {"dirty": git.list_dirty_paths(workspace, limit=MAX_DIRTY_PATHS)}


def _check_workspace(workspace: Path, checking: CheckSettings) -> dict[str, Any]:
    """Run the check in the workspace, and remove what it writes there, as that is not the agent's uncommitted work."""
    try:
        before = worktree_cleanup.read_content(workspace) if worktrees.is_work_tree_root(workspace) else None
    except (git.GitError, OSError):
        before = None
    result = _run(checking.argv, workspace, checking, "check.log").as_json()
    if before:
        with suppress(git.GitError, OSError):  # whatever the check has left, its result counts
            worktree_cleanup.remove_new_changes(workspace, before)
    return result


def _check_base(
    workspace: Path, base_sha: str, checking: CheckSettings, check: dict[str, Any] | None
) -> dict[str, Any] | None:
    """Run the check on the base. None when it passed anyway, was given up, or the base cannot be set up."""
    if check is None or check["exit_code"] == 0 or checking.give_up():
        return None
    scratch = checking.folder / "base"
    with worktrees.check_out_detached(workspace, scratch, base_sha):
        checking.prepare_base(scratch)
        if checking.setup and not _run(checking.setup, scratch, checking, "setup-base.log").has_passed:
            return None
        return _run(checking.argv, scratch, checking, "check-base.log").as_json()


def _run(argv: Sequence[str], cwd: Path, checking: CheckSettings, log: str) -> checks.CheckResult:
    return checks.run(
        argv,
        cwd=cwd,
        env=checking.env,
        marker=checking.marker,
        log=checking.folder / log,
        timeout=checking.timeout,
        redaction=checking.redaction,
        give_up=checking.give_up,
    )
