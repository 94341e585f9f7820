"""Descriptions of the files of `tasks/` for people. The scheduler alone decides whether one can be run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import frontmatter
import yaml
from cronsim import CronSim, CronSimError

from models import now
from tickets.shared.errors import NotFound

from . import cron


@dataclass(frozen=True, slots=True)
class TaskNote:
    """The displayed head of one task file. `due` is the next run, None for an invalid schedule, as `rhythm` then says."""

    name: str
    description: str
    schedule: str
    rhythm: str
    command: str
    enabled: bool
    due: datetime | None


SHIPPED_TASKS = Path(__file__).resolve().parents[2] / "tasks"


def list_names(folder: Path) -> list[str]:
    """List the names of all tasks of a folder, readable or not."""
    return [path.stem for path in cron.list_files(folder)]


def require(name: str) -> None:
    """Raise `NotFound` for an unknown task."""
    if name not in list_names(SHIPPED_TASKS):
        raise NotFound("There is no task with this name.", task=name[:40])


def list_notes(folder: Path, zone: ZoneInfo) -> list[TaskNote]:
    """List the readable files of a folder, by name. The scheduler's heartbeat reports problems with the others."""
    task_notes = []
    for path in cron.list_files(folder):
        try:
            head = frontmatter.loads(path.read_text("utf-8")).metadata
        except (OSError, ValueError, yaml.YAMLError):
            continue
        task_notes.append(_build_note(path.stem, head, zone))
    return task_notes


def _build_note(name: str, head: dict[str, object], zone: ZoneInfo) -> TaskNote:
    command, schedule = head.get("command"), str(head.get("schedule", ""))
    words = " ".join(map(str, command)) if isinstance(command, list) else ""
    description = str(head.get("description", ""))
    rhythm, due = _parse_schedule(schedule, zone)
    return TaskNote(name, description, schedule, rhythm, words, head.get("enabled") is True, due)


def _parse_schedule(schedule: str, zone: ZoneInfo) -> tuple[str, datetime | None]:
    """Return a cron line in words, and its next time."""
    try:
        line = CronSim(schedule, now().astimezone(zone))
        return line.explain(), next(line)
    except (CronSimError, StopIteration):
        return "Not a schedule", None
