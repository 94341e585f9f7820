"""The job `inbox-drain`: the orchestrator's ticket is opened when items wait in the inbox, and dispatched like any other.

1. Read whether items wait, and what keeps the orchestrator from them. Most passes end here.
2. Decide again in the transaction that opens the ticket, so that it is opened once.
3. Open an incident when the orchestrator does not get on with the inbox, and close it when nothing waits.
"""

from __future__ import annotations

from typing import Any

from database import reading, writing
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from models import TaskOutcome
from tickets.loops import inbox_drain
from tickets.loops.inbox_drain import DrainDecision
from tickets.schedule import tasks


def make_pass(context: JobContext) -> JobResult:
    """Open the inbox's ticket if items wait and nothing keeps the orchestrator from them."""
    with reading(context.engine) as session:
        decision = inbox_drain.decide_drain(session, context.limits)
        is_final = not inbox_drain.changes_something(session, decision)
    if is_final:
        return JobResult(decision.outcome, _summarize(decision))
    with writing(context.engine) as session:
        decision = inbox_drain.decide_drain(session, context.limits)
        ticket = inbox_drain.apply_decision(session, decision)
        summary = {"opened": ticket.identifier} if ticket else {}
    return JobResult(decision.outcome, _summarize(decision) | summary)


def _summarize(decision: DrainDecision) -> dict[str, Any]:
    has_incident = {tasks.HAS_ENTRY: True} if decision.outcome is TaskOutcome.WARNING else {}
    return {"waiting": decision.waiting} | ({"reason": decision.reason} if decision.reason else {}) | has_incident
