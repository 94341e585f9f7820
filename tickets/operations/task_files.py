"""What the files of `tasks/` say to people. Whether one can be run is judged by the scheduler alone."""

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


@dataclass(frozen=True, slots=True)
class TaskNote:
    """The head of one file as it is shown. Of a strange schedule `due`, its next time, is None, and `rhythm` says so."""

    name: str
    description: str
    schedule: str
    rhythm: str
    command: str
    enabled: bool
    due: datetime | None


SHIPPED_TASKS = Path(__file__).resolve().parents[2] / "tasks"


def list_names(folder: Path) -> list[str]:
    """What the tasks of a folder are called, readable or not."""
    return sorted(path.stem for path in folder.glob("*.md"))


def require(name: str) -> None:
    """Raises `NotFound` for a task that this program does not have."""
    if name not in list_names(SHIPPED_TASKS):
        raise NotFound("There is no task of that name.", task=name[:40])


def list_notes(folder: Path, zone: ZoneInfo) -> list[TaskNote]:
    """The readable files of a folder, by name; the scheduler's own sign of life names what is wrong with the others."""
    task_notes = []
    for path in sorted(folder.glob("*.md")):
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
    """A cron line in words, and when it comes next."""
    try:
        line = CronSim(schedule, now().astimezone(zone))
        return line.explain(), next(line)
    except (CronSimError, StopIteration):
        return "Not a schedule", None
