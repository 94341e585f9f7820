"""`mc task`: the scheduled tasks with their ledger, and a person's own tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from database import Session
from models import CatchUp
from settings import load
from tickets.schedule import ledger, task_files, tasks
from tickets.schedule.ledger import SlotView
from tickets.schedule.task_files import EditTask, NewTask, TaskNote
from tickets.shared.actors import Actor
from tickets.shared.display_names import MISS_REASONS
from tickets.shared.errors import Invalid

from .common import as_json, escape_controls, print_one, print_rows, reading, require_operator, validate_fields, writing

TICKET_FIELDS = ("title", "assigned_to", "project", "priority")


@click.group()
def task() -> None:
    """Show, run, create and edit scheduled tasks."""


def _add_fields(function: Any) -> Any:
    """Add the options of a task's fields to a command."""
    options = [
        click.option("--schedule", metavar="CRON", help="Minute, hour, day, month, weekday: '0 8 * * 1-5'."),
        click.option("--zone", help="Time zone, such as Europe/Berlin; that of the settings otherwise."),
        click.option(
            "--catch-up",
            type=click.Choice([rule.value for rule in CatchUp]),
            help="Times missed in sleep or downtime: none, one run, or all.",
        ),
        click.option("--timeout", type=float, metavar="SECONDS", help="Time after which a command is stopped."),
        click.option(
            "--trust-exit-code/--no-trust-exit-code", default=None, help="Exit code 0 means that it did its work."
        ),
        click.option("--description", help="One line that says what it is for."),
        click.option("--title", help="Title of the ticket that it creates each time."),
        click.option("--prompt", help="Description of that ticket."),
        click.option("--agent", "assigned_to", help="Owner of that ticket."),
        click.option("--project", help="Project of that ticket."),
        click.option(
            "--priority", type=click.Choice(["low", "normal", "high", "urgent"]), help="Priority of that ticket."
        ),
        click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND ARGUMENT...]"),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _read_fields(fields: dict[str, Any], former: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read the given options as fields of a task. Those of a ticket are added to the `former` one."""
    values = {name: value for name, value in fields.items() if value not in (None, ())}
    ticket = {name: values.pop(name) for name in TICKET_FIELDS if name in values}
    if "command" in values:
        values["command"] = list(values["command"])
    return values | ({"ticket": (former or {}) | ticket} if ticket else {})


@task.command("list")
@as_json
def list_tasks(as_json: bool) -> None:
    """List the tasks."""
    settings = load()
    notes = task_files.list_notes(settings.tasks_dir, settings.zone)
    with reading(settings) as session:
        decisions = tasks.load_decisions(session)
        recent = ledger.load_recent(session, [note.name for note in notes])
    rows = [_build_row(note, decisions.get(note.name, note.enabled), recent[note.name]) for note in notes]
    print_rows(rows, as_json=as_json)
    for problem in task_files.load(settings.tasks_dir)[1]:
        click.echo(escape_controls(f"tasks/{problem}"), err=True)


def _build_row(note: TaskNote, enabled: bool, slots: list[SlotView]) -> dict[str, Any]:
    return {
        "name": note.name,
        "enabled": enabled,
        "schedule": note.schedule,
        "next": note.due if enabled else None,
        "did_its_work": ledger.find_last_work(slots),
        "missed": ledger.count_missed(slots),
        "description": note.description,
    }


@task.command()
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Show the task NAME with its newest slots and its next times."""
    settings = load()
    note = task_files.build_note(task_files.require(name, settings.tasks_dir), settings.zone)
    with reading(settings) as session:
        enabled = tasks.load_decisions(session).get(name, note.enabled)
        slots = ledger.list_slots(session, name, limit=ledger.MAX_RECENT)
    facts = _build_row(note, enabled, slots) | {"rhythm": note.rhythm, "zone": note.zone}
    facts |= (
        {"command": note.command} if note.command else {"ticket": _describe_ticket(note), "prompt": note.task.prompt}
    )
    facts |= {
        "catch_up": note.task.head.catch_up.value,
        "next_times": [f"{time:%Y-%m-%d %H:%M %Z}" for time in task_files.preview_times(note.task, settings.zone)],
        "slots": [_describe_slot(view) for view in slots],
    }
    print_one(facts, as_json=as_json)


def _describe_ticket(note: TaskNote) -> str | None:
    ticket = note.task.head.ticket
    return f"{ticket.title} (for {ticket.assigned_to or 'nobody'})" if ticket else None


def _describe_slot(view: SlotView) -> str:
    slot = view.slot
    times = f"{slot.due.astimezone():%Y-%m-%d %H:%M}"
    times += f" to {slot.until.astimezone():%Y-%m-%d %H:%M}, {slot.count:,} times" if slot.count > 1 else ""
    work = {True: "did its work", False: "did not do its work", None: "has not done its work yet"}[view.did_work]
    why = MISS_REASONS[slot.reason] if slot.reason else slot.outcome.value if slot.outcome else "running"
    return f"{times}: {work} ({why}{f', {view.ticket}' if view.ticket else ''})"


def _change_task(name: str, change: Callable[[Session, str, Actor], None]) -> None:
    """Make a change to a task in the store. Raises `NotFound` for an unknown one."""
    settings, actor = require_operator()
    task_files.require(name, settings.tasks_dir)
    with writing(settings) as session:
        change(session, name, actor)


@task.command()
@click.argument("name")
def run(name: str) -> None:
    """Have the scheduler run the task NAME now."""
    _change_task(name, tasks.run_now)
    click.echo(f"{name} is queued: the scheduler starts it within a second. See `mc task show {name}`.")


@task.command()
@click.argument("name")
def enable(name: str) -> None:
    """Enable the task NAME."""
    _change_task(name, tasks.enable_task)
    click.echo(f"{name} is enabled.")


@task.command()
@click.argument("name")
def disable(name: str) -> None:
    """Disable the task NAME."""
    _change_task(name, tasks.disable_task)
    click.echo(f"{name} is disabled.")


@task.command(short_help="Create a task of your own.")
@click.argument("name")
@_add_fields
def new(name: str, **fields: Any) -> None:
    """Create the task NAME. It runs the command after --, or with --title creates a ticket each time."""
    settings, actor = require_operator()
    if not fields["schedule"]:
        raise Invalid("A task needs a schedule: --schedule '0 8 * * 1-5'.", field="schedule")
    if not fields["command"] and not fields["title"]:
        raise Invalid("A task needs a command after --, or the --title of a ticket.", field="command")
    created = validate_fields(NewTask, name=name, **_read_fields(fields)).build(settings.tasks_dir)
    with writing(settings) as session:
        task_files.save_task(session, created, settings.tasks_dir, actor)
    click.echo(settings.tasks_dir / f"{created.name}.md")


@task.command()
@click.argument("name")
@_add_fields
def edit(name: str, **fields: Any) -> None:
    """Change the task NAME, which is your own. What is not given stays as it is."""
    settings, actor = require_operator()
    former, digest = task_files.require_own(name, settings.tasks_dir), task_files.read_digest(name, settings.tasks_dir)
    ticket = former.head.ticket.model_dump(mode="json") if former.head.ticket else None
    edited_task = validate_fields(EditTask, **_read_fields(fields, ticket)).apply(former)
    with writing(settings) as session:
        task_files.save_task(session, edited_task, settings.tasks_dir, actor, former=digest)
    click.echo(settings.tasks_dir / f"{name}.md")


COMMANDS: tuple[click.Command, ...] = (task,)
