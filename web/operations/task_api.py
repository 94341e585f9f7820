"""API of scheduled tasks and incidents."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypedDict

from models import Incident, IncidentState, TaskRun, format_timestamp
from tickets.lifecycle.schemas import format_moment
from tickets.operations import incidents, task_files, tasks
from tickets.operations.task_files import TaskNote
from tickets.shared.inputs import Body, Prose
from web.api.resource import OPERATORS, Call, Resource
from web.api.schemas import Page

blueprint = Resource("upkeep", __name__)


class IncidentJson(TypedDict):
    id: int
    title: str
    detail: str
    severity: str
    state: str
    count: int
    recurrence: int
    closed_by: str | None
    evidence: str | None
    first_seen: str
    last_seen: str


def build_incident_json(row: Incident) -> IncidentJson:
    return {
        "id": row.id,
        "title": row.title,
        "detail": row.detail,
        "severity": row.severity,
        "state": row.state.value,
        "count": row.count,
        "recurrence": row.recurrence,
        "closed_by": row.closed_by,
        "evidence": row.evidence,
        "first_seen": format_timestamp(row.first_seen),
        "last_seen": format_timestamp(row.last_seen),
    }


class IncidentQuery(Body):
    """Incidents in one state, the newest sighting first."""

    state: IncidentState = IncidentState.OPEN


class Proof(Body):
    """Evidence that the cause is gone."""

    evidence: Prose = Field(min_length=1, max_length=4000)


@blueprint.reads("/incidents")
def list_incidents(call: Call, query: IncidentQuery) -> Page[IncidentJson]:
    """List incidents in one state."""
    return {
        "items": [build_incident_json(row) for row in incidents.list_incidents(call.session, query.state)],
        "next": None,
    }


@blueprint.writes("POST", "/incidents/<number:incident_id>/ack")
def acknowledge_incident(call: Call, incident_id: int) -> IncidentJson:
    """Acknowledge an incident: somebody is looking into it."""
    return build_incident_json(incidents.acknowledge_incident(call.session, incident_id, call.actor))


@blueprint.writes("POST", "/incidents/<number:incident_id>/close")
def close_incident(call: Call, incident_id: int, body: Proof) -> IncidentJson:
    """Close an incident with evidence that its cause is gone."""
    return build_incident_json(incidents.close_incident(call.session, incident_id, body.evidence, call.actor))


class TaskRunJson(TypedDict):
    id: int
    task: str
    trigger: str
    outcome: str | None
    exit_code: int | None
    output_tail: str
    started: str
    ended: str | None


def build_task_run_json(row: TaskRun) -> TaskRunJson:
    return {
        "id": row.id,
        "task": row.task,
        "trigger": row.trigger.value,
        "outcome": row.outcome.value if row.outcome else None,
        "exit_code": row.exit_code,
        "output_tail": row.output_tail,
        "started": format_timestamp(row.started),
        "ended": format_moment(row.ended),
    }


class TaskJson(TypedDict):
    """A scheduled task. `due` is the next time of its schedule, enabled or not, or null if it is not a cron expression."""

    name: str
    description: str
    schedule: str
    enabled: bool
    due: str | None
    latest: TaskRunJson | None


def task_json(note: TaskNote, enabled: bool, latest: TaskRun | None) -> TaskJson:
    return {
        "name": note.name,
        "description": note.description,
        "schedule": note.schedule,
        "enabled": enabled,
        "due": format_moment(note.due),
        "latest": build_task_run_json(latest) if latest else None,
    }


def _tasks(call: Call) -> list[TaskJson]:
    decisions, latest = tasks.load_decisions(call.session), tasks.load_latest(call.session)
    return [
        task_json(note, decisions.get(note.name, note.enabled), latest.get(note.name))
        for note in task_files.list_notes(task_files.SHIPPED_TASKS, call.settings.zone)
    ]


@blueprint.reads("/tasks")
def list_tasks(call: Call) -> Page[TaskJson]:
    """List the scheduled tasks, each with its newest run."""
    return {"items": _tasks(call), "next": None}


@blueprint.reads("/tasks/<name>/runs")
def list_task_runs(call: Call, name: str) -> Page[TaskRunJson]:
    """List the newest runs of a scheduled task."""
    task_files.require(name)
    return {"items": [build_task_run_json(row) for row in tasks.list_task_runs(call.session, name)], "next": None}


@blueprint.writes("POST", "/tasks/<name>/run", rights=OPERATORS)
def run_task(call: Call, name: str) -> None:
    """Run a task now, enabled or not. The scheduler starts it within a second."""
    task_files.require(name)
    tasks.run_now(call.session, name, call.actor)


@blueprint.writes("POST", "/tasks/<name>/enable", rights=OPERATORS)
def enable_task(call: Call, name: str) -> None:
    """Enable a task: it runs by its schedule."""
    task_files.require(name)
    tasks.enable_task(call.session, name, call.actor)


@blueprint.writes("POST", "/tasks/<name>/disable", rights=OPERATORS)
def disable_task(call: Call, name: str) -> None:
    """Disable a task: it no longer runs by its schedule."""
    task_files.require(name)
    tasks.disable_task(call.session, name, call.actor)
