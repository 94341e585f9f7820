"""Slots of a worktree pool: folders `pool-1`, `pool-2`, ... with a record and a lock file each.

`pool-1.json` records a slot's state, its holder (a run) and the branch it was last prepared for;
`pool-1.lock` is locked while the holder changes, so that two pickups cannot take the same one. A holder
needs no process.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from workers.host import files

SlotState = Literal["free", "preparing", "held"]
FOLDER_PATTERN = re.compile(r"pool-([1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """The record of a slot. `preparing` with a free lock means that the preparing process died, so the slot is free."""

    state: SlotState
    branch: str | None
    holder: str | None = None


FREE_RECORD = SlotRecord("free", None)
UNREADABLE_RECORD = SlotRecord("held", None)
"""An unreadable record counts as held, so that no slot is taken from a run by mistake."""


@dataclass(frozen=True, slots=True)
class WorkspaceSlot:
    """One slot of a pool. `path` is the worktree, which need not exist yet."""

    path: Path

    def read(self) -> SlotRecord:
        try:
            record = SlotRecord(**json.loads(self._build_path(".json").read_bytes()))
        except FileNotFoundError:
            return FREE_RECORD
        except (OSError, ValueError, TypeError):
            return UNREADABLE_RECORD
        return record if record.state in get_args(SlotState) else UNREADABLE_RECORD

    def write(self, record: SlotRecord) -> None:
        files.replace(self._build_path(".json"), json.dumps(asdict(record)).encode())

    def forget(self) -> None:
        self._build_path(".json").unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Take the slot's lock if it is free. It is released after the block, or when the process dies."""
        handle = os.open(self._build_path(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(handle)

    def _build_path(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def list_existing(pool: Path) -> list[WorkspaceSlot]:
    """List the slots of a pool that have a folder, by number."""
    folders = [entry for entry in pool.glob("pool-*") if FOLDER_PATTERN.fullmatch(entry.name)]
    return [WorkspaceSlot(folder) for folder in sorted(folders, key=lambda folder: int(folder.name[5:]))]


def list_absent(pool: Path, limit: int) -> list[WorkspaceSlot]:
    """List the slots that may still be created in a pool of at most `limit` slots."""
    numbered = [WorkspaceSlot(pool / f"pool-{number}") for number in range(1, limit + 1)]
    return [slot for slot in numbered if not slot.path.exists()]
