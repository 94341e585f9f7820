"""The files of tasks for people: those of the installation, and those of the home, which a person creates and edits."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import frontmatter
import yaml
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session

from models import CatchUp, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound
from tickets.shared.inputs import Body, Line, NewTicket, Prose
from tickets.shared.rights import Act

from . import cron, home_files
from .cron import MAX_ARGUMENTS, Argument, Task, TaskFile, TaskFolder, TicketTemplate

SHIPPED_TASKS = Path(__file__).resolve().parents[2] / "tasks"
PREVIEW_COUNT = 5
REPEATED_FIELDS = {"title", "description", "assigned_to", "project", "priority", "tags", "acceptance"}
"""Fields of a ticket that a task may give to each of its tickets."""
MAX_NAME_LENGTH = 41
RESERVED_NAMES = ("new",)
"""Names that addresses of pages have."""


@dataclass(frozen=True, slots=True)
class TaskNote:
    """A task as it is displayed. `due` is the next run, `rhythm` the schedule in words."""

    name: str
    description: str
    schedule: str
    rhythm: str
    command: str
    enabled: bool
    due: datetime | None
    zone: str
    task: Task


@lru_cache(4)
def _open_folder(own: Path) -> TaskFolder:
    return TaskFolder(SHIPPED_TASKS, own)


def load(own: Path) -> tuple[dict[str, Task], list[str]]:
    """Load the tasks of the installation and of a home, and the problems of the files that cannot be used."""
    return _open_folder(own).load()


def list_names(own: Path) -> list[str]:
    """List the names of all usable tasks."""
    return sorted(load(own)[0])


def require(name: str, own: Path) -> Task:
    """Return a task. Raises `NotFound` for an unknown one."""
    task = load(own)[0].get(name)
    if task is None:
        raise NotFound("There is no task with this name.", task=name[:40])
    return task


def list_notes(own: Path, zone: ZoneInfo) -> list[TaskNote]:
    """List the usable tasks, a person's own first, then by name."""
    tasks = sorted(load(own)[0].values(), key=lambda task: (task.is_shipped, task.name))
    return [build_note(task, zone) for task in tasks]


def build_note(task: Task, zone: ZoneInfo) -> TaskNote:
    """Build what is displayed of a task."""
    head, words = task.head, cron.describe_schedule(task)
    return TaskNote(
        task.name,
        head.description,
        head.schedule,
        words[:1].upper() + words[1:],
        " ".join(task.command),
        head.enabled,
        _find_next(task, zone),
        str(cron.choose_zone(task, zone)),
        task,
    )


def _find_next(task: Task, zone: ZoneInfo) -> datetime | None:
    try:
        return cron.find_next_time(task, now(), zone)
    except StopIteration:
        return None


def preview_times(task: Task, zone: ZoneInfo, start: datetime | None = None) -> list[datetime]:
    """List the next times of a task in its zone."""
    times = [start or now()]
    for _ in range(PREVIEW_COUNT):
        times.append(cron.find_next_time(task, times[-1], zone))
    return times[1:]


# ------------------------------------------------------------------------------------------------------------- editing


def make_name(title: str) -> str:
    """Make the name of a task from a title: lower-case letters, digits and hyphens. `task` when nothing is left."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    name = name.lstrip("0123456789-") or "task"
    return name[:MAX_NAME_LENGTH].rstrip("-")


def find_free_name(own: Path, title: str) -> str:
    """Find a name from a title that no task file has yet, with a number at its end when the title's is taken."""
    base = make_name(title)
    used_names = {path.stem for folder in (SHIPPED_TASKS, own) for path in cron.list_files(folder)}.union(
        RESERVED_NAMES
    )
    names = [base, *(f"{base[: MAX_NAME_LENGTH - 4]}-{number}" for number in range(2, 1000))]
    return next((name for name in names if name not in used_names), base)


def build_task(name: str, fields: dict[str, object], prompt: str = "") -> Task:
    """Build a task from the fields of a form. Raises `Invalid` that names each wrong one."""
    if not cron.NAME_PATTERN.fullmatch(name) or name in RESERVED_NAMES:
        words = "up to 41 lower-case letters, digits and hyphens, the first a letter, and is not `new`"
        raise Invalid(f"The name is made of {words}.", field="name")
    try:
        task = Task(name, TaskFile.model_validate(fields), is_shipped=False, prompt=prompt)
        return cron.parse_task(name, format_task(task))
    except ValidationError as error:
        problems = {
            ".".join(map(str, item["loc"])) or "form": str(item["msg"]).removeprefix(cron.VALUE_ERROR)
            for item in error.errors()
        }
        words = "; ".join(f"{field}: {text}" for field, text in problems.items())
        raise Invalid(f"The task is not valid: {words}.", fields=problems) from None
    except (ValueError, yaml.YAMLError) as error:
        raise Invalid(f"The task is not valid: {error}.", field="form") from None


