"""Pages of a ticket's evidence: waive what the project requires, sign off, and the receipt."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from werkzeug.wrappers import Response

import auth
from database import reading
from tickets.board import receipt
from tickets.board.receipt import TicketReceipt
from tickets.shared.errors import DomainError, NotFound
from tickets.shared.lookup import get_ticket
from tickets.team.evidence_policy import KIND_LABELS
from tickets.workflow import evidence, evidence_gates, live_routes
from tickets.workflow.evidence_gates import EvidenceGate, GateState, SignOff, WaiveGate
from tickets.workflow.live_routes import CheckRoute
from web.site import layout, markdown

from . import ticket_forms
from .ticket_forms import Answer

blueprint = Blueprint("evidence_page", __name__)

WAIVER_NOTE = (
    "The ticket goes on without this evidence. The reason stays on the ticket; without one it is required again."
)
SIGN_OFF_NOTE = (
    "You have looked at the work and stand for it as it is now. Later changes of the files need a new sign-off."
)


@blueprint.get("/ticket/<reference>/evidence/waive")
def ask_waiver(reference: str) -> str:
    with reading(auth.get_instance().engine) as session:
        gates = evidence.list_gates(session, get_ticket(session, reference))
    gate = next((gate for gate in gates if gate.kind.value == request.args.get("kind")), None)
    if gate is None:
        raise NotFound("The project does not require this evidence.")
    return _render_waiver(reference, gate.kind.value, _get_reason(gate))


def _get_reason(gate: EvidenceGate) -> str:
    return gate.detail if gate.state is GateState.WAIVED else ""


@blueprint.post("/ticket/<reference>/evidence/waive")
def waive(reference: str) -> Answer:
    """Waive required evidence as not applicable, or require it again."""
    fields = {name: request.form.get(name, "") for name in ("kind", "reason")}
    return ticket_forms.apply_change(
        reference,
        lambda session, ticket: evidence_gates.waive_gate(
            session, ticket, WaiveGate.model_validate(fields), auth.get_actor()
        ),
        lambda refusal: (_render_waiver(reference, fields["kind"], fields["reason"], refusal), refusal.status),
        "evidence",
    )


@blueprint.get("/ticket/<reference>/evidence/sign-off")
def ask_sign_off(reference: str) -> str:
    return _render_sign_off(reference, "")


@blueprint.post("/ticket/<reference>/evidence/sign-off")
def sign_off(reference: str) -> Answer:
    """Sign off the work as it is now."""
    note = request.form.get("note", "")
    return ticket_forms.apply_change(
        reference,
        lambda session, ticket: evidence_gates.sign_off(
            session, ticket, SignOff.model_validate({"note": note}), auth.get_actor()
        ),
        lambda refusal: (_render_sign_off(reference, note, refusal), refusal.status),
        "evidence",
    )


def _render_waiver(reference: str, kind: str, reason: str, refusal: DomainError | None = None) -> str:
    label = {kind.value: label for kind, label in KIND_LABELS.items()}.get(kind, "evidence")
    text = {"text_name": "reason", "label": "Why it does not apply", "value": reason}
    title = f"Waive {label.lower()}"
    return _render_form(reference, title, WAIVER_NOTE, refusal, fields={"kind": kind}, button="Save", **text)


def _render_sign_off(reference: str, note: str, refusal: DomainError | None = None) -> str:
    text = {"text_name": "note", "label": "Note", "value": note}
    return _render_form(reference, "Sign off", SIGN_OFF_NOTE, refusal, fields={}, button="Sign off", **text)


def _render_form(reference: str, title: str, note: str, refusal: DomainError | None, **context: Any) -> str:
    with reading(auth.get_instance().engine) as session:
        ticket = get_ticket(session, reference)
    context |= {"heading": title if ticket_forms.is_for_dialog() else "", "note": note, "action": request.path}
    error = refusal.message if refusal else None
    return ticket_forms.render_form(ticket, "ticket/_evidence_form", title, error=error, **context)


@blueprint.post("/ticket/<reference>/evidence/route")
def check_route(reference: str) -> Answer:
    """Request that an address of the ticket's running result is fetched."""
    url = request.form.get("url", "").strip()
    return ticket_forms.apply_change(
        reference,
        lambda session, ticket: live_routes.request_check(
            session, ticket, CheckRoute.model_validate({"url": url}), auth.get_actor()
        ),
        lambda refusal: ticket_forms.render_refused_form(reference, "ticket/_item_form", "Live route", refusal),
        "evidence",
    )


# ------------------------------------------------------------------------------------------------------------- receipt


@blueprint.get("/ticket/<reference>/receipt")
def show_receipt(reference: str) -> str:
    ticket_receipt = _load_receipt(reference)
    ticket = ticket_receipt.ticket
    crumbs = [("Board", "/board"), (ticket, f"/ticket/{ticket}"), ("Receipt", None)]
    html = markdown.render_html(receipt.format_receipt(ticket_receipt))
    return layout.render_page("ticket/receipt.html", "board", crumbs, title="Receipt", ticket=ticket, receipt=html)


@blueprint.get("/ticket/<reference>/receipt.json")
def download_receipt(reference: str) -> Response:
    ticket_receipt = _load_receipt(reference)
    headers = {"Content-Disposition": f'attachment; filename="{ticket_receipt.ticket}.json"'}
    return Response(ticket_receipt.model_dump_json(indent=2), mimetype="application/json", headers=headers)


def _load_receipt(reference: str) -> TicketReceipt:
    with reading(auth.get_instance().engine) as session:
        return receipt.build_receipt(session, get_ticket(session, reference))
