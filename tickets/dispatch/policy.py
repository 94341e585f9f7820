"""May this ticket run, and if not, why: one ordered list of gates, read by pickup, the API and the pages alike.

The facts that all tickets share are read once (`survey`); those of the tickets in question in a constant number of
queries (`examine`), so that a pass over the queue has no query per ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from models import Agent, Profile, Project, Run, RunMode, RunState, Ticket, TicketStatus, clock, now, rows
from settings import Settings
from tickets.shared import lookup, switches, words
from tickets.team import projects, team
from tickets.workflow import landing, relationships, wake

from . import budgets
from .budgets import NO_LIMITS, Budgets, Scope, Spent


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer; `detail` is the value to show whether or not it is open."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What the settings allow: runs in all, attempts a ticket, and what may be spent."""

    total: int = 4
    attempts: int = 3
    budgets: Budgets = NO_LIMITS

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        return cls(settings.max_workers, settings.retry_limit, Budgets.of(settings))


@dataclass(slots=True)
class Survey:
    """What all tickets share at one moment. `taken` counts a claim at once, so that a pass never exceeds a capacity."""

    limits: Limits
    paused: str | None
    agents: dict[str, Agent]
    load: dict[str, int]
    projects: dict[int, Project]
    working: dict[int, int]
    profiles: dict[str, Profile]
    today: dict[str, Spent]
    moment: datetime = field(default_factory=now)

    def taken(self, ticket: Ticket) -> None:
        if ticket.assigned_to:
            self.load[ticket.assigned_to] = self.load.get(ticket.assigned_to, 0) + 1
            profile = self.profile_of(ticket)
            name = profile.name if profile else ""
            self.today[name] = self.today.get(name, Spent()) + Spent(runs=1)
        if ticket.project_id:
            self.working[ticket.project_id] = self.working.get(ticket.project_id, 0) + 1

    def profile_of(self, ticket: Ticket) -> Profile | None:
        agent = self.agents.get(ticket.assigned_to or "")
        return self.profiles.get(agent.profile or "") if agent else None

    @property
    def busy_agents(self) -> set[str]:
        """Agents that can be given nothing more for now."""
        return {
            name
            for name, agent in self.agents.items()
            if self.load.get(name, 0) >= agent.capacity or (agent.cooldown_until or self.moment) > self.moment
        }

    @property
    def busy_projects(self) -> set[int]:
        """Projects whose workspaces are all in use."""
        return {key for key, project in self.projects.items() if self.working.get(key, 0) >= project.max_runs}

    @property
    def free(self) -> int:
        return max(0, self.limits.total - sum(self.load.values()))


@dataclass(frozen=True, slots=True)
class Case:
    """One ticket with what is known of it alone."""

    ticket: Ticket
    blockers: list[str]
    live: Run | None
    spent: dict[str, Spent]


WORKING = (
    select(Ticket.project_id, func.count())
    .join(Run, Run.ticket_id == Ticket.id)
    .where(Run.state != RunState.ENDED, Run.mode != RunMode.EXTERNAL, Ticket.project_id > 0)
    .group_by(Ticket.project_id)
)


def survey(session: Session, limits: Limits) -> Survey:
    return Survey(
        limits=limits,
        paused=switches.paused(session),
        agents={agent.name: agent for agent in team.members(session)},
        load=team.load(session),
        projects={project.id: project for project in projects.with_archived(session)},
        working={project: count for project, count in rows(session, WORKING) if project},
        profiles={profile.name: profile for profile in team.profiles(session)},
        today=budgets.spent_today(session, limits.budgets.zone),
    )


def examine(session: Session, tickets: Iterable[Ticket]) -> list[Case]:
    asked = list(tickets)
    return _cases(session, asked, lookup.live_runs(session, [ticket.id for ticket in asked]))


def _cases(session: Session, asked: list[Ticket], live: Mapping[int, Run | None]) -> list[Case]:
    ids = [ticket.id for ticket in asked]
    blockers = relationships.open_blockers(session, ids)
    spent = budgets.spent_on(session, ids)
    return [
        Case(ticket, blockers.get(ticket.id, []), live.get(ticket.id), spent.get(ticket.id, {})) for ticket in asked
    ]


def gates(case: Case, world: Survey) -> list[Verdict]:
    """Every gate in order; the ticket may run when all are open."""
    return [Verdict(name, *gate(case, world)) for name, gate in GATES]


def first_closed(case: Case, world: Survey) -> Verdict | None:
    return next((verdict for verdict in gates(case, world) if not verdict.ok), None)


