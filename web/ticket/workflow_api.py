"""API of a ticket's phases: read them, and change them on behalf of a person."""

from __future__ import annotations

from typing_extensions import TypedDict

from models import Ticket
from tickets.lifecycle.schemas import PhaseJson
from tickets.planning import phase_editing, workflow_view
from tickets.planning.phase_editing import ArrangePhases, BeginWorkflow, DecidePhase, WaivePhase
from tickets.shared import lookup
from web.api.resource import ANYBODY, OPERATORS, RUNS, Call, Resource

blueprint = Resource("workflow", __name__)


class WorkflowJson(TypedDict):
    phases: list[PhaseJson]
    phase: str | None
    waits_for: str | None
    version: int


@blueprint.reads("/tickets/<ticket>/workflow", rights=ANYBODY | RUNS)
def read_workflow(call: Call, ticket: Ticket) -> WorkflowJson:
    """Read a ticket's phases, and the condition that the current one waits for."""
    return _build_workflow_json(call, ticket)


@blueprint.writes("POST", "/tickets/<ticket>/workflow", rights=OPERATORS, status=201)
def begin_workflow(call: Call, ticket: Ticket, body: BeginWorkflow) -> WorkflowJson:
    """Add phases to a ticket without any, and start the first."""
    return _build_workflow_json(call, phase_editing.begin_workflow(call.session, ticket, body, call.actor))


@blueprint.writes("PUT", "/tickets/<ticket>/workflow", rights=OPERATORS)
def arrange_workflow(call: Call, ticket: Ticket, body: ArrangePhases) -> WorkflowJson:
    """Replace the phases that have not started."""
    return _build_workflow_json(call, phase_editing.arrange_phases(call.session, ticket, body, call.actor))


@blueprint.writes("POST", "/tickets/<ticket>/workflow/waive", rights=OPERATORS)
def waive_phase(call: Call, ticket: Ticket, body: WaivePhase) -> WorkflowJson:
    """Waive a phase, with the reason."""
    return _build_workflow_json(call, phase_editing.waive_phase(call.session, ticket, body, call.actor))


@blueprint.writes("POST", "/tickets/<ticket>/workflow/decide", rights=OPERATORS)
def decide_phase(call: Call, ticket: Ticket, body: DecidePhase) -> WorkflowJson:
    """Make the decision that ends the current phase. A live run is notified at once."""
    live = phase_editing.decide_phase(call.session, ticket, body, call.actor)
    call.notify_run(live.id if live else None)
    return _build_workflow_json(call, lookup.get_ticket(call.session, ticket.id))


def _build_workflow_json(call: Call, ticket: Ticket) -> WorkflowJson:
    workflow = workflow_view.build_workflow(call.session, ticket, lookup.find_live_run(call.session, ticket.id), ())
    return {
        "phases": [PhaseJson.read(view) for view in workflow.phases],
        "phase": workflow.current.name if workflow.current else None,
        "waits_for": workflow.waits_for,
        "version": ticket.version,
    }
