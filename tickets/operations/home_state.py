"""Facts about the folder of an instance that make a health check: files that vanished, and a folder that is read-only."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Run, RunMode, now

EXAMINED_RUNS = 20
"""The newest runs stand for all: their folders are the last ones that retention deletes."""


def lacks_files(run: Run, runs_dir: Path, host: str) -> bool:
    """Return True when the folder of a run of this host is gone. A run has it from before its first event."""
    is_own = run.host == host and run.mode is not RunMode.EXTERNAL and run.last_run_seq > 0
    return is_own and not (runs_dir / str(run.id)).is_dir()


def find_runs_without_files(session: Session, runs_dir: Path, host: str, retention_days: int) -> list[int]:
    """Find those of the newest runs whose folder is gone, although retention cannot have deleted it yet."""
    is_recent = Run.started > now() - timedelta(days=retention_days)
    newest = select(Run).where(Run.host == host, is_recent).order_by(Run.id.desc()).limit(EXAMINED_RUNS)
    return [run.id for run in session.scalars(newest) if lacks_files(run, runs_dir, host)]


def describe_missing_files(run_ids: list[int], runs_dir: Path) -> tuple[str, str]:
    """Describe runs without files in a sentence, and what to do in another."""
    names = ", ".join(str(run_id) for run_id in sorted(run_ids))
    return (
        f"The files of these runs are gone from {runs_dir}: {names}. Their logs and transcripts cannot be shown, and their"
        " conversations cannot be resumed.",
        "Restore the folder from a backup, or continue without it: new runs start fresh.",
    )


def describe_read_only_folder(folder: Path) -> tuple[str, str] | None:
    """Describe why nothing can be written in a folder, and what to do. None when it can be written."""
    if not folder.is_dir():
        return f"{folder} is gone.", "Restore it from a backup."
    if os.access(folder, os.W_OK | os.X_OK):
        return None
    remedy = "Make it writable for the user of Mission Control, or remount its file system read-write."
    return f"{folder} is read-only.", remedy