def runnable(session: Session, ticket: Ticket, live: Run | None, limits: Limits) -> list[Verdict]:
    """The gates of one ticket, for the API and the page; `live` is the run that holds it."""
    return gates(_cases(session, [ticket], {ticket.id: live})[0], survey(session, limits))


Answer = tuple[bool, str]


def _maintenance(_case: Case, world: Survey) -> Answer:
    return (False, f"Dispatch is paused: {world.paused}.") if world.paused else (True, "Dispatch is not paused.")


def _status(case: Case, _world: Survey) -> Answer:
    if case.ticket.archived:
        return False, "It is archived."
    if case.ticket.status is TicketStatus.TODO:
        return True, "It is to do."
    said = f"It is {words.state(case.ticket.status)}, not to do."
    return False, f"{said} {landing.told(case.ticket)}" if landing.is_pending(case.ticket) else said


def _time(case: Case, world: Survey) -> Answer:
    ticket = case.ticket
    if ticket.status is TicketStatus.WAITING:
        return False, f"It is parked {wake.words(ticket.wake)}."
    if ticket.not_before and ticket.not_before > world.moment:
        return False, f"It does not start before {clock(ticket.not_before)}."
    return True, "It is due."


def _owner(case: Case, world: Survey) -> Answer:
    name = case.ticket.assigned_to
    if not name:
        return False, "Nobody owns it."
    agent = world.agents.get(name)
    if agent is None or not agent.runnable or agent.profile is None:
        return False, f"{name} is not an agent that Mission Control can run."
    return True, f"{name} runs it with the profile {agent.profile}."


def _controller(case: Case, _world: Survey) -> Answer:
    holder = case.ticket.campaign_owner
    return (False, f"{holder} holds it.") if holder else (True, "Nobody holds it.")


def _dependencies(case: Case, _world: Survey) -> Answer:
    return (False, f"It is blocked by {', '.join(case.blockers)}.") if case.blockers else (True, "Nothing blocks it.")


def _live_run(case: Case, _world: Survey) -> Answer:
    if case.live is None:
        return True, "No run holds it."
    return False, f"Run {case.live.generation} holds it and is {case.live.state.value}."


def _retries(case: Case, world: Survey) -> Answer:
    used = f"{case.ticket.attempts} of {world.limits.attempts} attempts are used."
    return case.ticket.attempts < world.limits.attempts, used


def _budget(case: Case, world: Survey) -> Answer:
    """The tightest limit with what is used of it; closed from the moment it is reached."""
    allowed = budgets.allowances(world.limits.budgets, world.profile_of(case.ticket))
    use = budgets.tightest(budgets.uses(allowed, {Scope.TICKET: case.spent, Scope.DAY: world.today}))
    if use is None:
        return True, "No limit is set."
    if use.share >= 1 and use.allowance.scope is Scope.DAY:
        _, end = budgets.day_of(world.moment, world.limits.budgets.zone)
        return False, f"{use.words()}; the next day begins at {clock(end)}."
    return use.share < 1, f"{use.words()}."


def _cooldown(case: Case, world: Survey) -> Answer:
    agent = world.agents.get(case.ticket.assigned_to or "")
    if agent and agent.cooldown_until and agent.cooldown_until > world.moment:
        return False, f"{agent.name} is cooling down until {clock(agent.cooldown_until)}: {agent.cooldown_reason}."
    return True, "Its agent is not cooling down."


def _workspace(case: Case, world: Survey) -> Answer:
    project = world.projects.get(case.ticket.project_id or 0)
    if project is None:
        return True, "It is worked in a folder of its own."
    busy = world.working.get(project.id, 0)
    return busy < project.max_runs, f"{busy} of {project.max_runs} workspaces of {project.slug} are in use."


def _agent_capacity(case: Case, world: Survey) -> Answer:
    agent = world.agents.get(case.ticket.assigned_to or "")
    if agent is None:
        return True, "It has no agent."
    busy = world.load.get(agent.name, 0)
    return busy < agent.capacity, f"{agent.name} has {busy} of {agent.capacity} runs."


def _total_capacity(_case: Case, world: Survey) -> Answer:
    busy = sum(world.load.values())
    return busy < world.limits.total, f"{busy} of {world.limits.total} runs are live in all."


GATES: tuple[tuple[str, Callable[[Case, Survey], Answer]], ...] = (
    ("maintenance", _maintenance),
    ("status", _status),
    ("time", _time),
    ("owner", _owner),
    ("controller", _controller),
    ("dependencies", _dependencies),
    ("live_run", _live_run),
    ("retries", _retries),
    ("budget", _budget),
    ("agent_cooldown", _cooldown),
    ("workspace", _workspace),
    ("agent_capacity", _agent_capacity),
    ("total_capacity", _total_capacity),
)
