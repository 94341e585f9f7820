"""The workflow box on the page of a ticket, and its forms: choose phases, waive a phase, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import PhaseState, Run, Ticket, TicketPhase
from tickets.board import columns
from tickets.lifecycle import transitions
from tickets.lifecycle.moves import Move
from tickets.lifecycle.transitions import ActorContext
from tickets.planning import phase_editing, workflow_view
from tickets.planning.phase_editing import ArrangePhases, BeginWorkflow, DecidePhase, WaivePhase
from tickets.runs.notify_run import notify_run
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get_ticket
from tickets.team import projects
from tickets.workflow import ticket_phases
from web.site import layout, phase_forms
from web.site.errors import convert_validation_error
from web.site.phase_forms import PhaseRow

blueprint = Blueprint("workflow_page", __name__)

View = dict[str, Any]
DEFAULT_PHASES = ("Dev",)
TICKET_PATH = "/ticket/{}"


def load_box(session: Session, ticket: Ticket, actor_context: ActorContext) -> View:
    """Load the workflow box: the phases, the condition that the current one waits for, and the caller's actions."""
    actor = auth.get_actor()
    moves = {move.name for move in transitions.list_moves(transitions.build_move_context(ticket, actor_context))}
    view = workflow_view.build_workflow(session, ticket, actor_context.live, moves)
    plans = actor.is_human and ticket.closed is None
    first_rows = _build_first_rows(session, ticket) if plans and not view.phases else []
    usual = [row for row in first_rows if row.included]
    return {
        "shown": view,
        "plans": plans,
        "usual": usual,
        "start": f"Start {phase_forms.listing([row.name for row in usual])}",
        "kinds": columns.load_owner_kinds(session),
    }


def _build_first_rows(session: Session, ticket: Ticket) -> list[PhaseRow]:
    """Build the rows of a ticket without phases. Those of its project, or else the default one, are ticked."""
    template = projects.list_phases(session, ticket.project_id)
    return phase_forms.build_rows(template, included=() if template else DEFAULT_PHASES)


def add_phase_choices(session: Session, ticket: Ticket, move: Move, fields: list[View]) -> list[View]:
    """Add the options of the fields `phase` and `choice` to a move's form, or remove a field without a choice."""
    phases = ticket_phases.list_phases(session, ticket.id)
    here = ticket_phases.find_current(phases)
    fields = _add_decision(fields, here)
    available = [*ticket_phases.list_earlier(phases, here), here] if here else []
    if here is None or len(available) < 2:
        return [field for field in fields if field["name"] != "phase"]
    takes = ticket_phases.find_return_phase(phases, here, stays=move.name == "request_changes")
    holders = [(phase.name, ticket.assigned_to if phase is here else phase.agent) for phase in available]
    options = [(name, f"{name} · {holder}" if holder else name) for name, holder in holders]
    selection = {"type": "select", "required": True, "options": options, "value": takes.name}
    return [field | selection if field["name"] == "phase" else field for field in fields]


def _add_decision(fields: list[View], here: TicketPhase | None) -> list[View]:
    """Add the choices of the current phase to the field `choice`, or remove the field where nothing is undecided."""
    if here is None or not ticket_phases.is_undecided(here):
        return [field for field in fields if field["name"] != "choice"]
    options = [(choice, choice) for choice in here.choices]
    selection = {"type": "select", "required": True, "options": options, "value": here.choices[0]}
    return [field | selection if field["name"] == "choice" else field for field in fields]


# ------------------------------------------------------------------------------------------------------ choosing phases


@blueprint.get("/ticket/<reference>/workflow")
def ask_phases(reference: str) -> str:
    """Show the phase picker, for a new workflow or for the phases that have not started."""
    return _render_phases_form(reference, None, None)


def _render_phases_form(reference: str, typed: list[PhaseRow] | None, error: str | None) -> str:
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
        phases = ticket_phases.list_phases(session, ticket.id)
        choices = phase_forms.load_choices(session)
        rows = typed or _build_rows(session, ticket, phases)
    title = "Edit later phases" if phases else "Start a workflow"
    return _render_form(
        "ticket/_phases_form", title, ticket, rows=rows, offered=choices, begins=not phases, error=error
    )


def _build_rows(session: Session, ticket: Ticket, phases: list[TicketPhase]) -> list[PhaseRow]:
    if not phases:
        return _build_first_rows(session, ticket)
    here = ticket_phases.find_current(phases)
    over = [phase.name for phase in phases if phase is here or phase.state is PhaseState.PASSED]
    return phase_forms.build_rows([phase for phase in phases if phase.state is PhaseState.PENDING], without=over)


