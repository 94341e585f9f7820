"""API of a ticket's plan: read its versions, edit, approve and send it back on behalf of a person."""

from __future__ import annotations

from models import Ticket
from tickets.lifecycle.schemas import PlanJson
from tickets.planning import plans
from tickets.planning.plans import ApprovePlan, EditPlan, ReturnPlan
from web.api.page import Page
from web.api.resource import ANYBODY, OPERATORS, RUNS, Call, Resource

blueprint = Resource("plan", __name__)


@blueprint.reads("/tickets/<ticket>/plan", rights=ANYBODY | RUNS)
def list_plans(call: Call, ticket: Ticket) -> Page[PlanJson]:
    """List the versions of a ticket's plan, the newest first."""
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/plan", rights=OPERATORS)
def edit_plan(call: Call, ticket: Ticket, body: EditPlan) -> Page[PlanJson]:
    """Store an edited plan as its next version, which still waits for approval."""
    plans.edit_plan(call.session, ticket, body, call.actor)
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/plan/approve", rights=OPERATORS)
def approve_plan(call: Call, ticket: Ticket, body: ApprovePlan) -> Page[PlanJson]:
    """Approve a plan, edited or as it stands. Its agent carries it out in the same conversation."""
    call.notify_run(plans.approve_plan(call.session, ticket, body, call.actor))
    return _build_page(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/plan/return", rights=OPERATORS)
def return_plan(call: Call, ticket: Ticket, body: ReturnPlan) -> Page[PlanJson]:
    """Send a plan back to its agent, with what must change."""
    call.notify_run(plans.return_plan(call.session, ticket, body, call.actor))
    return _build_page(call, ticket)


def _build_page(call: Call, ticket: Ticket) -> Page[PlanJson]:
    return {"items": [PlanJson.read(row) for row in plans.list_plans(call.session, ticket.id)], "next": None}
