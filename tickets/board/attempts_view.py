"""The attempts at one ticket side by side: state, check, size of the change, cost and time of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from database import in_ids
from models import TERMINAL, Evidence, EvidenceSource, EvidenceStatus, Run, Ticket, now
from tickets.shared import rights
from tickets.shared.actors import Actor
from tickets.shared.rights import Act
from tickets.workflow import branch_states
from tickets.workflow.attempts import AttemptGroup
from tickets.workflow.branch_states import MergeNote


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt in the comparison. `check` is None while Mission Control has run no check, `files` None without a diff."""

    ticket: str
    agent: str | None
    profile: str | None
    status: str
    is_kept: bool
    may_keep: bool
    check: bool | None = None
    check_text: str = ""
    files: int | None = None
    insertions: int = 0
    deletions: int = 0
    cost_usd: float | None = None
    seconds: float | None = None
    merge: MergeNote | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """The attempts at `parent`. `own` is the attempt whose page shows them, None on the page of the parent."""

    parent: str
    title: str
    own: AttemptView | None
    attempts: tuple[AttemptView, ...]


RUNS = select(Run).where(in_ids(Run.ticket_id, "tickets")).order_by(Run.id)
OBSERVED = (
    select(Evidence)
    .where(
        in_ids(Evidence.ticket_id, "tickets"),
        Evidence.source == EvidenceSource.FACT,
        Evidence.kind.in_(("check", "diff")),
    )
    .order_by(Evidence.id)
)


def load_comparison(session: Session, ticket: Ticket, group: AttemptGroup, actor: Actor) -> Comparison:
    """Load the comparison of the attempts to which a ticket belongs."""
    ids = [attempt.id for attempt in group.attempts]
    runs, facts = list(session.scalars(RUNS, {"tickets": ids})), list(session.scalars(OBSERVED, {"tickets": ids}))
    notes = branch_states.load_notes(session, group.attempts)
    keepable_ids = _find_keepable(group, actor)
    views = tuple(
        AttemptView(
            ticket=attempt.identifier,
            agent=attempt.assigned_to,
            status=attempt.status.value,
            is_kept=attempt.id == group.kept_id,
            may_keep=attempt.id in keepable_ids,
            merge=notes.get(attempt.id),
            **_measure_runs([run for run in runs if run.ticket_id == attempt.id]),
            **_read_facts([fact for fact in facts if fact.ticket_id == attempt.id]),
        )
        for attempt in group.attempts
    )
    own = next((view for view in views if view.ticket == ticket.identifier), None)
    return Comparison(group.parent.identifier, group.parent.title, own, views)


def _find_keepable(group: AttemptGroup, actor: Actor) -> set[int]:
    """Find the attempts that this actor may keep: those that are open and not kept already."""
    if not rights.may(actor, Act.CHOOSE_ATTEMPT):
        return set()
    return {ticket.id for ticket in group.attempts if ticket.status not in TERMINAL and ticket.id != group.kept_id}


def _measure_runs(runs: Sequence[Run]) -> dict[str, Any]:
    """Sum cost and working time of an attempt's runs. A live run counts until now."""
    if not runs:
        return {"profile": None}
    costs = [run.cost_usd for run in runs if run.cost_usd is not None]
    return {
        "profile": runs[-1].profile,
        "cost_usd": sum(costs) if costs else None,
        "seconds": sum(_measure_run(run, now()) for run in runs),
    }


def _measure_run(run: Run, moment: datetime) -> float:
    return ((run.ended or moment) - run.started).total_seconds()


def _read_facts(facts: Sequence[Evidence]) -> dict[str, Any]:
    """Read the newest check and diff that Mission Control has observed."""
    newest = {fact.kind: fact for fact in facts}
    values: dict[str, Any] = {}
    if check := newest.get("check"):
        values |= {"check": check.status is EvidenceStatus.OK, "check_text": check.summary}
    if (diff := newest.get("diff")) and diff.data:
        sizes = {"files": "files_changed", "insertions": "insertions", "deletions": "deletions"}
        values |= {name: diff.data.get(key) or 0 for name, key in sizes.items()}
    return values
