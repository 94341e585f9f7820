"""The scheduled tasks, read from `tasks/*.md` of the installation and of the home, with a cron line each.

A line is in the task's time zone, or in that of the settings. A time that a clock change skips runs once, right after the
change; a time that it doubles runs once. Lines whose minute or hour begins with `*` go by elapsed time. How missed times
are made up for is decided in `slot_plan.py`. Each instance starts its tasks at a second of the minute that follows from its
home.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

import frontmatter
import yaml
from cronsim import CronSim, CronSimError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from models import CatchUp
from settings import Zone
from tickets.shared.inputs import Level, Line, Name, Prose, TagName, Title

PROGRAMS = ("mc_pickup.py", "queue_reaper.py", "mc_probe.py", "mc_land.py", "mc_health.py", "mc_operator.py")
"""The programs of Mission Control that a task may run. Each prints its outcome as JSON and accepts `--trigger`."""
BEGINNING = datetime.min.replace(tzinfo=UTC)
NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,40}")
MAX_FILE_BYTES = 256 << 10
MAX_ARGUMENTS = 64
Argument = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
VALUE_ERROR = "Value error, "
"""The beginning of a validator's message, which Pydantic adds."""
DEFAULT_TIMEOUT_SECONDS = 300.0
_PROMPT: TypeAdapter[str] = TypeAdapter(Prose)