class EditTask(Body):
    """Changes to a task. Fields left out stay as they are."""

    schedule: Line | None = None
    zone: Line | None = None
    catch_up: CatchUp | None = None
    command: list[Argument] | None = Field(None, min_length=1, max_length=MAX_ARGUMENTS)
    ticket: TicketTemplate | None = None
    prompt: Prose | None = None
    timeout: float | None = Field(None, gt=0, le=86_400)
    trust_exit_code: bool | None = None
    description: Line | None = None

    def apply(self, former: Task) -> Task:
        """Build the changed task. Raises `Invalid`."""
        changes = self.model_dump(mode="json", exclude_unset=True)
        prompt = changes.pop("prompt", former.prompt)
        fields = former.head.model_dump(mode="json") | changes
        return build_task(former.name, fields, prompt or "")


class NewTask(EditTask):
    """A new task: its schedule, and its command or its ticket."""

    name: Line | None = None
    schedule: Line

    def build(self, own: Path) -> Task:
        """Build the task. Without a name it is named after its description. Raises `Invalid`."""
        fields = self.model_dump(mode="json", exclude_none=True)
        name, prompt = fields.pop("name", None), fields.pop("prompt", "")
        title = self.ticket.title if self.ticket else " ".join(self.command or ["task"])
        fields["description"] = (self.description or title)[:300]
        return build_task(name or find_free_name(own, fields["description"]), fields | {"enabled": True}, prompt)


def build_ticket_task(body: NewTicket, schedule: str, own: Path) -> Task:
    """Build the task that creates a ticket like this by a schedule. Raises `Invalid` for what cannot be repeated."""
    set_fields = {
        name for name in body.model_fields_set if getattr(body, name) != NewTicket.model_fields[name].get_default()
    }
    if others := sorted(set_fields - REPEATED_FIELDS):
        words = " and ".join(name.replace("_", " ") for name in others)
        raise Invalid(f"A repeated ticket has no {words}. Clear the schedule, or these.", field="repeat")
    template = body.model_dump(mode="json", include=REPEATED_FIELDS - {"description"})
    template["acceptance"] = [item.text for item in body.acceptance]
    fields = {"schedule": " ".join(schedule.split()), "ticket": template, "enabled": True, "description": body.title}
    try:
        return build_task(find_free_name(own, body.title), fields, body.description.replace("\r\n", "\n").strip())
    except Invalid as refusal:
        problems = dict(refusal.detail.get("fields", {}))
        if "schedule" in problems:
            problems["repeat"] = problems.pop("schedule")
        raise Invalid(refusal.message, **{**refusal.detail, "fields": problems}) from None


def format_task(task: Task) -> str:
    """Format the text of a task's file. YAML quotes whatever would be more than text."""
    head = task.head.model_dump(mode="json", exclude_none=True, exclude_defaults=False)
    return frontmatter.dumps(frontmatter.Post(task.prompt, **head), sort_keys=False) + "\n"


def save_task(session: Session, task: Task, own: Path, actor: Actor, *, former: str | None = None) -> None:
    """Write the file of a person's task.

    `former` is the digest of the text that was edited, None for a new task. Raises `ConflictError` when a task has the name
    already or its file has changed since, `Forbidden` for a shipped task.
    """
    require_author(actor, task)
    _refuse_shipped(task.name)
    file = own / f"{task.name}.md"
    if former is not None and former != read_digest(task.name, own):
        raise ConflictError(f"{task.name} has changed since you loaded it. Reload it and try again.", task=task.name)
    if former is None and file.exists():
        raise ConflictError(f"A task is called {task.name} already. Choose another name.", field="name")
    action = "task_created" if former is None else "task_edited"
    events.append(session, None, action, {"task": task.name, "schedule": task.head.schedule}, actor)
    session.flush()  # the event is refused before the file is written
    home_files.write_file(file, format_task(task).encode(), is_new=former is None)


def require_author(actor: Actor, task: Task) -> None:
    """Require the right to write this task, with proof where it chooses a command that runs on this machine."""
    rights.require(actor, Act.ADMINISTER)
    if task.command:
        rights.require(actor, Act.SCHEDULE_COMMAND)


def require_own(name: str, own: Path) -> Task:
    """Return a person's own task. Raises `NotFound` for an unknown one, `ConflictError` for a shipped one."""
    task = require(name, own)
    _refuse_shipped(name)
    return task


def _refuse_shipped(name: str) -> None:
    if (SHIPPED_TASKS / f"{name}.md").exists():
        raise ConflictError(
            f"{name} is a shipped task, which the next update would restore. Enable or disable it, or create a task of your"
            " own.",
            task=name,
        )


def read_digest(name: str, own: Path) -> str:
    """Read the digest of a task's file, by which an edit of an older text is noticed."""
    try:
        return hashlib.sha256(cron.read_text(own / f"{name}.md").encode()).hexdigest()
    except (OSError, ValueError):
        return ""