@blueprint.post("/ticket/<reference>/workflow")
def plan_phases(reference: str) -> Response | tuple[str, int]:
    """Begin a workflow, or replace its phases that have not started."""
    inputs = {"phases": phase_forms.parse_phases(request.form), "version": request.form.get("version", None, int)}

    def plan(session: Session, ticket: Ticket) -> None:
        if ticket_phases.list_phases(session, ticket.id):
            phase_editing.arrange_phases(session, ticket, _validate(ArrangePhases, inputs), auth.get_actor())
        else:
            phase_editing.begin_workflow(session, ticket, _validate(BeginWorkflow, inputs), auth.get_actor())

    return _apply(
        reference, plan, lambda words: _render_phases_form(reference, phase_forms.parse_rows(request.form), words)
    )


# ------------------------------------------------------------------------------------------------- waiving and deciding


@blueprint.get("/ticket/<reference>/workflow/waive")
def ask_waiver(reference: str) -> str:
    phase = request.args.get("phase", "")
    with reading(auth.get_instance().engine) as session:
        if phase not in {row.name for row in ticket_phases.list_phases(session, get_ticket(session, reference).id)}:
            raise NotFound("Unknown phase.", phase=phase[:40])
    return _render_waive_form(reference, phase, "", None)


def _render_waive_form(reference: str, phase: str, reason: str, error: str | None) -> str:
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
    return _render_form("ticket/_waive_form", f"Waive {phase[:40]}", ticket, phase=phase, reason=reason, error=error)


@blueprint.post("/ticket/<reference>/workflow/waive")
def waive(reference: str) -> Response | tuple[str, int]:
    """Waive a phase."""
    inputs = _read_input("phase", "reason")
    return _apply(
        reference,
        lambda session, ticket: phase_editing.waive_phase(
            session, ticket, _validate(WaivePhase, inputs), auth.get_actor()
        ),
        lambda words: _render_waive_form(reference, str(inputs["phase"]), str(inputs["reason"]), words),
    )


@blueprint.post("/ticket/<reference>/workflow/decide")
def decide(reference: str) -> Response | tuple[str, int]:
    """Make the decision of the current phase before the phase reaches its gate."""
    live_runs: list[Run | None] = []
    inputs = _read_input("choice")

    def make(session: Session, ticket: Ticket) -> None:
        live_runs.append(phase_editing.decide_phase(session, ticket, _validate(DecidePhase, inputs), auth.get_actor()))

    answer = _apply(reference, make, None)
    for run in live_runs:
        notify_run(auth.get_instance().settings, run.id if run else None)
    return answer


def _read_input(*names: str) -> dict[str, Any]:
    return {name: request.form.get(name, "") for name in names} | {"version": request.form.get("version", None, int)}


def _validate(kind: type[Any], inputs: dict[str, Any]) -> Any:
    """Validate the input of a form. Raises `Invalid` with a message for each field."""
    try:
        return kind.model_validate(inputs)
    except ValidationError as error:
        raise convert_validation_error(error) from None


def _apply(
    reference: str, act: Callable[[Session, Ticket], object], again: Callable[[str], str] | None
) -> Response | tuple[str, int]:
    """Apply a change in one transaction and redirect to the ticket, or show a refused form again with its values.

    For a script, the error is raised.
    """
    try:
        with writing(auth.get_instance().engine) as session:
            act(session, get_ticket(session, reference))
    except DomainError as refusal:
        if layout.is_script_request():
            raise
        if again is not None:
            return again(refusal.message), refusal.status
        layout.flash_note(refusal.message, "bad")
    return redirect(TICKET_PATH.format(reference), 303)


def _render_form(name: str, title: str, ticket: Ticket, **more: Any) -> str:
    """Render a form, as a fragment for the page's dialog, or as a page of its own."""
    context = {"ticket": {"identifier": ticket.identifier, "title": ticket.title, "version": ticket.version}, **more}
    if request.headers.get("HX-Request"):
        return layout.render_part(name, form_title=title, **context)
    crumbs = [("Board", "/board"), (ticket.identifier, TICKET_PATH.format(ticket.identifier)), (title, None)]
    return layout.render_page("ticket/workflow_form.html", "board", crumbs, form=name, form_title=title, **context)
