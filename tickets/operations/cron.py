"""The scheduled tasks, read from `tasks/*.md` with a cron line each, in the time zone of the settings.

A time that a clock change skips runs once, right after the change; a time that it doubles runs once. Lines whose minute
or hour begins with `*` go by elapsed time. Several runs missed while the scheduler was down are replaced by one. Each
instance starts its tasks at a second of the minute that follows from its home.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import frontmatter
import yaml
from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

PROGRAMS = ("mc_pickup.py", "queue_reaper.py", "mc_probe.py", "mc_land.py", "mc_health.py", "mc_operator.py")
"""The programs that a task may run. Each prints its outcome as JSON and accepts `--trigger`."""
BEGINNING = datetime.min.replace(tzinfo=UTC)
NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,40}")


def _validate_schedule(line: str) -> str:
    try:
        next(CronSim(line, datetime(2026, 1, 1)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"Invalid cron line: {error}") from None
    return line


def _validate_command(argv: list[str]) -> list[str]:
    if argv[0] not in PROGRAMS:
        raise ValueError(f"{argv[0]} is none of {', '.join(PROGRAMS)}")
    return argv


class TaskFile(BaseModel):
    """The front matter of a task's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[str, AfterValidator(_validate_schedule)]
    command: Annotated[list[str], Field(min_length=1, max_length=16), AfterValidator(_validate_command)]
    timeout: float = Field(gt=0, le=86_400, description="seconds")
    enabled: bool
    description: str = Field(min_length=1, max_length=300)


@dataclass(frozen=True, slots=True)
class Task:
    """One task, named after its file."""

    name: str
    head: TaskFile
    added: datetime = BEGINNING
    """When its file came into the folder. It cannot have been run before."""

    @property
    def is_interval(self) -> bool:
        """True when it is due by elapsed time, every so many minutes, and not at clock times."""
        minute, *other_fields = self.head.schedule.split()
        return minute.startswith("*") and all(field == "*" for field in other_fields)


class TaskFolder:
    """The tasks of a folder, whose files are read again when one of them has changed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state: list[tuple[str, int]] = []
        self._content: tuple[dict[str, Task], list[str]] = ({}, [])

    def load(self) -> tuple[dict[str, Task], list[str]]:
        """Load the tasks by name, and the problems of the files that cannot be used."""
        state = [(path.name, _read_time(path)) for path in list_files(self._folder)]
        if state != self._state:
            self._state, self._content = state, load_tasks(self._folder)
        return self._content


def _read_time(path: Path) -> int:
    """Read when a file or its permissions changed."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0  # reading it tells why


def list_files(folder: Path) -> list[Path]:
    """List the task files of a folder, without hidden ones, such as the lock of an editor."""
    return sorted(folder.glob("[!.]*.md"))


def load_tasks(folder: Path) -> tuple[dict[str, Task], list[str]]:
    """Load the tasks of a folder by name, and a message with the file's name for each that cannot be used."""
    tasks: dict[str, Task] = {}
    problems: list[str] = []
    for path in list_files(folder):
        try:
            tasks[path.stem] = _read_task(path)
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(f"{path.name}: {_format_error(error)}")
    return tasks, problems


def _read_task(path: Path) -> Task:
    if not NAME_PATTERN.fullmatch(path.stem):
        raise ValueError("a task's name is made of lower-case letters, digits and hyphens")
    head = TaskFile.model_validate(frontmatter.loads(path.read_text("utf-8")).metadata)
    return Task(path.stem, head, datetime.fromtimestamp(path.stat().st_ctime, UTC))


def _format_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    return str(error).splitlines()[0]


def find_duplicates(tasks: dict[str, Task], enabled: set[str]) -> list[str]:
    """Find enabled tasks that run the same command."""
    by_command: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, task in tasks.items():
        if name in enabled:
            by_command[tuple(task.head.command)].append(name)
    return [f"{' and '.join(names)} run the same command" for names in by_command.values() if len(names) > 1]


def describe_schedule(task: Task) -> str:
    """Describe when a task is due, in words with a small first letter: `every minute`."""
    words = CronSim(task.head.schedule, datetime(2026, 1, 1)).explain()
    return words[:1].lower() + words[1:]


def choose_offset(instance: str) -> timedelta:
    """Choose how long after the beginning of a minute an instance starts its tasks, so that not all do at once."""
    return timedelta(seconds=int(instance, 16) % 60)


def find_next_time(task: Task, moment: datetime, zone: ZoneInfo, offset: timedelta = timedelta()) -> datetime:
    """Find the first time of a task after `moment`, which is `offset` later than its line says."""
    start = (moment.astimezone(UTC) - offset).astimezone(zone)  # in UTC, as clock changes make times ambiguous
    return (next(CronSim(task.head.schedule, start)).astimezone(UTC) + offset).astimezone(zone)
