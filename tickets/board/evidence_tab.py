"""The Evidence tab: the claims and facts of one run, and the claims for each acceptance item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy.orm import Session

from models import Evidence, EvidenceSource, Run, Ticket
from tickets.runs import claims
from tickets.team.evidence_policy import STAGE_LABELS
from tickets.workflow import evidence, evidence_gates, item_evidence, live_routes
from tickets.workflow.item_evidence import ItemEvidence

from . import ticket_detail

View = dict[str, Any]


def build_tab(session: Session, ticket: Ticket, run_id: int | None) -> View:
    """Build the tab for this run, or for the last one with evidence. `proofs` are the runs to choose from."""
    recorded_rows = evidence.list_evidence(session, ticket.id)
    rows = [row for row in recorded_rows if row.kind not in evidence_gates.DECISIONS]
    run_ids = {row.run_id for row in rows}
    runs = claims.list_runs(session, ticket.id)
    last = max((run or 0 for run in run_ids), default=0)
    chosen_id = run_id if run_id is not None else last
    files = ticket_detail.load_evidence_files(session, ticket.id, rows)
    return {
        "evidence": ticket_detail.build_proof([row for row in rows if (row.run_id or 0) == chosen_id], files),
        "proofs": [_build_choice(run) for run in runs if run.id in run_ids or run.id == chosen_id],
        "by_people": ticket_detail.build_proof([row for row in rows if row.run_id is None], files)
        if chosen_id and None in run_ids
        else None,
        "chosen": chosen_id,
        "evidence_gates": evidence.build_gates(session, ticket, recorded_rows),
        "routes": live_routes.may_request(session, ticket),
        "stage_labels": STAGE_LABELS,
        "items": _build_items(
            ticket,
            rows,
            {run.id: run for run in runs},
            files,
            item_evidence.build_items(session, ticket, recorded_rows),
        ),
    }


def _build_choice(run: Run) -> View:
    result = run.outcome.value if run.outcome else run.state.value
    return {"id": run.id, "generation": run.generation, "agent": run.agent, "said": result, "phase": run.phase}


def _build_items(
    ticket: Ticket,
    rows: list[Evidence],
    runs: dict[int, Run],
    files: dict[int, View],
    states: Sequence[ItemEvidence],
) -> list[View]:
    """Build the acceptance items with their states and the claims that name them, newest first."""
    claims_by_item: dict[int, list[View]] = {}
    for row in reversed(rows):
        if row.item is not None and row.source is EvidenceSource.CLAIM:
            run = runs.get(row.run_id or 0)
            claim = {"text": row.summary, "by": row.author, "run": run, "file": ticket_detail.find_file(row, files)}
            claims_by_item.setdefault(row.item, []).append(claim)
    return [
        item | {"claims": claims_by_item.get(at, []), "evidence": states[at]}
        for at, item in enumerate(ticket.acceptance)
    ]
