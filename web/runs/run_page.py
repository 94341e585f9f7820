"""The Runs and Evidence tabs of a ticket: the list of runs, one run in detail, its log, and the stop button."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

import auth
from auth import Right
from database import Session, reading, writing
from models import Run, RunState, Ticket
from tickets.board import evidence_tab, ticket_detail
from tickets.operations import home_state
from tickets.runs import claims, model_change, refusals, reports, run_detail
from tickets.runs.model_change import ChangeModel, find_obstacle
from tickets.runs.notify_run import notify_run
from tickets.shared import paging
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get_ticket
from web.site import layout
from web.stream import log_tail

blueprint = Blueprint("run_page", __name__)

View = dict[str, Any]


def find_requested_run(session: Session, ticket: Ticket) -> Run | None:
    """Return the run named in the query string, or None. Raises `NoSuchRun` for a run of another ticket."""
    number = paging.parse_number(request.args.get("run") or None)
    return run_detail.get_run(session, ticket.id, number) if number else None


def load_runs_tab(session: Session, ticket: Ticket) -> View:
    """Load the Runs tab: the list of runs, or the details of the requested one."""
    run = find_requested_run(session, ticket)
    runs = claims.list_runs(session, ticket.id)
    if run is None:
        return {"runs": [ticket_detail.build_run(row) for row in runs], "attempt": None}
    operates = auth.get_caller().right is Right.OPERATOR
    settings = auth.get_instance().settings
    return {
        "attempt": run_detail.build_details(session, run),
        "cost": run.cost_usd,
        "newest": runs[0].id == run.id,
        "log": log_tail.PaneLog.for_run(settings, run.id, ticket.identifier).path.is_file(),
        "lacks_files": home_state.lacks_files(run, settings.runs_dir, settings.machine_name),
        "stops": operates and run.state is not RunState.ENDED and run.stop_code is None,
        "model": {"may": operates and run.ended is None, "order": run.model_order, "obstacle": find_obstacle(run)},
        "stop": {"code": run.stop_code, "reason": run.stop_reason} if run.stop_code else None,
        "kept_apart": run_detail.list_late_writes(session, ticket.id, run.id) if operates else [],
        "live_query": f"?run={run.id}",
    }


def load_evidence_tab(session: Session, ticket: Ticket) -> View:
    """Load the Evidence tab: the claims and facts of one run, and the evidence of all runs by acceptance item."""
    run = find_requested_run(session, ticket)
    return {
        **evidence_tab.build_tab(session, ticket, run.id if run else None),
        "live_query": f"?run={run.id}" if run else "",
    }


@blueprint.get("/ticket/<reference>/runs/<number:run>/log")
def show_log(reference: str, run: int) -> Response:
    """Serve the last lines of a run's pane log as text."""
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        row = run_detail.get_run(session, ticket.id, run)
    log = log_tail.PaneLog.for_run(auth.get_instance().settings, row.id, ticket.identifier)
    text = log.read_end(log_tail.DEFAULT_LINES)
    if text is None:
        raise NotFound("This run has no log on this machine.", run=run)
    return Response(text, mimetype="text/plain", headers={"Cache-Control": "no-store"})


@blueprint.post("/ticket/<reference>/runs/<number:run>/model")
def change_model(reference: str, run: int) -> AnyResponse:
    """Order a live run to go on with another model."""
    return _act_on_run(
        reference,
        run,
        lambda session, row: model_change.order_model(
            session, row, ChangeModel.model_validate({"model": request.form.get("model", "").strip()}), auth.get_actor()
        ),
    )


@blueprint.post("/ticket/<reference>/runs/<number:run>/stop")
def stop(reference: str, run: int) -> AnyResponse:
    """Stop a live run and park its ticket until somebody wakes it."""
    reason = request.form.get("reason", "").strip()[:2000]
    return _act_on_run(reference, run, lambda session, row: reports.stop_run(session, row.id, auth.get_actor(), reason))


def _act_on_run(reference: str, run: int, act: Callable[[Session, Run], object]) -> AnyResponse:
    """Do something with a run of this ticket, tell the run, and return to its page."""
    try:
        with writing(auth.get_instance().engine) as session:
            act(session, run_detail.get_run(session, get_ticket(session, reference).id, run))
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    else:
        notify_run(auth.get_instance().settings, run)
    return redirect(f"/ticket/{reference}?tab=runs&run={run}", 303)


@blueprint.post("/ticket/<reference>/runs/<number:run>/allow")
def allow_refused(reference: str, run: int) -> AnyResponse:
    """Allow the commands that were refused to a run for its project, and start the ticket again."""
    try:
        with writing(auth.get_instance().engine) as session:
            ticket = get_ticket(session, reference)
            row = run_detail.get_run(session, ticket.id, run)
            refusals.allow_refused(session, row, auth.get_actor())
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    return redirect(f"/ticket/{reference}", 303)
