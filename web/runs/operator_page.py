"""The operator page of a ticket: its routing, console, spool and quarantined writes, for operators only."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, request

import auth
from auth import Right
from database import Session, reading
from models import Run, Ticket
from tickets.board import columns
from tickets.runs import claims, run_detail
from tickets.shared import paging
from tickets.shared.lookup import get_ticket
from tickets.workflow import history
from web.operations import spool_status
from web.site import layout

blueprint = Blueprint("operator_page", __name__)


@blueprint.get("/ticket/<reference>/operator")
@auth.allow(Right.OPERATOR)
def show(reference: str) -> str:
    before = paging.parse_number(request.args.get("before"))
    with reading(auth.get_instance().engine) as session:
        layout.load_layout(session)
        ticket = get_ticket(session, reference)
        moves = history.list_history(session, ticket, before)
        newest = claims.find_latest(session, ticket.id)
        context = {
            "ticket": {"identifier": ticket.identifier, "title": ticket.title},
            "owner": _build_owner(session, ticket),
            "moves": moves,
            "older": moves[-1]["seq"] if len(moves) == history.PAGE_SIZE else None,
            "run": _build_run(session, ticket, newest) if newest else None,
            "kept_apart": run_detail.list_late_writes(session, ticket.id),
        }
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        ("Operator evidence", None),
    ]
    return layout.render_page("runs/operator_page.html", "board", crumbs, **context)


def _build_owner(session: Session, ticket: Ticket) -> dict[str, Any]:
    kinds = columns.load_owner_kinds(session)
    facts = {"phase": ticket.phase, "held_by": ticket.campaign_owner, "requester": ticket.requester}
    return {"name": ticket.assigned_to, "kind": kinds.get(ticket.assigned_to or "", "person"), **facts}


def _build_run(session: Session, ticket: Ticket, run: Run) -> dict[str, Any]:
    """Build the view of a run: the command that attaches to its terminal, its pane and folder, and its spool."""
    settings = auth.get_instance().settings
    return {
        "id": run.id,
        "generation": run.generation,
        "live": run.ended is None,
        "attach": f"bin/mc attach {ticket.identifier}",
        "console": history.format_console_line(session, run),
        "pane": run.tmux_target,
        "folder": str(settings.run_path(run.id)),
        "spool": asdict(spool_status.read_state(settings, run)),
    }
