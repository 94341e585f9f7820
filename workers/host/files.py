"""Files of a run that only their owner may read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

DRAFT_SUFFIX = ".new"
"""The end of the name of a file that is being written."""


def create(path: Path, data: bytes) -> None:
    """Write a new file, 0600. FileExistsError when it exists already."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)


def replace(path: Path, data: bytes) -> None:
    """Replace the file with `data` atomically, and durably across a power cut (fsync, rename, fsync).

    OSError when the disk is full: the file is as it was, and the draft is removed.
    """
    draft = path.with_name(path.name + DRAFT_SUFFIX)
    draft.unlink(missing_ok=True)  # that of a killed process, or a link that leads elsewhere
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def remove_drafts(folder: Path) -> None:
    """Remove the drafts that processes left in a folder when they were killed. None of them may be running."""
    for draft in folder.glob(f"*{DRAFT_SUFFIX}"):
        with suppress(OSError):
            draft.unlink()


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
