"""Pages of the scheduled tasks: the list, a task with its ledger, and the form of a person's own tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import Heartbeat, TaskOutcome, TaskRun
from tickets.schedule import ledger, task_files, tasks
from tickets.schedule.cron import Task
from tickets.schedule.ledger import SlotView
from tickets.schedule.task_files import TaskNote
from tickets.shared import paging, rights
from tickets.shared.display_names import CATCH_UPS, MISS_REASONS
from tickets.shared.errors import DomainError
from tickets.shared.rights import Act
from web.site import forms, layout

from . import task_forms

blueprint = Blueprint("schedule_pages", __name__)
layout.add_nav_item("tasks", "/tasks", "timer", "Tasks", "Machine", go="t")

View = dict[str, Any]
MAX_RUNS = 12
ORDERS = {
    "run": (tasks.run_now, "is queued: the scheduler starts it within a second."),
    "enable": (tasks.enable_task, "is enabled."),
    "disable": (tasks.disable_task, "is disabled."),
}


# --------------------------------------------------------------------------------------------------------------- pages


@blueprint.get("/tasks")
def show_tasks() -> str:
    settings = auth.get_instance().settings
    notes = task_files.list_notes(settings.tasks_dir, settings.zone)
    with reading(auth.get_instance().engine) as session:
        decisions, latest = tasks.load_decisions(session), tasks.load_latest(session)
        scheduler = _build_scheduler(tasks.load_heartbeats(session).get(tasks.SCHEDULER))
        recent = ledger.load_recent(session, [note.name for note in notes])
    task_views = [
        _build_task(note, decisions, recent[note.name])
        | {"last": _build_run(latest[note.name]) if note.name in latest else None}
        for note in notes
    ]
    problems = list(dict.fromkeys([*task_files.load(settings.tasks_dir)[1], *scheduler["problems"]]))
    return layout.render_page(
        "operations/tasks.html",
        "tasks",
        [("Tasks", None)],
        groups=_group_tasks(task_views),
        scheduler=scheduler | {"problems": problems},
        may_edit=_may_edit(),
    )


def _group_tasks(task_views: list[View]) -> list[tuple[str, list[View]]]:
    """Group the tasks by who wrote them. A group without a task is left out."""
    groups = [
        (title, [view for view in task_views if view["note"].task.is_shipped == is_shipped])
        for title, is_shipped in (("Your tasks", False), ("Shipped tasks", True))
    ]
    return [(title, views) for title, views in groups if views]


@blueprint.get("/tasks/<name>")
def show_task(name: str) -> str:
    settings = auth.get_instance().settings
    note = task_files.build_note(task_files.require(name, settings.tasks_dir), settings.zone)
    with reading(auth.get_instance().engine) as session:
        slots = ledger.list_slots(session, name, paging.parse_number(request.args.get("before")))
        recent = ledger.load_recent(session, [name])[name]
        task_view = _build_task(note, tasks.load_decisions(session), recent)
        runs = [_build_run(row) for row in tasks.list_task_runs(session, name, MAX_RUNS)]
        scheduler = _build_scheduler(tasks.load_heartbeats(session).get(tasks.SCHEDULER))
    older = f"/tasks/{name}?before={slots[-1].slot.id}" if len(slots) == ledger.PAGE_SIZE else None
    return layout.render_page(
        "operations/task_page.html",
        "tasks",
        [("Tasks", "/tasks"), (name, None)],
        task=task_view,
        slots=slots,
        runs=runs,
        older=older,
        scheduler=scheduler,
        miss_reasons=MISS_REASONS,
        catch_ups=CATCH_UPS,
        may_edit=_may_edit() and not note.task.is_shipped,
    )


def _may_edit() -> bool:
    return rights.may(auth.get_actor(), Act.ADMINISTER)


def _build_scheduler(beat: Heartbeat | None) -> View:
    """Build the state of the scheduler: alive or not, last heartbeat, and the problems of task files."""
    problems = tasks.read_texts(beat, "problems") if beat else []
    return {"alive": tasks.is_alive(beat), "seen": beat.ts if beat else None, "problems": problems}


def _build_task(note: TaskNote, decisions: dict[str, bool], recent: list[SlotView]) -> View:
    return {
        "note": note,
        "head": note.task.head,
        "enabled": decisions.get(note.name, note.enabled),
        "last_work": ledger.find_last_work(recent),
        "missed": ledger.count_missed(recent),
    }


def _build_run(row: TaskRun) -> View:
    seconds = (row.ended - row.started).total_seconds() if row.ended else None
    summary = {key: value for key, value in (row.summary or {}).items() if value not in (None, "", [], {}, 0)}
    return {
        "outcome": row.outcome.value if row.outcome else "running",
        "reason": tasks.describe_skip(row.summary or {}) if row.outcome is TaskOutcome.SKIPPED else "",
        "trigger": row.trigger.value,
        "at": row.started,
        "seconds": seconds,
        "exit_code": row.exit_code,
        "output": row.output_tail.strip() or (json.dumps(summary, ensure_ascii=False, indent=2) if summary else ""),
    }


@blueprint.post("/tasks/<name>/<any(run, enable, disable):order>")
def order_task(name: str, order: str) -> Response:
    task_files.require(name, auth.get_instance().settings.tasks_dir)
    act, message = ORDERS[order]
    try:
        with writing(auth.get_instance().engine) as session:
            act(session, name, auth.get_actor())
    except DomainError as refusal:
        layout.flash_note(f"{refusal.message.removesuffix('.')}.", "bad")
    else:
        layout.flash_note(f"{name} {message}")
    return redirect(f"/tasks/{name}" if "one" in request.args else f"/tasks#{name}", 303)


# ---------------------------------------------------------------------------------------------------------------- form


@blueprint.get("/tasks/new")
def ask_task() -> str:
    return _render_form(task_forms.build_new_values(request.args), {})


@blueprint.post("/tasks/new")
def create_task() -> Response | str | tuple[str, int]:
    own = auth.get_instance().settings.tasks_dir

    def build() -> Task:
        fields, text = task_forms.read_fields(request.form)
        name = request.form.get("name", "").strip() or task_files.find_free_name(own, str(fields["description"]))
        return task_files.build_task(name, fields, text)

    return _save(build, None, None)


@blueprint.get("/tasks/<name>/edit")
def ask_edit(name: str) -> str:
    own = auth.get_instance().settings.tasks_dir
    task = task_files.require_own(name, own)
    values = task_forms.build_values(task) | {"digest": task_files.read_digest(name, own)}
    return _render_form(values, {}, name)


@blueprint.post("/tasks/<name>/edit")
def edit_task(name: str) -> Response | str | tuple[str, int]:
    own = auth.get_instance().settings.tasks_dir
    former = task_files.require_own(name, own)

    def build() -> Task:
        fields, text = task_forms.read_fields(request.form)
        fields["enabled"] = former.head.enabled
        return task_files.build_task(name, fields, text)

    return _save(build, name, request.form.get("digest", ""))


def _save(build: Callable[[], Task], name: str | None, former: str | None) -> Response | str | tuple[str, int]:
    """Save the task of the form, or show the form again: with the next times, or with errors."""
    instance = auth.get_instance()
    try:
        task = build()
        if "preview" in request.form:
            return _render_form(request.form, {}, name, task)
        with writing(instance.engine) as session:
            task_files.save_task(session, task, instance.settings.tasks_dir, auth.get_actor(), former=former)
    except DomainError as refusal:
        return _render_form(request.form, task_forms.find_errors(refusal), name), refusal.status
    layout.flash_note(f"{task.name} was {'changed' if name else 'created'}.")
    return redirect(f"/tasks/{task.name}", 303)


def _render_form(
    values: Mapping[str, Any], errors: dict[str, str], name: str | None = None, preview: Task | None = None
) -> str:
    settings = auth.get_instance().settings
    with reading(auth.get_instance().engine) as session:
        choices = _load_choices(session)
    note = task_files.build_note(preview, settings.zone) if preview else None
    times = task_files.preview_times(preview, settings.zone) if preview else []
    title = name or "New task"
    crumbs: list[tuple[str, str | None]] = [("Tasks", "/tasks"), *([(name, f"/tasks/{name}")] if name else [])]
    crumbs.append(("Edit" if name else title, None))
    return layout.render_page(
        "operations/task_form.html",
        "tasks",
        crumbs,
        title=title,
        form=values,
        errors=errors,
        name=name,
        choices=choices,
        note=note,
        times=times,
        zone=settings.timezone,
    )


def _load_choices(session: Session) -> View:
    choices = forms.load_choices(session)
    nobody = {"assigned_to": [("", "No owner")], "project": [("", "No project")]}
    return {**choices, **{field: options + choices[field] for field, options in nobody.items()}, **task_forms.CHOICES}
