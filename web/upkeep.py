"""Scheduled tasks and incidents for programs."""

from __future__ import annotations

from pydantic import Field
from typing_extensions import TypedDict

from models import Incident, IncidentState, TaskRun, stamp
from tickets import incidents, tasks
from tickets.facts import Body, Prose
from tickets.views import at

from .api import Call, Resource
from .shapes import Page

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


def incident_json(row: Incident) -> IncidentJson:
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
        "first_seen": stamp(row.first_seen),
        "last_seen": stamp(row.last_seen),
    }


class InState(Body):
    """Incidents in one state, the newest sighting first."""

    state: IncidentState = IncidentState.OPEN


class Proof(Body):
    """What shows that the cause is gone."""

    evidence: Prose = Field(min_length=1, max_length=4000)


@blueprint.reads("/incidents")
def list_incidents(call: Call, query: InState) -> Page[IncidentJson]:
    """List incidents in one state."""
    return {"items": [incident_json(row) for row in incidents.recent(call.session, query.state)], "next": None}


@blueprint.writes("POST", "/incidents/<number:incident_id>/ack")
def acknowledge_incident(call: Call, incident_id: int) -> IncidentJson:
    """Say that somebody is looking into an incident."""
    return incident_json(incidents.acknowledge(call.session, incident_id, call.actor))


@blueprint.writes("POST", "/incidents/<number:incident_id>/close")
def close_incident(call: Call, incident_id: int, body: Proof) -> IncidentJson:
    """Close an incident with what shows that its cause is gone."""
    return incident_json(incidents.close(call.session, incident_id, body.evidence, call.actor))


class TaskRunJson(TypedDict):
    id: int
    task: str
    trigger: str
    outcome: str | None
    exit_code: int | None
    output_tail: str
    started: str
    ended: str | None


def task_run_json(row: TaskRun) -> TaskRunJson:
    return {
        "id": row.id,
        "task": row.task,
        "trigger": row.trigger.value,
        "outcome": row.outcome.value if row.outcome else None,
        "exit_code": row.exit_code,
        "output_tail": row.output_tail,
        "started": stamp(row.started),
        "ended": at(row.ended),
    }


@blueprint.reads("/tasks/<name>/runs")
def list_task_runs(call: Call, name: str) -> Page[TaskRunJson]:
    """List the newest runs of a scheduled task."""
    return {"items": [task_run_json(row) for row in tasks.history(call.session, name)], "next": None}
