"""Folders below the operator's home: `~` in a path, and the git repositories that are offered for a new project."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

MAX_DEPTH = 3
MAX_VISITS = 1000
"""Number of folders that are read at most, since a home may be large or on a slow disk."""
MAX_REPOSITORIES = 20


def expand_home(source: str, home: Path | None) -> str:
    """Replace a leading `~` by the home folder."""
    first, _, rest = source.partition("/")
    return str(home / rest) if first == "~" and home else source


def shorten_home(folder: Path, home: Path) -> str:
    """Write a folder below the home with `~`."""
    return f"~/{folder.relative_to(home)}"


def list_repositories(home: Path) -> list[Path]:
    """List folders with a git repository, the nearest first. Hidden folders, links and what is inside one are left out.

    So are names that a form cannot send unchanged, such as those with a line end or in another encoding than UTF-8.
    """
    repositories: list[Path] = []
    folders = deque([(home, 0)])
    for _ in range(MAX_VISITS):
        if not folders or len(repositories) == MAX_REPOSITORIES:
            break
        folder, depth = folders.popleft()
        if depth and os.path.lexists(folder / ".git"):
            repositories.append(folder)
        elif depth < MAX_DEPTH:
            folders.extend((child, depth + 1) for child in _list_subfolders(folder))
    return repositories


def _list_subfolders(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_offered(entry))
    except OSError:
        return
    yield from (folder / name for name in names)


def _is_offered(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".") and entry.name.isprintable()
