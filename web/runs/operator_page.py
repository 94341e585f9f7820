"""Operator evidence of a ticket: its routing, its consoles, its spool, and what was kept apart. For operators alone."""

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
from tickets.shared.lookup import get
from tickets.workflow import history
from web.operations import spool_status
from web.site import layout

blueprint = Blueprint("operator_page", __name__)


@blueprint.get("/ticket/<reference>/operator")
@auth.allow(Right.OPERATOR)
def show(reference: str) -> str:
    before = paging.number(request.args.get("before"))
    with reading(auth.instance().engine) as session:
        layout.around(session)
        ticket = get(session, reference)
        moves = history.log(session, ticket, before)
        newest = claims.latest(session, ticket.id)
        shown = {
            "ticket": {"identifier": ticket.identifier, "title": ticket.title},
            "owner": _owner(session, ticket),
            "moves": moves,
            "older": moves[-1]["seq"] if len(moves) == history.SHOWN else None,
            "run": _run(session, ticket, newest) if newest else None,
            "kept_apart": run_detail.kept_apart(session, ticket.id),
        }
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        ("Operator evidence", None),
    ]
    return layout.page("operator.html", "board", crumbs, **shown)


def _owner(session: Session, ticket: Ticket) -> dict[str, Any]:
    kinds = columns.owner_kinds(session)
    facts = {"phase": ticket.phase, "held_by": ticket.campaign_owner, "requester": ticket.requester}
    return {"name": ticket.assigned_to, "kind": kinds.get(ticket.assigned_to or "", "person"), **facts}


def _run(session: Session, ticket: Ticket, run: Run) -> dict[str, Any]:
    """The newest run: how to sit down at its terminal, what works in it, and how far its events have come."""
    settings = auth.instance().settings
    return {
        "id": run.id,
        "generation": run.generation,
        "live": run.ended is None,
        "attach": f"bin/mc attach {ticket.identifier}",
        "console": history.console_line(session, run),
        "pane": run.tmux_target,
        "folder": str(settings.run_path(run.id)),
        "spool": asdict(spool_status.state(settings, run)),
    }
