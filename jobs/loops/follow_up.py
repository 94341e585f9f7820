"""The job `follow-up-sweep`: comment on tickets past their expected check-in, and escalate when nobody reacts."""

from __future__ import annotations

from database import StoreUnavailable, reading, writing
from jobs import housekeeping
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult, describe_error
from models import TaskOutcome, Ticket, Trigger
from tickets.board import follow_ups
from tickets.loops import conditions

TASK = follow_ups.SWEEP.name


def run_pass(context: JobContext, trigger: Trigger, *, task: str = TASK) -> JobResult:
    """Make a pass, unless another one is being made, and record it."""
    return housekeeping.run_pass(context, TASK, trigger, task=task, work=make_pass)


def make_pass(context: JobContext) -> JobResult:
    """Comment on every overdue ticket that has no comment for its check-in, then escalate the comments ignored for long."""
    with reading(context.engine) as session:
        tickets = follow_ups.list_overdue(session, context.settings)
        reminders = follow_ups.load_reminders(session, tickets)
    new_tickets = [ticket for ticket in tickets if follow_ups.find_reminder(reminders, ticket) is None]
    identifiers, problems = _remind(context, new_tickets)
    with writing(context.engine) as session:
        observation = follow_ups.find_ignored(tickets, reminders, context.settings)
        counts = conditions.record_observation(session, observation, follow_ups.SWEEP)
    problems += conditions.take_refusals(counts)
    summary = {**counts, **({"tickets_commented": identifiers} if identifiers else {})}
    if problems:
        return JobResult(TaskOutcome.WARNING, {**summary, "problems": problems})
    return JobResult(TaskOutcome.ACTED if summary else TaskOutcome.NOOP, summary)


def _remind(context: JobContext, tickets: list[Ticket]) -> tuple[list[str], list[str]]:
    """Comment on tickets, each in a transaction of its own. Returns their identifiers and what went wrong."""
    identifiers: list[str] = []
    problems: list[str] = []
    for ticket in tickets:
        try:
            with writing(context.engine) as session:
                if follow_ups.remind(session, ticket):
                    identifiers.append(ticket.identifier)
        except StoreUnavailable:
            raise
        except Exception as error:
            problems.append(f"{ticket.identifier} has no comment: {describe_error(error)}")
    return identifiers, problems
