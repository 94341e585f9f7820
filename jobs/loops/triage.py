"""The task triage-untriaged: triage the tickets of the inbox by rules, each in a transaction of its own."""

from __future__ import annotations

from collections import Counter

from database import reading, writing
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from models import TaskOutcome
from tickets.loops import triage
from tickets.loops.triage import TriageResult
from tickets.shared.errors import DomainError

TASK = triage.TASK
MAX_TICKETS = 100
"""Maximum number of tickets of one pass. The others are left to the next one."""


def make_pass(context: JobContext) -> JobResult:
    """Triage the tickets that are new in the inbox.

    It acted when a ticket was moved, edited or filed. A refusal is a warning, and a failure when nothing else was done;
    an owner in the settings who is not in the team is a warning too.
    """
    settings = context.settings.triage
    with writing(context.engine) as session:
        triage.delete_obsolete_notes(session)
        unknown_owners = triage.find_unknown_owners(session, settings)
    with reading(context.engine) as session:
        ticket_ids = triage.list_untriaged(session, MAX_TICKETS)
    counts: Counter[str] = Counter()
    refusals: list[str] = []
    for ticket_id in ticket_ids:
        try:
            with writing(context.engine) as session:
                result = triage.triage_ticket(session, ticket_id, settings)
        except DomainError as refusal:
            refusals.append(refusal.message)
        else:
            counts.update([result.value] if result else [])
    problems = [f"triage.owners names {name}, who is not in the team." for name in unknown_owners]
    if refusals or problems:
        outcome = TaskOutcome.FAILED if refusals and not counts else TaskOutcome.WARNING
        return JobResult(outcome, {**counts, "problems": problems + refusals})
    return JobResult(TaskOutcome.ACTED if counts.keys() - {TriageResult.UNDECIDED} else TaskOutcome.NOOP, dict(counts))
