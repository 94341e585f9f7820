"""Operator evidence of a ticket: its routing, its consoles, its spool, and what was kept apart. For operators alone."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint, request

import auth
from auth import Right
from models import Run, Session, Ticket, reading
from tickets.board import board
from tickets.runs import attempts, runs
from tickets.shared import paging
from tickets.shared.lookup import get
from tickets.workflow import routing
from web.operations import spool
from web.site import frame

blueprint = Blueprint("operator_page", __name__)


@blueprint.get("/ticket/<reference>/operator")
@auth.allow(Right.OPERATOR)
def show(reference: str) -> str:
    before = paging.number(request.args.get("before"))
    with reading(auth.instance().engine) as session:
        frame.around(session)
        ticket = get(session, reference)
        moves = routing.log(session, ticket, before)
        newest = runs.latest(session, ticket.id)
        shown = {
            "ticket": {"identifier": ticket.identifier, "title": ticket.title},
            "owner": _owner(session, ticket),
            "moves": moves,
            "older": moves[-1]["seq"] if len(moves) == routing.SHOWN else None,
            "run": _run(session, ticket, newest) if newest else None,
            "kept_apart": attempts.kept_apart(session, ticket.id),
        }
    crumbs: list[tuple[str, str | None]] = [
        ("Board", "/board"),
        (ticket.identifier, f"/ticket/{ticket.identifier}"),
        ("Operator evidence", None),
    ]
    return frame.page("operator.html", "board", crumbs, **shown)


def _owner(session: Session, ticket: Ticket) -> dict[str, Any]:
    kinds = board.owner_kinds(session)
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
        "console": routing.console_line(session, run),
        "pane": run.tmux_target,
        "folder": str(settings.run_path(run.id)),
        "spool": asdict(spool.state(settings, run)),
    }
