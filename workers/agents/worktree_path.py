"""The paths that a commit in a linked worktree writes to, found by reading files, since an adapter starts no process."""

from __future__ import annotations

from pathlib import Path

SHARED_FOLDERS = ("objects", "refs", "logs")


def list_git_folders(workspace: Path) -> list[str]:
    """List the worktree's own git folder, and the repository's objects, references and logs. Empty for anything else.

    The repository's hooks and settings are not among them.
    """
    try:
        own = Path((workspace / ".git").read_text(encoding="utf-8").removeprefix("gitdir:").strip())
        shared = (own / (own / "commondir").read_text(encoding="utf-8").strip()).resolve()
    except (OSError, UnicodeDecodeError):
        return []
    folders = [own, *(shared / name for name in SHARED_FOLDERS)]
    return [str(folder) for folder in folders if folder.is_absolute() and folder.is_dir()]
