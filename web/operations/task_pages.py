"""Scheduled tasks, incidents and logs, as pages whose forms work without a script."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from auth import Right
from database import Session, reading, writing
from models import Heartbeat, IncidentState, TaskRun
from tickets.operations import incidents, task_files, tasks
from tickets.operations.task_files import TaskNote
from tickets.shared import events, paging
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get
from web.site import forms, layout
from web.stream import log_tail

blueprint = Blueprint("upkeep_pages", __name__)
layout.nav("tasks", "/tasks", "timer", "Tasks", "Machine", go="t")
layout.nav("incidents", "/incidents", "siren", "Incidents", "Machine", go="i")
layout.nav("logs", "/logs", "scroll-text", "Logs", "Machine", go="l")

View = dict[str, Any]
HISTORY = 12
LOGS = {"scheduler": "scheduler.log", "web": "web.log"}
LOG_LINES = 400
PAGE = 100
REPORTED = ("agent.", "run.")
"""How the types of events begin that workers report line by line; they are shown when asked for."""


# -------------------------------------------------------------------------------------------------------------- tasks


@blueprint.get("/tasks")
def show_tasks() -> str:
    settings = auth.instance().settings
    with reading(auth.instance().engine) as session:
        decided = tasks.decisions(session)
        scheduler = _scheduler(tasks.heartbeats(session).get(tasks.SCHEDULER))
        shown = [
            _task(note, decided.get(note.name, note.enabled), tasks.history(session, note.name, HISTORY))
            for note in task_files.notes(task_files.SHIPPED, settings.zone)
        ]
    return layout.page("tasks.html", "tasks", [("Tasks", None)], tasks=shown, scheduler=scheduler)


def _scheduler(beat: Heartbeat | None) -> View:
    """Whether the scheduler is alive, and what it says is wrong with the files."""
    try:
        said = json.loads(beat.detail) if beat else {}
    except ValueError:
        said = {}
    return {"alive": tasks.is_alive(beat), "seen": beat.ts if beat else None, "problems": said.get("problems", [])}


def _task(note: TaskNote, enabled: bool, history: list[TaskRun]) -> View:
    return {"note": note, "enabled": enabled, "runs": [_run(row) for row in history]}


def _run(row: TaskRun) -> View:
    took = (row.ended - row.started).total_seconds() if row.ended else None
    said = {key: value for key, value in (row.summary or {}).items() if value not in (None, "", [], {}, 0)}
    return {
        "outcome": row.outcome.value if row.outcome else "running",
        "trigger": row.trigger.value,
        "at": row.started,
        "seconds": took,
        "exit_code": row.exit_code,
        "output": row.output_tail.strip() or (json.dumps(said, ensure_ascii=False, indent=2) if said else ""),
    }


@blueprint.post("/tasks/<name>/<any(run, enable, disable):order>")
def order_task(name: str, order: str) -> Response:
    task_files.require(name)
    act, said = {
        "run": (tasks.run_now, "was asked for; the scheduler starts it within a second."),
        "enable": (tasks.enable, "is enabled."),
        "disable": (tasks.disable, "is disabled."),
    }[order]
    try:
        with writing(auth.instance().engine) as session:
            act(session, name, auth.actor())
    except DomainError as refused:
        layout.note(f"{refused.message}.", "bad")
    else:
        layout.note(f"{name} {said}")
    return redirect(f"/tasks#{name}", 303)


# ---------------------------------------------------------------------------------------------------------- incidents


@blueprint.get("/incidents")
def show_incidents() -> str:
    with reading(auth.instance().engine) as session:
        groups = [(state.value, incidents.recent(session, state)) for state in IncidentState]
    return layout.page("incidents.html", "incidents", [("Incidents", None)], groups=groups)


@blueprint.post("/incidents/<number:incident_id>/<any(ack, close):order>")
def order_incident(incident_id: int, order: str) -> Response:
    try:
        with writing(auth.instance().engine) as session:
            if order == "ack":
                incidents.acknowledge(session, incident_id, auth.actor())
            else:
                incidents.close(session, incident_id, request.form.get("evidence", ""), auth.actor())
    except DomainError as refused:
        layout.note(f"{refused.message[:1].upper()}{refused.message[1:]}.".replace("..", "."), "bad")
    else:
        layout.note("The incident is acknowledged." if order == "ack" else "The incident is closed.")
    return redirect("/incidents", 303)


# --------------------------------------------------------------------------------------------------------------- logs


@blueprint.get("/logs")
@auth.allow(Right.OPERATOR)
def show_logs() -> str:
    show = request.args.get("show", "events")
    context: View = {"show": show, "logs": list(LOGS)}
    with reading(auth.instance().engine) as session:
        if show in LOGS:
            context |= {"file": f"logs/{LOGS[show]}", "text": _last_lines(LOGS[show])}
        elif show == "heartbeats":
            context["beats"] = sorted(tasks.heartbeats(session).items())
        elif show == "events":
            context |= _events(session)
        else:
            raise NotFound("There is no log of that name.", log=show[:40])
    return layout.page("logs.html", "logs", [("Logs", None)], **context)


def _events(session: Session) -> View:
    given = {name: request.args.get(name, "").strip()[:80] for name in ("kind", "actor", "ticket")}
    ticket_id = get(session, given["ticket"]).id if given["ticket"] else None
    kinds = (given["kind"],) if given["kind"] else ()
    wanted = events.Wanted(given["actor"], ticket_id, kinds, reported=given["kind"].startswith(REPORTED))
    found = events.feed(session, wanted, paging.number(request.args.get("before")), PAGE)
    older = request.args.copy()
    older["before"] = str(found.older)
    following = f"/logs?{forms.query_string(older)}" if found.older else None
    return {"filters": given, "events": found.events, "next_href": following}


def _last_lines(name: str) -> str | None:
    """The end of a log in the folder of logs; None when there is none."""
    file = log_tail.open_plain(auth.instance().settings.logs_dir / name)
    if file is None:
        return None
    with file:
        return log_tail.last_lines(file, LOG_LINES).decode(errors="replace")
