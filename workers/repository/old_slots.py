"""Slots that cannot be cleaned: they are renamed, so that a fresh one takes their place, and removed when nothing is lost.

`pool-1` becomes `pool-1.<time>` with a record `pool-1.<time>.json` beside it. It stays a worktree of its repository, on
a detached HEAD, so that its branch can be checked out again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from workers.host import files, private_dirs

from . import git, worktree_cleanup, worktrees
from .worktree_cleanup import Unsaved

NAME_PATTERN = re.compile(r"pool-[1-9][0-9]{0,3}\.[0-9]{8}T[0-9]+")
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class OldSlotRecord:
    """The record of a slot that was set aside at `since` (seconds since the epoch), and why it has not been removed."""

    reason: str
    branch: str | None
    since: float
    problem: str = ""


@dataclass(frozen=True, slots=True)
class OldSlot:
    """A slot that was set aside."""

    path: Path
    record: OldSlotRecord

    @property
    def record_file(self) -> Path:
        return _build_record_path(self.path)


def set_aside(repository: Path, path: Path, branch: str | None, reason: str) -> OldSlot | None:
    """Rename what is at the path of a slot, and free its branch. None when nothing is there. Raises OSError."""
    place = private_dirs.move_away(path)
    if place is None:
        return None
    record = OldSlotRecord(reason, branch, time.time())
    _write_record(place, record)
    with suppress(git.GitError, OSError):  # whatever it is, it has made place for a fresh slot
        _reconnect(repository, place)
    return OldSlot(place, record)


def list_old_slots(pool: Path) -> list[OldSlot]:
    """List the slots of a pool that were set aside, oldest first."""
    places = sorted(entry for entry in pool.glob("pool-*") if NAME_PATTERN.fullmatch(entry.name))
    slots = [OldSlot(place, _read_record(place)) for place in places]
    return sorted(slots, key=lambda slot: slot.record.since)


def remove_expired(pool: Path, days: int) -> Iterator[tuple[OldSlot, str | None]]:
    """Remove the slots that were set aside so many days ago. Yields each with the reason why it stays, if it does."""
    for slot in list_old_slots(pool):
        if slot.record.since < time.time() - days * DAY_SECONDS:
            yield slot, _try_remove(slot)


def remove_old_slot(slot: OldSlot, *, unsaved: bool = False) -> None:
    """Remove a slot that was set aside. Raises `Unsaved` unless unsaved work may be lost, `git.GitError`, OSError."""
    if not unsaved:
        _require_saved(slot.path)
    with suppress(git.GitError):
        repository = git.find_common_dir(slot.path)
        for inner in worktree_cleanup.list_inner_worktrees(slot.path):
            worktrees.remove_worktree(repository, inner)
        worktrees.remove_worktree(repository, slot.path)
    if slot.path.is_symlink() or slot.path.is_file():
        slot.path.unlink()
    elif slot.path.exists():
        private_dirs.remove_tree(slot.path)
    slot.record_file.unlink(missing_ok=True)


def _try_remove(slot: OldSlot) -> str | None:
    try:
        remove_old_slot(slot)
    except (Unsaved, git.GitError, OSError) as error:
        _write_record(slot.path, replace(slot.record, problem=str(error)))
        return str(error)
    return None


def _require_saved(path: Path) -> None:
    if not worktrees.is_work_tree_root(path):
        raise Unsaved("it is not a worktree, so what is in it cannot be saved")
    if git.find_git_dir(path) == git.find_common_dir(path):
        raise Unsaved("it is a repository of its own")
    worktree_cleanup.save_everything(path)


def _reconnect(repository: Path, place: Path) -> None:
    """Tell git the new paths of a renamed worktree, of the worktrees inside and of its submodules, and free its branch."""
    new_slot = place.parent.resolve() / place.name.split(".")[0]
    worktrees.remove_links(repository, new_slot)
    worktrees.repair_worktree(repository, place, new_slot)
    if not worktrees.is_work_tree_root(place):
        return
    git_dir = git.find_git_dir(place)
    for config in (git_dir / "modules").rglob("config"):
        _point_submodule(config, new_slot, place)
    head = git.resolve_head(place)
    if head and git.find_current_branch(place):
        git.check_output(place, "update-ref", "--no-deref", "HEAD", head)
    for inner in worktree_cleanup.list_inner_worktrees(place):
        worktrees.repair_worktree(repository, inner, new_slot / inner.relative_to(place))


def _point_submodule(config: Path, new_slot: Path, place: Path) -> None:
    """Point a submodule's git directory at its work tree inside of `place`, no longer at the path of the fresh slot."""
    file = ("config", "--file", str(config), "core.worktree")
    work_tree = None if config.is_symlink() else git.run(place, *file).text.strip()
    old = (config.parent / work_tree).resolve() if work_tree else None
    if old and old.is_relative_to(new_slot):
        git.check_output(place, *file, str(place / old.relative_to(new_slot)))


def _read_record(place: Path) -> OldSlotRecord:
    try:
        return OldSlotRecord(**json.loads(_build_record_path(place).read_bytes()))
    except (OSError, ValueError, TypeError):
        return OldSlotRecord("The record is missing.", None, place.lstat().st_mtime)


def _write_record(place: Path, record: OldSlotRecord) -> None:
    files.replace(_build_record_path(place), json.dumps(asdict(record)).encode())


def _build_record_path(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")
