"""API of scheduled tasks and incidents."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from models import IncidentState, TaskRun
from tickets.lifecycle.schemas import IncidentJson, TaskJson, TaskRunJson, TaskSlotJson
from tickets.operations import incidents
from tickets.schedule import ledger, task_files, tasks
from tickets.schedule.cron import Task
from tickets.schedule.ledger import SlotView
from tickets.schedule.task_files import EditTask, NewTask, TaskNote
from tickets.shared.inputs import Body, Prose
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

blueprint = Resource("upkeep", __name__)
Slots = list[SlotView]


class IncidentQuery(Body):
    """Incidents in one state, the newest sighting first."""

    state: IncidentState = IncidentState.OPEN


class Proof(Body):
    """Evidence that the cause is gone."""

    evidence: Annotated[Prose, Field(min_length=1, max_length=4000)]


@blueprint.reads("/incidents")
def list_incidents(call: Call, query: IncidentQuery) -> Page[IncidentJson]:
    """List incidents in one state."""
    return {
        "items": [IncidentJson.read(row) for row in incidents.list_incidents(call.session, query.state)],
        "next": None,
    }


@blueprint.writes("POST", "/incidents/<number:incident_id>/ack")
def acknowledge_incident(call: Call, incident_id: int) -> IncidentJson:
    """Acknowledge an incident: somebody is looking into it."""
    return IncidentJson.read(incidents.acknowledge_incident(call.session, incident_id, call.actor))


@blueprint.writes("POST", "/incidents/<number:incident_id>/close")
def close_incident(call: Call, incident_id: int, body: Proof) -> IncidentJson:
    """Close an incident with evidence that its cause is gone."""
    return IncidentJson.read(incidents.close_incident(call.session, incident_id, body.evidence, call.actor))


def _read_task(note: TaskNote, decisions: dict[str, bool], latest: TaskRun | None, slots: Slots) -> TaskJson:
    ticket = note.task.head.ticket
    return TaskJson.read(
        note,
        command=note.task.command,
        ticket=ticket.model_dump(mode="json") if ticket else None,
        prompt=note.task.prompt,
        catch_up=note.task.head.catch_up,
        is_shipped=note.task.is_shipped,
        enabled=decisions.get(note.name, note.enabled),
        last_work=ledger.find_last_work(slots),
        missed=ledger.count_missed(slots),
        latest=latest,
    )


def _read_tasks(call: Call, notes: list[TaskNote]) -> list[TaskJson]:
    decisions, latest = tasks.load_decisions(call.session), tasks.load_latest(call.session)
    recent = ledger.load_recent(call.session, [note.name for note in notes])
    return [_read_task(note, decisions, latest.get(note.name), recent[note.name]) for note in notes]


@blueprint.reads("/tasks")
def list_tasks(call: Call) -> Page[TaskJson]:
    """List the scheduled tasks, each with its newest run."""
    return {
        "items": _read_tasks(call, task_files.list_notes(call.settings.tasks_dir, call.settings.zone)),
        "next": None,
    }


def _read_saved(call: Call, task: Task) -> TaskJson:
    return _read_tasks(call, [task_files.build_note(task, call.settings.zone)])[0]


@blueprint.reads("/tasks/<name>")
def get_task(call: Call, name: str) -> TaskJson:
    """Read one scheduled task."""
    return _read_saved(call, task_files.require(name, call.settings.tasks_dir))


@blueprint.writes("POST", "/tasks", rights=OPERATORS, status=201)
def create_task(call: Call, body: NewTask) -> TaskJson:
    """Create a task of your own: a command, or a ticket that is created each time."""
    task = body.build(call.settings.tasks_dir)
    task_files.save_task(call.session, task, call.settings.tasks_dir, call.actor)
    return _read_saved(call, task)


@blueprint.writes("PATCH", "/tasks/<name>", rights=OPERATORS)
def edit_task(call: Call, name: str, body: EditTask) -> TaskJson:
    """Change a task of your own. Fields left out stay as they are."""
    own = call.settings.tasks_dir
    former = task_files.require_own(name, own)
    task = body.apply(former)
    task_files.save_task(call.session, task, own, call.actor, former=task_files.read_digest(name, own))
    return _read_saved(call, task)


class SlotQuery(Body):
    """Slots before the one with this id, the last due first."""

    before: int | None = Field(None, ge=1)


@blueprint.reads("/tasks/<name>/slots")
def list_task_slots(call: Call, name: str, query: SlotQuery) -> Page[TaskSlotJson]:
    """List the ledger of a scheduled task: each time at which it was due, run or missed with its reason."""
    task_files.require(name, call.settings.tasks_dir)
    views = ledger.list_slots(call.session, name, query.before)
    items = [TaskSlotJson.read(view.slot, ticket=view.ticket, did_work=view.did_work) for view in views]
    return {"items": items, "next": str(items[-1].id) if len(items) == ledger.PAGE_SIZE else None}


@blueprint.reads("/tasks/<name>/runs")
def list_task_runs(call: Call, name: str) -> Page[TaskRunJson]:
    """List the newest runs of a scheduled task."""
    task_files.require(name, call.settings.tasks_dir)
    return {"items": [TaskRunJson.read(row) for row in tasks.list_task_runs(call.session, name)], "next": None}


@blueprint.writes("POST", "/tasks/<name>/run", rights=OPERATORS)
def run_task(call: Call, name: str) -> None:
    """Run a task now, enabled or not. The scheduler starts it within a second."""
    task_files.require(name, call.settings.tasks_dir)
    tasks.run_now(call.session, name, call.actor)


@blueprint.writes("POST", "/tasks/<name>/enable", rights=OPERATORS)
def enable_task(call: Call, name: str) -> None:
    """Enable a task: it runs by its schedule."""
    task_files.require(name, call.settings.tasks_dir)
    tasks.enable_task(call.session, name, call.actor)


@blueprint.writes("POST", "/tasks/<name>/disable", rights=OPERATORS)
def disable_task(call: Call, name: str) -> None:
    """Disable a task: it no longer runs by its schedule."""
    task_files.require(name, call.settings.tasks_dir)
    tasks.disable_task(call.session, name, call.actor)
