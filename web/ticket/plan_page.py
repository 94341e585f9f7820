"""The plan and the checklist on a ticket's page, and the forms with which a person decides a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

import auth
from database import Session, writing
from models import PlanState, Run, Ticket, TicketPlan
from tickets.planning import plans
from tickets.planning.plans import ApprovePlan, EditPlan, ReturnPlan
from tickets.runs import run_detail
from tickets.runs.notify_run import notify_run
from tickets.shared import rights
from tickets.shared.errors import DomainError, Invalid
from tickets.shared.lookup import get_ticket
from tickets.shared.rights import Act
from web.site import layout, markdown

blueprint = Blueprint("plan_page", __name__)

View = dict[str, Any]
MAX_VERSIONS = 10
"""The versions of a plan on a page. Only the newest is rendered, since an agent may write many long ones."""


def load_plan(session: Session, ticket: Ticket, newest: Run | None) -> View:
    """Load the versions of the plan, newest first, and the checklist of the newest run."""
    rows = plans.list_plans(session, ticket.id, MAX_VERSIONS)
    versions = [_build_version(row) | {"html": markdown.render_html(row.body)} for row in rows[:1]]
    versions += [_build_version(row) for row in rows[1:]]
    is_open = bool(versions) and versions[0]["state"] == PlanState.PROPOSED.value and not ticket.closed
    decides = is_open and rights.may(auth.get_actor(), Act.DECIDE_PLAN)
    return {
        "plan": {"versions": versions, "decides": decides},
        "checklist": newest and run_detail.build_checklist(newest),
    }


def _build_version(row: TicketPlan) -> View:
    names = ("version", "author", "body", "comment", "decided_by", "decided", "created")
    fields = {name: getattr(row, name) for name in names}
    return fields | {"state": row.state.value}


@blueprint.post("/ticket/<reference>/plan")
def decide(reference: str) -> Response:
    """Approve the plan, send it back, or store it as edited."""
    decision = _DECISIONS.get(request.form.get("act", ""))
    if decision is None:
        raise Invalid("Approve the plan, send it back or save it.", field="act")
    live = None
    try:
        with writing(auth.get_instance().engine) as session:
            live = decision(session, get_ticket(session, reference))
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        layout.flash_note(refusal.message, "bad")
    notify_run(auth.get_instance().settings, live)
    return redirect(f"/ticket/{reference}", 303)


def _approve(session: Session, ticket: Ticket) -> int | None:
    body = request.form.get("body")
    values = {"version": request.form.get("version"), "body": None if body is None else body.replace("\r\n", "\n")}
    return plans.approve_plan(session, ticket, ApprovePlan.model_validate(values), auth.get_actor())


def _return(session: Session, ticket: Ticket) -> int | None:
    values = {"version": request.form.get("version"), "comment": request.form.get("comment", "")}
    return plans.return_plan(session, ticket, ReturnPlan.model_validate(values), auth.get_actor())


def _save(session: Session, ticket: Ticket) -> None:
    body = request.form.get("body", "").replace("\r\n", "\n")
    edit = EditPlan.model_validate({"version": request.form.get("version"), "body": body})
    plans.edit_plan(session, ticket, edit, auth.get_actor())


_DECISIONS: dict[str, Callable[[Session, Ticket], int | None]] = {
    "approve": _approve,
    "return": _return,
    "save": _save,
}