def _validate_schedule(line: str) -> str:
    try:
        next(CronSim(line, datetime(2026, 1, 1)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"Invalid cron line: {error}") from None
    return line


class TicketTemplate(BaseModel):
    """The ticket that a task creates each time. The text of the file is its description."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: Title
    assigned_to: Name | None = None
    project: Name | None = None
    priority: Level = "normal"
    tags: list[TagName] = Field(default=[], max_length=12)
    acceptance: list[Line] = Field(default=[], max_length=50)


class TaskFile(BaseModel):
    """The front matter of a task's file: when it is due, and its command or its ticket."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schedule: Annotated[str, AfterValidator(_validate_schedule)]
    zone: Zone | None = None
    command: list[Argument] | None = Field(None, min_length=1, max_length=MAX_ARGUMENTS)
    ticket: TicketTemplate | None = None
    timeout: float = Field(DEFAULT_TIMEOUT_SECONDS, gt=0, le=86_400, description="seconds")
    catch_up: CatchUp = CatchUp.ONCE
    trust_exit_code: bool = Field(False, description="exit code 0 of the command counts as work done")
    enabled: bool
    description: str = Field(min_length=1, max_length=300)

    @model_validator(mode="after")
    def _require_one_kind(self) -> Self:
        if (self.command is None) == (self.ticket is None):
            raise ValueError("a task has either a command or a ticket")
        return self


@dataclass(frozen=True, slots=True)
class Task:
    """One task, named after its file."""

    name: str
    head: TaskFile
    added: datetime = BEGINNING
    """When its file came into the folder. It cannot have been run before."""
    is_shipped: bool = True
    prompt: str = ""

    @property
    def command(self) -> list[str]:
        return self.head.command or []

    @property
    def is_program(self) -> bool:
        """True when its command is a program of Mission Control."""
        return bool(self.command) and self.command[0] in PROGRAMS

    @property
    def is_interval(self) -> bool:
        """True when it is due by elapsed time, every so many minutes, and not at clock times."""
        minute, *other_fields = self.head.schedule.split()
        return minute.startswith("*") and all(field == "*" for field in other_fields)


class TaskFolder:
    """The tasks of the installation and of the home, whose files are read again when one of them has changed."""

    def __init__(self, shipped: Path, own: Path | None = None) -> None:
        self._shipped = shipped
        self._own = own
        self._state: list[tuple[Path, int]] = []
        self._content: tuple[dict[str, Task], list[str]] = ({}, [])

    def load(self) -> tuple[dict[str, Task], list[str]]:
        """Load the tasks by name, and the problems of the files that cannot be used."""
        folders = [folder for folder in (self._shipped, self._own) if folder]
        state = [(path, _read_time(path)) for folder in folders for path in list_files(folder)]
        if state != self._state:
            self._state, self._content = state, self._read()
        return self._content

    def _read(self) -> tuple[dict[str, Task], list[str]]:
        tasks, problems = load_tasks(self._shipped)
        own_tasks, own_problems = load_tasks(self._own, is_shipped=False) if self._own else ({}, [])
        names = {path.stem for path in list_files(self._shipped)}
        for name in sorted(names & own_tasks.keys()):
            del own_tasks[name]
            own_problems.append(f"{name}.md: line 1: a shipped task has this name. Rename the file.")
        return tasks | own_tasks, problems + own_problems


def _read_time(path: Path) -> int:
    """Read when a file or its permissions changed."""
    try:
        return path.stat().st_ctime_ns
    except OSError:
        return 0  # reading it tells why


def list_files(folder: Path) -> list[Path]:
    """List the task files of a folder, without hidden ones, such as the lock of an editor."""
    return sorted(folder.glob("[!.]*.md"))


def load_tasks(folder: Path, *, is_shipped: bool = True) -> tuple[dict[str, Task], list[str]]:
    """Load the tasks of a folder by name, and a message with file and line for each that cannot be used."""
    tasks: dict[str, Task] = {}
    problems: list[str] = []
    for path in list_files(folder):
        try:
            tasks[path.stem] = _read_task(path, is_shipped)
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            problems.append(f"{path.name}: {format_error(error, path)}")
    return tasks, problems


def _read_task(path: Path, is_shipped: bool) -> Task:
    task = parse_task(path.stem, read_text(path), is_shipped=is_shipped)
    return replace(task, added=read_added(path))


def read_added(path: Path) -> datetime:
    """Read when a file came into its folder or was changed."""
    return datetime.fromtimestamp(path.stat().st_ctime, UTC)


def read_text(path: Path) -> str:
    """Read a task's file. Raises OSError, or ValueError for one that is too large or no text, or is no file, such as a pipe."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the file has more than {MAX_FILE_BYTES >> 10} KB")
    return content.decode("utf-8")


def parse_task(name: str, text: str, *, is_shipped: bool = False) -> Task:
    """Parse the text of a task's file. Raises ValueError or YAMLError."""
    if not NAME_PATTERN.fullmatch(name):
        raise ValueError("a task's name is made of lower-case letters, digits and hyphens")
    metadata, prompt = frontmatter.parse(text)
    head = TaskFile.model_validate(metadata)
    if is_shipped and (head.command or [""])[0] not in PROGRAMS:
        raise ValueError(f"the command is none of {', '.join(PROGRAMS)}")
    return Task(name, head, is_shipped=is_shipped, prompt=_PROMPT.validate_python(prompt))


def format_error(error: Exception, path: Path) -> str:
    """Format why a file cannot be used, with the line where that is known."""
    if isinstance(error, ValidationError):
        return "; ".join(_format_field(item, path) for item in error.errors(include_input=False, include_url=False))
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or (str(error).splitlines() or [type(error).__name__])[0]
    return f"line {mark.line + 1 if mark else 1}: {problem}"


def _format_field(item: Any, path: Path) -> str:
    """Format the problem of one field: its line, its name, what is wrong."""
    names = [str(part) for part in item["loc"]]
    message = str(item["msg"]).removeprefix(VALUE_ERROR)
    return f"line {_find_line(path, names)}: {'.'.join(names) or path.stem}: {message}"


def _find_line(path: Path, names: list[str]) -> int:
    """Find the line of the innermost key of `names` that the front matter has, 1 without any."""
    lines = read_text(path).splitlines()
    for name in reversed(names):
        for number, line in enumerate(lines, 1):
            if line.lstrip().startswith((f"{name}:", f'"{name}":')):
                return number
    return 1


def find_duplicates(tasks: dict[str, Task], enabled: set[str]) -> list[str]:
    """Find enabled tasks that run the same command."""
    by_command: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for name, task in tasks.items():
        if name in enabled and task.command:
            by_command[tuple(task.command)].append(name)
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
    zone = choose_zone(task, zone)
    start = (moment.astimezone(UTC) - offset).astimezone(zone)  # in UTC, as clock changes make times ambiguous
    return (next(CronSim(task.head.schedule, start)).astimezone(UTC) + offset).astimezone(zone)


def list_past_times(
    task: Task, after: datetime, moment: datetime, zone: ZoneInfo, offset: timedelta = timedelta()
) -> Iterator[datetime]:
    """List the times of a task in UTC that are later than `after`, from `moment` backwards.

    Times of one zone would be compared by the clock on the wall, which an hour that is doubled shows twice.
    """
    zone = choose_zone(task, zone)
    start = (moment.astimezone(UTC) - offset + timedelta(microseconds=1)).astimezone(zone)
    for time in CronSim(task.head.schedule, start, reverse=True):
        due = time.astimezone(UTC) + offset
        if due <= after:
            return
        yield due


def choose_zone(task: Task, zone: ZoneInfo) -> ZoneInfo:
    """Choose the time zone of a task: its own, or that of the settings."""
    return ZoneInfo(task.head.zone) if task.head.zone else zone
