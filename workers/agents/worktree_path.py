"""The paths that a commit in a linked worktree writes to, found by reading files, since an adapter starts no process."""

from __future__ import annotations

from pathlib import Path

SHARED_FOLDERS = ("objects", "refs", "logs")


def list_git_folders(workspace: Path) -> list[str]:
    """List the worktree's own git folder, and the repository's objects, references and logs. Empty for anything else.

    The repository's hooks and settings are not among them. The repository follows from the path of the worktree's git
    folder, as an agent may write `commondir` there.
    """
    try:
        pointer = Path((workspace / ".git").read_text(encoding="utf-8").removeprefix("gitdir:").strip())
        own = pointer.resolve()
        is_linked = pointer.is_absolute() and own.parent.name == "worktrees" and (own / "commondir").is_file()
    except (OSError, ValueError, RuntimeError):
        return []
    folders = [own, *(own.parent.parent / name for name in SHARED_FOLDERS)]
    return [str(folder) for folder in folders if folder.is_dir()] if is_linked else []
