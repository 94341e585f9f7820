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

from database import fetch_rows
from models import Agent, Profile, Project, Run, RunMode, RunState, Ticket, TicketStatus, format_clock, now
from settings import Settings
from tickets.shared import display_names, lookup, runtime_flags
from tickets.team import agents, profiles, projects
from tickets.workflow import landing, relationships, wake_conditions

from . import budgets
from .budgets import NO_LIMITS, Budgets, Scope, Spent


@dataclass(frozen=True, slots=True)
class GateResult:
    """One gate's answer; `detail` is the value to show whether or not it is open."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """What the settings allow: runs in all, attempts a ticket, and what may be spent."""

    total: int = 4
    attempts: int = 3
    budgets: Budgets = NO_LIMITS

    @classmethod
    def of(cls, settings: Settings) -> DispatchLimits:
        return cls(settings.max_workers, settings.retry_limit, Budgets.of(settings))


@dataclass(slots=True)
class SharedState:
    """What all tickets share at one moment. `taken` counts a claim at once, so that a pass never exceeds a capacity."""

    limits: DispatchLimits
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
class GateInput:
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


def load_shared(session: Session, limits: DispatchLimits) -> SharedState:
    return SharedState(
        limits=limits,
        paused=runtime_flags.paused(session),
        agents={agent.name: agent for agent in agents.members(session)},
        load=agents.load(session),
        projects={project.id: project for project in projects.with_archived(session)},
        working={project: count for project, count in fetch_rows(session, WORKING) if project},
        profiles={profile.name: profile for profile in profiles.profiles(session)},
        today=budgets.spent_today(session, limits.budgets.zone),
    )


def load_tickets(session: Session, tickets: Iterable[Ticket]) -> list[GateInput]:
    asked = list(tickets)
    return _cases(session, asked, lookup.live_runs(session, [ticket.id for ticket in asked]))


def _cases(session: Session, asked: list[Ticket], live: Mapping[int, Run | None]) -> list[GateInput]:
    ids = [ticket.id for ticket in asked]
    blockers = relationships.open_blockers(session, ids)
    spent = budgets.spent_on(session, ids)
    return [
        GateInput(ticket, blockers.get(ticket.id, []), live.get(ticket.id), spent.get(ticket.id, {}))
        for ticket in asked
    ]


def gates(case: GateInput, world: SharedState) -> list[GateResult]:
    """Every gate in order; the ticket may run when all are open."""
    return [GateResult(name, *gate(case, world)) for name, gate in GATES]


def first_closed(case: GateInput, world: SharedState) -> GateResult | None:
    return next((verdict for verdict in gates(case, world) if not verdict.ok), None)


def runnable(session: Session, ticket: Ticket, live: Run | None, limits: DispatchLimits) -> list[GateResult]:
    """The gates of one ticket, for the API and the page; `live` is the run that holds it."""
    return gates(_cases(session, [ticket], {ticket.id: live})[0], load_shared(session, limits))


Answer = tuple[bool, str]


def _maintenance(_case: GateInput, world: SharedState) -> Answer:
    return (False, f"Dispatch is paused: {world.paused}.") if world.paused else (True, "Dispatch is not paused.")


def _status(case: GateInput, _world: SharedState) -> Answer:
    if case.ticket.archived:
        return False, "It is archived."
    if case.ticket.status is TicketStatus.TODO:
        return True, "It is to do."
    said = f"It is {display_names.state(case.ticket.status)}, not to do."
    return False, f"{said} {landing.told(case.ticket)}" if landing.is_pending(case.ticket) else said


def _time(case: GateInput, world: SharedState) -> Answer:
    ticket = case.ticket
    if ticket.status is TicketStatus.WAITING:
        return False, f"It is parked {wake_conditions.words(ticket.wake)}."
    if ticket.not_before and ticket.not_before > world.moment:
        return False, f"It does not start before {format_clock(ticket.not_before)}."
    return True, "It is due."


def _owner(case: GateInput, world: SharedState) -> Answer:
    name = case.ticket.assigned_to
    if not name:
        return False, "Nobody owns it."
    agent = world.agents.get(name)
    if agent is None or not agent.runnable or agent.profile is None:
        return False, f"{name} is not an agent that Mission Control can run."
    return True, f"{name} runs it with the profile {agent.profile}."


def _controller(case: GateInput, _world: SharedState) -> Answer:
    holder = case.ticket.campaign_owner
    return (False, f"{holder} holds it.") if holder else (True, "Nobody holds it.")


def _dependencies(case: GateInput, _world: SharedState) -> Answer:
    return (False, f"It is blocked by {', '.join(case.blockers)}.") if case.blockers else (True, "Nothing blocks it.")


def _live_run(case: GateInput, _world: SharedState) -> Answer:
    if case.live is None:
        return True, "No run holds it."
    return False, f"Run {case.live.generation} holds it and is {case.live.state.value}."


def _retries(case: GateInput, world: SharedState) -> Answer:
    used = f"{case.ticket.attempts} of {world.limits.attempts} attempts are used."
    return case.ticket.attempts < world.limits.attempts, used


def _budget(case: GateInput, world: SharedState) -> Answer:
    """The tightest limit with what is used of it; closed from the moment it is reached."""
    allowed = budgets.allowances(world.limits.budgets, world.profile_of(case.ticket))
    use = budgets.tightest(budgets.uses(allowed, {Scope.TICKET: case.spent, Scope.DAY: world.today}))
    if use is None:
        return True, "No limit is set."
    if use.share >= 1 and use.allowance.scope is Scope.DAY:
        _, end = budgets.day_of(world.moment, world.limits.budgets.zone)
        return False, f"{use.words()}; the next day begins at {format_clock(end)}."
    return use.share < 1, f"{use.words()}."


def _cooldown(case: GateInput, world: SharedState) -> Answer:
    agent = world.agents.get(case.ticket.assigned_to or "")
    if agent and agent.cooldown_until and agent.cooldown_until > world.moment:
        return (
            False,
            f"{agent.name} is cooling down until {format_clock(agent.cooldown_until)}: {agent.cooldown_reason}.",
        )
    return True, "Its agent is not cooling down."


def _workspace(case: GateInput, world: SharedState) -> Answer:
    project = world.projects.get(case.ticket.project_id or 0)
    if project is None:
        return True, "It is worked in a folder of its own."
    busy = world.working.get(project.id, 0)
    return busy < project.max_runs, f"{busy} of {project.max_runs} workspaces of {project.slug} are in use."


def _agent_capacity(case: GateInput, world: SharedState) -> Answer:
    agent = world.agents.get(case.ticket.assigned_to or "")
    if agent is None:
        return True, "It has no agent."
    busy = world.load.get(agent.name, 0)
    return busy < agent.capacity, f"{agent.name} has {busy} of {agent.capacity} runs."


def _total_capacity(_case: GateInput, world: SharedState) -> Answer:
    busy = sum(world.load.values())
    return busy < world.limits.total, f"{busy} of {world.limits.total} runs are live in all."


GATES: tuple[tuple[str, Callable[[GateInput, SharedState], Answer]], ...] = (
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
