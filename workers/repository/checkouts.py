"""The state of a project's own checkout: uncommitted changes, and its base branch beside the one of its remote."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import git, isolation

MAX_PATHS = 200
"""Changed paths whose times are read."""


@dataclass(frozen=True, slots=True)
class CheckoutState:
    """A checkout. `dirty` counts uncommitted paths, of which the last was `edited` then.

    `upstream` is the remote-tracking branch of the base branch as last fetched, such as `origin/main`: `ahead` and
    `behind` count the commits that only one of both has.
    """

    dirty: int = 0
    edited: datetime | None = None
    upstream: str | None = None
    ahead: int = 0
    behind: int = 0


def observe_checkout(folder: Path, base_branch: str) -> CheckoutState:
    """Observe a checkout without fetching or changing anything. Raises `GitError`."""
    root = isolation.require_place(folder).root
    paths = git.list_dirty_paths(root) if root else []
    edited = max((time for path in paths[:MAX_PATHS] if root and (time := _read_edit_time(root / path))), default=None)
    upstream = find_upstream(folder, base_branch)
    ahead, behind = count_commits_apart(folder, base_branch, upstream) if upstream else (0, 0)
    return CheckoutState(len(paths), edited, upstream, ahead, behind)


def _read_edit_time(path: Path) -> datetime | None:
    """Read when a path was last changed: for one that is gone when its folder was, None without either."""
    for place in (path, path.parent):
        try:
            return datetime.fromtimestamp(place.lstat().st_mtime, UTC)
        except OSError:
            continue
    return None


def find_upstream(folder: Path, branch: str) -> str | None:
    """Find the remote-tracking branch of a branch: the configured one, else that of origin. None when none was fetched."""
    settings = {setting.key: setting.value for setting in isolation.list_settings(folder)}
    remote = settings.get(f"branch.{branch}.remote", "origin")
    target = settings.get(f"branch.{branch}.merge", branch).removeprefix("refs/heads/")
    upstream = f"{remote}/{target}"
    return upstream if git.resolve_revision(folder, f"refs/remotes/{upstream}") else None


def count_commits_apart(folder: Path, branch: str, upstream: str) -> tuple[int, int]:
    """Count the commits that only the branch has, and those that only its upstream has. (0, 0) without the branch."""
    local = git.resolve_revision(folder, f"refs/heads/{branch}")
    remote = git.resolve_revision(folder, f"refs/remotes/{upstream}")
    if local is None or remote is None:
        return 0, 0
    ahead, behind = git.check_output(folder, "rev-list", "--left-right", "--count", f"{local}...{remote}").split()
    return int(ahead), int(behind)
