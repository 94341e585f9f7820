"""The job `canary`: a ticket of Mission Control's own travels the whole path, and each leg of it is timed.

It is the second line behind the health checks: it fails when something is wrong that no check looks for. It runs every
ten minutes while there was work in the last hour, else hourly.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database import reading, writing
from jobs.job_context import JobContext
from jobs.task_recorder import JobResult
from models import (
    TERMINAL,
    Agent,
    Gate,
    Landing,
    Profile,
    Project,
    Run,
    TaskOutcome,
    TaskRun,
    Ticket,
    TicketEvent,
    TicketStatus,
    now,
)
from tickets.dispatch import policy
from tickets.lifecycle import transitions
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY, CANARY_TASK, IS_ORDINARY_RUN, SERIES
from tickets.shared.errors import DomainError
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get_ticket
from tickets.team import agents, profiles, projects
from workers.repository import git
from workers.repository.git import GitError

CREATOR = Actor.human(CANARY)
"""With the rights of a person, as the path is a person's."""
QUIET_INTERVAL = timedelta(minutes=55)
"""Time between two canaries while nothing else runs. A little less than an hour, as the task has its own rhythm."""
BUSY_WINDOW = timedelta(hours=1)
LIMIT_SECONDS = 150.0
"""Longest journey. Where timers of systemd start pickup, a minute of it is the wait for the next pass."""
POLL_SECONDS = 0.25
DESCRIPTION = "```sh\ndate >trace.txt\n```\n"
MAX_LEFTOVERS = 20
"""Most earlier canaries that one pass cancels."""
BASE_BRANCH = "main"
GIT_FILES = {"check.sh": 'test -s check.sh && echo "1 passed"\n'}
GIT_AUTHOR = ("-c", "user.name=Mission Control", "-c", "user.email=canary@localhost")
HOLDING_GATES = frozenset({"maintenance", "quiet_hours", "total_capacity"})
"""Gates that hold a canary without anything being wrong."""


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of the journey, which ends with the first event that `is_end` accepts, by its type and payload."""

    name: str
    is_end: Callable[[str, dict[str, Any]], bool]


LEGS = (
    Leg("create", lambda kind, _: kind == "ticket_created"),
    Leg("claim", lambda kind, payload: kind == "ticket_moved" and payload.get("move") == "claim"),
    Leg("run", lambda kind, _: kind == "run.started"),
    Leg("event", lambda kind, _: kind.startswith("agent.")),
    Leg("verdict", lambda kind, _: kind == "agent.result"),
    Leg("verify", lambda kind, payload: kind == "run.check_ended" and payload.get("exit_code") == 0),
    Leg("close", lambda kind, payload: kind == "ticket_moved" and payload.get("to") == TicketStatus.DONE),
)


def make_pass(context: JobContext, give_up: Callable[[], bool] = lambda: False) -> JobResult:
    """Send a canary if one is due, wait for its end and report each leg.

    Skipped while dispatch is held on purpose, and when `give_up` returns True, as this program is being stopped.
    """
    with reading(context.engine) as session:
        reason = runtime_flags.get_pause_reason(session)
        is_due = _is_due(session)
    if reason:
        return JobResult(TaskOutcome.SKIPPED, {"reason": f"paused: {reason}"})
    if not is_due:
        return JobResult(TaskOutcome.NOOP, {"reason": "nothing ran in the last hour"})
    _make_team(context)
    _cancel_leftovers(context)
    with writing(context.engine) as session:
        body = NewTicket(title="Canary", description=DESCRIPTION, project=CANARY, gate=Gate.CHECKS)
        ticket = transitions.create_ticket(session, body, CREATOR, canary=True)
    return _follow_journey(context, ticket.id, ticket.identifier, give_up)


def _is_due(session: Session) -> bool:
    """Return whether a run began in the last hour, or the last journey was long ago."""
    newest_run = session.scalar(select(func.max(Run.id)).where(IS_ORDINARY_RUN))
    run = session.get(Run, newest_run) if newest_run else None
    journeys = select(TaskRun.started).where(
        TaskRun.task == CANARY_TASK, TaskRun.outcome.in_((TaskOutcome.ACTED, TaskOutcome.FAILED))
    )
    last = session.scalar(journeys.order_by(TaskRun.id.desc()).limit(1))
    is_busy = run is not None and run.started > now() - BUSY_WINDOW
    return is_busy or last is None or last < now() - QUIET_INTERVAL


def _follow_journey(context: JobContext, ticket_id: int, identifier: str, give_up: Callable[[], bool]) -> JobResult:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        with reading(context.engine) as session:
            legs = measure_legs(session, ticket_id)
        summary = {"ticket": identifier, "legs": legs}
        if len(legs) == len(LEGS):
            return JobResult(TaskOutcome.ACTED, {**summary, "seconds_in_all": round(sum(legs.values()), 2)})
        if give_up():
            _cancel(context, ticket_id)
            return JobResult(TaskOutcome.SKIPPED, {**summary, "reason": "the scheduler was stopped"})
        if time.monotonic() > deadline:
            return _report_delay(context, ticket_id, summary)
        time.sleep(POLL_SECONDS)


def measure_legs(session: Session, ticket_id: int) -> dict[str, float]:
    """Measure the legs that a ticket has behind it, in seconds."""
    query = select(TicketEvent).where(TicketEvent.ticket_id == ticket_id).order_by(TicketEvent.seq)
    rows = list(session.scalars(query.limit(200)))
    legs: dict[str, float] = {}
    last = rows[0].ts if rows else now()
    for leg in LEGS:
        end = next((row.ts for row in rows if leg.is_end(row.event_type, row.payload_json or {})), None)
        if end is None:
            break
        legs[leg.name] = round(max(0.0, (end - last).total_seconds()), 2)
        last = max(last, end)
    return legs


def _cancel(context: JobContext, ticket_id: int) -> None:
    try:
        with writing(context.engine) as session:
            transitions.transition(session, ticket_id, "cancel", CREATOR, note="The canary was abandoned.")
    except DomainError:
        return  # it has ended meanwhile


def _cancel_leftovers(context: JobContext) -> None:
    """Cancel earlier canaries that nobody follows any more, as the scheduler was killed meanwhile."""
    with reading(context.engine) as session:
        query = select(Ticket.id).where(Ticket.assigned_to == CANARY, Ticket.status.not_in(TERMINAL))
        leftovers = list(session.scalars(query.limit(MAX_LEFTOVERS)))
    for ticket_id in leftovers:
        _cancel(context, ticket_id)


def _report_delay(context: JobContext, ticket_id: int, summary: dict[str, Any]) -> JobResult:
    """Cancel the ticket and name the leg that it did not get through, with the gate that holds it."""
    with reading(context.engine) as session:
        ticket = get_ticket(session, ticket_id)
        gates = policy.check_ticket(session, ticket, None, context.limits) if ticket.status is TicketStatus.TODO else []
    closed_gate = next((gate for gate in gates if not gate.ok), None)
    _cancel(context, ticket_id)
    if closed_gate and closed_gate.name in HOLDING_GATES:
        return JobResult(TaskOutcome.SKIPPED, {**summary, "reason": closed_gate.detail})
    leg = LEGS[len(summary["legs"])].name
    detail = f": {closed_gate.detail}" if closed_gate else f", and is {ticket.status.value}"
    text = f"{summary['ticket']} did not complete the “{leg}” stage within {LIMIT_SECONDS:g} s{detail}"
    return JobResult(TaskOutcome.FAILED, {**summary, "leg": leg, "error": text})


def _make_team(context: JobContext) -> None:
    """Make the canary's repository, project, profile and agent, as far as they are missing."""
    folder = context.settings.home / "canary"
    _make_repository(folder)
    with reading(context.engine) as session:
        if session.get(Agent, CANARY):
            return
    with writing(context.engine) as session:
        if session.scalar(select(Project.id).where(Project.slug == CANARY)) is None:
            project = {"slug": CANARY, "name": "Canary", "folder": str(folder), "check_command": ["sh", "check.sh"]}
            projects.add_project(session, projects.NewProject(**project, landing=Landing.LEAVE), CREATOR)
        if session.get(Profile, CANARY) is None:
            profiles.add_profile(session, profiles.NewProfile(name=CANARY, program="script"), CREATOR)
        agents.add_agent(session, agents.NewAgent(name=CANARY, runnable=True, profile=CANARY), CREATOR)


def _is_complete(folder: Path) -> bool:
    """Return whether the folder is a repository with a commit, and not only within one."""
    is_root = git.is_repository(folder) and git.find_root(folder) == folder.resolve()
    return is_root and git.has_branch(folder, BASE_BRANCH)


def _make_repository(folder: Path) -> None:
    """Make the repository if it is missing or incomplete, and remove the branches of earlier canaries.

    A branch that a worktree has checked out stays.
    """
    if not _is_complete(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, text in GIT_FILES.items():
            (folder / name).write_text(text)
        git.check_output(folder, "init", "--quiet", f"--initial-branch={BASE_BRANCH}")
        git.check_output(folder, "add", "--all")
        git.check_output(folder, *GIT_AUTHOR, "commit", "--quiet", "--message=Add a check.")
    for branch in git.check_output(
        folder, "for-each-ref", "--format=%(refname:short)", f"refs/heads/mc/{SERIES}-*"
    ).split():
        try:
            git.check_output(folder, "branch", "--quiet", "-D", branch)
        except GitError:
            continue  # a worktree has it checked out
