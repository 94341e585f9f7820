"""The job `operator`: observe loops, tickets, capacity and repositories, raise incidents and file inbox items.

It acts as a service, which moves no ticket and changes no task. Only with `operator.maintenance` it mends something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

from sqlalchemy.orm import Session

from database import StoreUnavailable, reading, writing
from jobs import housekeeping
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult, describe_error
from models import ActorKind, TaskOutcome, Trigger
from settings import Settings
from tickets.board import team_conditions, ticket_conditions
from tickets.loops import conditions, loop_conditions
from tickets.loops.conditions import Observation
from tickets.shared.actors import Actor

from . import maintenance, repository_conditions

TASK = "operator"
OPERATOR = Actor(ActorKind.SERVICE, TASK)


def _read_store(find: Callable[[Session, Settings], Observation], context: JobContext) -> Observation:
    with reading(context.engine) as session:
        return find(session, context.settings)


OBSERVATIONS: dict[str, Callable[[JobContext], Observation]] = {
    "health": partial(_read_store, loop_conditions.find_failed_checks),
    "skipping tasks": partial(_read_store, loop_conditions.find_skipping_tasks),
    "stuck tickets": partial(_read_store, ticket_conditions.find_stuck),
    "unanswered tickets": partial(_read_store, ticket_conditions.find_unanswered),
    "ageing tickets": partial(_read_store, ticket_conditions.find_ageing),
    "blocked tickets": partial(_read_store, ticket_conditions.find_unowned),
    "failing tickets": partial(_read_store, ticket_conditions.find_failing),
    "capacity": partial(_read_store, team_conditions.find_idle),
    "full agents": partial(_read_store, team_conditions.find_full_agents),
    "unavailable agents": partial(_read_store, team_conditions.find_unavailable_agents),
    "repositories": repository_conditions.find_neglected,
}
"""By the name that a failed one is reported with."""


def run_pass(context: JobContext, trigger: Trigger, *, task: str = TASK) -> JobResult:
    """Make a pass, unless another one is being made, and record it."""
    return housekeeping.run_pass(context, TASK, trigger, task=task, work=make_pass)


def make_pass(context: JobContext) -> JobResult:
    """Mend what may be mended, then make every observation and record it. One that fails does not stop the others."""
    is_maintained = context.settings.operator.maintenance
    identifiers = maintenance.release_tickets(context, OPERATOR) if is_maintained else []
    counts: Counter[str] = Counter()
    problems: list[str] = []
    failures = 0
    for name, observe in OBSERVATIONS.items():
        try:
            counts += _record(context, observe(context), problems)
        except StoreUnavailable:
            raise
        except Exception as error:
            failures += 1
            problems.append(f"The observation of {name} failed: {describe_error(error)}")
    summary = {**counts, **({"tickets_released": identifiers} if identifiers else {})}
    if problems:
        outcome = TaskOutcome.FAILED if failures == len(OBSERVATIONS) else TaskOutcome.WARNING
        return JobResult(outcome, {**summary, "problems": problems}, again=not failures)
    return JobResult(TaskOutcome.ACTED if summary else TaskOutcome.NOOP, summary)


def _record(context: JobContext, observation: Observation, problems: list[str]) -> Counter[str]:
    with writing(context.engine) as session:
        counts = conditions.record_observation(session, observation, OPERATOR)
    problems += [*observation.problems, *conditions.take_refusals(counts)]
    return counts
