"""The Evidence tab: one run's claims beside facts, and for each acceptance item what is said to meet it."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import Evidence, EvidenceSource, Run, Ticket
from tickets.runs import claims
from tickets.workflow import evidence

from . import ticket_detail

View = dict[str, Any]


def tab(session: Session, ticket: Ticket, run_id: int | None) -> View:
    """What the tab shows of this run, or of the last that left any evidence. `proofs` are those to choose from."""
    rows = evidence.of(session, ticket.id)
    left = {row.run_id for row in rows}
    known = claims.list_runs(session, ticket.id)
    last = max((run or 0 for run in left), default=0)
    chosen = run_id if run_id is not None else last
    files = ticket_detail.files_named(session, ticket.id, rows)
    return {
        "evidence": ticket_detail.proof_of([row for row in rows if (row.run_id or 0) == chosen], files),
        "proofs": [_choice(run) for run in known if run.id in left or run.id == chosen],
        "by_people": ticket_detail.proof_of([row for row in rows if row.run_id is None], files)
        if chosen and None in left
        else None,
        "chosen": chosen,
        "items": _items(ticket, rows, {run.id: run for run in known}, files),
    }


def _choice(run: Run) -> View:
    said = run.outcome.value if run.outcome else run.state.value
    return {"id": run.id, "generation": run.generation, "agent": run.agent, "said": said, "phase": run.phase}


def _items(ticket: Ticket, rows: list[Evidence], known: dict[int, Run], files: dict[int, View]) -> list[View]:
    """Each acceptance item with the claims that name it, newest first."""
    named: dict[int, list[View]] = {}
    for row in reversed(rows):
        if row.item is not None and row.source is EvidenceSource.CLAIM:
            run = known.get(row.run_id or 0)
            shown = {"text": row.summary, "by": row.author, "run": run, "file": ticket_detail.file_of(row, files)}
            named.setdefault(row.item, []).append(shown)
    return [item | {"claims": named.get(at, [])} for at, item in enumerate(ticket.acceptance)]
