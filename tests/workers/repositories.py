"""Real git repositories for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

IDENTITY = ("-c", "user.name=Alice", "-c", "user.email=alice@example.org", "-c", "commit.gpgSign=false")


def git(folder: Path, *arguments: str) -> str:
    """What git prints, without surrounding space; an error when it fails."""
    argv = ["git", *IDENTITY, *arguments]
    return subprocess.run(argv, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path, message: str = "change", **files: str) -> str:
    """Write `files` (name without its `.txt`, text), commit everything, return the commit."""
    for name, text in files.items():
        (folder / f"{name}.txt").write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


def create_repository(folder: Path, **files: str) -> Path:
    """A repository on branch main with one commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch=main")
    commit(folder, "first", **(files or {"readme": "hello\n"}))
    return folder
