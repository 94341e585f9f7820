"""The workflow box of a ticket's page, and the forms that it opens: choose phases, waive one, decide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, redirect, request
from pydantic import ValidationError
from werkzeug.wrappers import Response

import auth
from database import Session, reading, writing
from models import PhaseState, Run, Ticket
from tickets.board import columns
from tickets.lifecycle import transitions
from tickets.lifecycle.moves import Move
from tickets.lifecycle.transitions import ActorContext
from tickets.planning import phase_editing, workflow_view
from tickets.planning.phase_editing import Arrange, Begin, Decide, Waive
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get
from tickets.workflow import ticket_phases
from web.site import layout, phase_forms
from web.site.errors import invalid
from web.site.notify_run import nudge
from web.site.phase_forms import Row

blueprint = Blueprint("workflow_page", __name__)

View = dict[str, Any]
DEFAULT = ("Dev",)
HOME = "/ticket/{}"


def box(session: Session, ticket: Ticket, standing: ActorContext) -> View:
    """What the box shows: the phases, what the current one waits for, and what this person may do about them."""
    actor = auth.actor()
    moves = {law.name for law in transitions.moves_from(transitions.build_move_context(ticket, standing))}
    shown = workflow_view.of(session, ticket, standing.live, moves)
    plans = actor.is_human and ticket.closed is None
    return {
        "shown": shown,
        "plans": plans,
        "usual": DEFAULT if plans and not shown.phases else (),
        "start": f"Start {phase_forms.listing(DEFAULT)}",
        "kinds": columns.owner_kinds(session),
    }


def with_phases(session: Session, ticket: Ticket, law: Move, fields: list[View]) -> list[View]:
    """The fields of a move's form; who takes changes up is asked where more than one phase could."""
    phases = ticket_phases.of(session, ticket.id)
    here = ticket_phases.current(phases)
    offered = [*ticket_phases.earlier(phases, here), here] if here else []
    if here is None or len(offered) < 2:
        return [field for field in fields if field["name"] != "phase"]
    takes = ticket_phases.takes_up(phases, here, stays=law.name == "request_changes")
    held = [(phase.name, ticket.assigned_to if phase is here else phase.agent) for phase in offered]
    options = [(name, f"{name} · {holder}" if holder else name) for name, holder in held]
    asked = {"type": "select", "required": True, "options": options, "value": takes.name}
    return [field | asked if field["name"] == "phase" else field for field in fields]


# ------------------------------------------------------------------------------------------------------ choosing phases


@blueprint.get("/ticket/<reference>/workflow")
def ask_phases(reference: str) -> str:
    """The picker: for the phases of a new workflow, or for those of one that have not started."""
    return _phases_form(reference, None, None)


def _phases_form(reference: str, typed: list[Row] | None, error: str | None) -> str:
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
        phases = ticket_phases.of(session, ticket.id)
        offered = phase_forms.choices(session)
    rows = typed or _rows(phases)
    title = "Change what follows" if phases else "Start a workflow"
    return _form("_phases_form", title, ticket, rows=rows, offered=offered, begins=not phases, error=error)


def _rows(phases: list[Any]) -> list[Row]:
    if not phases:
        return phase_forms.rows(included=DEFAULT)
    here = ticket_phases.current(phases)
    over = [phase.name for phase in phases if phase is here or phase.state is PhaseState.PASSED]
    return phase_forms.rows([phase for phase in phases if phase.state is PhaseState.PENDING], without=over)


@blueprint.post("/ticket/<reference>/workflow")
def plan_phases(reference: str) -> Response | tuple[str, int]:
    """Begin a workflow, or replace what of it has not started."""
    sent = {"phases": phase_forms.read(request.form), "version": request.form.get("version", None, int)}

    def plan(session: Session, ticket: Ticket) -> None:
        if ticket_phases.of(session, ticket.id):
            phase_editing.arrange(session, ticket, _valid(Arrange, sent), auth.actor())
        else:
            phase_editing.begin(session, ticket, _valid(Begin, sent), auth.actor())

    return _do(reference, plan, lambda words: _phases_form(reference, phase_forms.typed(request.form), words))


# ------------------------------------------------------------------------------------------------- waiving and deciding


@blueprint.get("/ticket/<reference>/workflow/waive")
def ask_waiver(reference: str) -> str:
    phase = request.args.get("phase", "")
    with reading(auth.instance().engine) as session:
        if phase not in {each.name for each in ticket_phases.of(session, get(session, reference).id)}:
            raise NotFound("The ticket has no phase of that name.", phase=phase[:40])
    return _waive_form(reference, phase, "", None)


def _waive_form(reference: str, phase: str, reason: str, error: str | None) -> str:
    with reading(auth.instance().engine) as session:
        ticket = get(session, reference)
    return _form("_waive_form", f"Waive {phase[:40]}", ticket, phase=phase, reason=reason, error=error)


@blueprint.post("/ticket/<reference>/workflow/waive")
def waive(reference: str) -> Response | tuple[str, int]:
    """Let a phase not apply."""
    sent = _sent("phase", "reason")
    return _do(
        reference,
        lambda session, ticket: phase_editing.waive(session, ticket, _valid(Waive, sent), auth.actor()),
        lambda words: _waive_form(reference, str(sent["phase"]), str(sent["reason"]), words),
    )


@blueprint.post("/ticket/<reference>/workflow/decide")
def decide(reference: str) -> Response | tuple[str, int]:
    """Make the decision of the current phase before its gate is reached."""
    told: list[Run | None] = []
    sent = _sent("choice")

    def make(session: Session, ticket: Ticket) -> None:
        told.append(phase_editing.decide(session, ticket, _valid(Decide, sent), auth.actor()))

    answer = _do(reference, make, None)
    for run in told:
        if run is not None:
            nudge(auth.instance().settings, run.id)
    return answer


def _sent(*names: str) -> dict[str, Any]:
    return {name: request.form.get(name, "") for name in names} | {"version": request.form.get("version", None, int)}


def _valid(kind: type[Any], sent: dict[str, Any]) -> Any:
    """The body that was sent; raises `Invalid` with the words of each field."""
    try:
        return kind.model_validate(sent)
    except ValidationError as error:
        raise invalid(error) from None


def _do(
    reference: str, act: Callable[[Session, Ticket], object], again: Callable[[str], str] | None
) -> Response | tuple[str, int]:
    """Do it in one transaction and go back to the ticket; a plain form that was refused is shown again as it was sent."""
    try:
        with writing(auth.instance().engine) as session:
            act(session, get(session, reference))
    except DomainError as refused:
        if layout.enhanced():
            raise
        if again is not None:
            return again(refused.message), refused.status
        layout.note(refused.message, "bad")
    return redirect(HOME.format(reference), 303)


def _form(name: str, title: str, ticket: Ticket, **shown: Any) -> str:
    """A form as a fragment for the page's dialog, or on a page of its own."""
    context = {"ticket": {"identifier": ticket.identifier, "title": ticket.title, "version": ticket.version}, **shown}
    if request.headers.get("HX-Request"):
        return layout.part(name, form_title=title, **context)
    crumbs = [("Board", "/board"), (ticket.identifier, HOME.format(ticket.identifier)), (title, None)]
    return layout.page("form.html", "board", crumbs, form=name, form_title=title, **context)
