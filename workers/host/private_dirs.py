"""Private directories, for sockets and other files that no other user may access."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path


class UnsafeFolder(Exception):
    """A directory for private files is a link, belongs to another user or is accessible to others."""


def make_private_dir(folder: Path) -> Path:
    """Create `folder` as 0700 if it is absent. `UnsafeFolder` when others own or may enter it.

    In a shared directory such as /tmp another user may have created the name first, hence the check after
    mkdir.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafeFolder(f"{folder} is not a folder of its own")
    if status.st_uid != os.getuid():
        raise UnsafeFolder(f"{folder} belongs to user {status.st_uid}")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UnsafeFolder(f"{folder} is open to others (mode {stat.S_IMODE(status.st_mode):o}, wanted 700)")
    return folder


def move_away(folder: Path) -> Path | None:
    """Rename a file or directory that occupies the path of a new folder to `<name>.<time>`. None when there is none."""
    if not os.path.lexists(folder):
        return None
    return folder.rename(folder.with_name(f"{folder.name}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))


def remove_tree(folder: Path) -> None:
    """Delete a directory tree, including directories without write permission (build tools create them)."""
    for place, names, _ in os.walk(folder):
        for name in names:
            inner = Path(place) / name
            if not inner.is_symlink():
                inner.chmod(0o700)
    shutil.rmtree(folder)
