"""API of scheduled tasks and incidents."""

from __future__ import annotations

from pydantic import Field

from models import IncidentState
from tickets.lifecycle.schemas import IncidentJson, TaskJson, TaskRunJson
from tickets.operations import incidents, task_files, tasks
from tickets.shared.inputs import Body, Prose
from web.api.page import Page
from web.api.resource import OPERATORS, Call, Resource

blueprint = Resource("upkeep", __name__)


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


def _tasks(call: Call) -> list[TaskJson]:
    decisions, latest = tasks.load_decisions(call.session), tasks.load_latest(call.session)
    return [
        TaskJson.read(note, enabled=decisions.get(note.name, note.enabled), latest=latest.get(note.name))
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
    return {"items": [TaskRunJson.read(row) for row in tasks.list_task_runs(call.session, name)], "next": None}


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
