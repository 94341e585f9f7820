"""Dispatch policy: an ordered list of gates that decide whether a ticket may run, shared by pickup, API and pages.

The state that all tickets share is loaded once (`load_shared`), that of single tickets in a constant number of queries
(`load_tickets`), so that a pass over the queue has no query per ticket.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from database import fetch_rows
from models import Agent, Profile, Project, Run, RunState, Ticket, TicketStatus, format_clock, now
from settings import Settings
from tickets.shared import display_names, lookup, runtime_flags
from tickets.shared.canary import CANARY
from tickets.shared.quiet_hours import QuietHours
from tickets.shared.ticket_row import AnyTicket
from tickets.team import agents, profiles, projects, repositories
from tickets.workflow import attempts, landing, relationships, wake_conditions

from . import budgets
from .budgets import NO_LIMITS, Budgets, BudgetScope, BudgetTotals


@dataclass(frozen=True, slots=True)
class GateResult:
    """Result of one gate, whose `detail` is displayed whether or not it is open."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class DispatchLimits:
    """Limits of the settings: live runs in total, attempts per ticket, budgets, and the hours without starts.

    A problem with a repository counts for the runs of `host`, which saw it, or of all hosts when that is None.
    """

    total: int = 4
    attempts: int = 3
    budgets: Budgets = NO_LIMITS
    quiet_hours: QuietHours | None = None
    host: str | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> DispatchLimits:
        return cls(
            settings.max_workers,
            settings.retry_limit,
            Budgets.from_settings(settings),
            QuietHours.parse(settings.quiet_hours),
            settings.machine_name,
        )


@dataclass(slots=True)
class SharedState:
    """State that all tickets share during a pass. `count_claim` updates it, so that a pass never exceeds a capacity."""

    limits: DispatchLimits
    paused: str | None
    agents: dict[str, Agent]
    load: dict[str, int]
    projects: dict[int, Project]
    working: dict[int, int]
    profiles: dict[str, Profile]
    today: dict[str, BudgetTotals]
    problems: dict[int, str]
    inbox_ticket: int | None = None
    moment: datetime = field(default_factory=now)

    def count_claim(self, ticket: AnyTicket) -> None:
        if ticket.assigned_to:
            self.load[ticket.assigned_to] = self.load.get(ticket.assigned_to, 0) + 1
            profile = self.find_profile(ticket)
            name = profile.name if profile else ""
            self.today[name] = self.today.get(name, BudgetTotals()) + BudgetTotals(runs=1)
        if ticket.project_id:
            self.working[ticket.project_id] = self.working.get(ticket.project_id, 0) + 1

    def find_profile(self, ticket: AnyTicket) -> Profile | None:
        agent = self.agents.get(ticket.assigned_to or "")
        return self.profiles.get(agent.profile or "") if agent else None

    @property
    def busy_agents(self) -> set[str]:
        """Agents that can take no further ticket now."""
        return {
            name
            for name, agent in self.agents.items()
            if self.load.get(name, 0) >= agent.capacity or (agent.cooldown_until or self.moment) > self.moment
        }

    @property
    def busy_projects(self) -> set[int]:
        """Projects whose workspaces are all in use, or whose repository has a problem."""
        busy = {key for key, project in self.projects.items() if self.working.get(key, 0) >= project.max_runs}
        return busy | self.problems.keys()

    @property
    def free(self) -> int:
        return max(0, self.limits.total - sum(self.load.values()))


@dataclass(frozen=True, slots=True)
class GateInput:
    """One ticket with its own state for the gates."""

    ticket: AnyTicket
    blockers: list[str]
    live: Run | None
    spent: dict[str, BudgetTotals]
    attempts: list[str] = field(default_factory=list)


RUNS_BY_PROJECT = (
    select(Ticket.project_id, func.count())
    .join(Run, Run.ticket_id == Ticket.id)
    .where(Run.state != RunState.ENDED, lookup.IS_DISPATCHED, Ticket.project_id > 0)
    .group_by(Ticket.project_id)
)


def load_shared(session: Session, limits: DispatchLimits) -> SharedState:
    return SharedState(
        limits=limits,
        paused=runtime_flags.get_pause_reason(session),
        agents={agent.name: agent for agent in agents.list_all_members(session)},
        load=dict(agents.count_live_runs(session)),
        projects={project.id: project for project in projects.list_all_projects(session)},
        working={project: count for project, count in fetch_rows(session, RUNS_BY_PROJECT) if project},
        profiles={profile.name: profile for profile in profiles.list_all_profiles(session)},
        today=budgets.load_spending_today(session, limits.budgets.zone),
        problems=repositories.find_problems(session, limits.host),
        inbox_ticket=runtime_flags.get_inbox_ticket(session),
    )


def load_tickets(session: Session, tickets: Iterable[Ticket]) -> list[GateInput]:
    ticket_list = list(tickets)
    return load_inputs(session, ticket_list, lookup.find_live_runs(session, [ticket.id for ticket in ticket_list]))


def load_inputs(session: Session, tickets: Sequence[AnyTicket], live: Mapping[int, Run | None]) -> list[GateInput]:
    """Load the gates' input of tickets whose live runs are known, in a constant number of queries."""
    ids = [ticket.id for ticket in tickets]
    blockers = relationships.find_open_blockers(session, ids)
    spending, open_attempts = budgets.load_ticket_spending(session, ids), attempts.find_open_attempts(session, ids)
    return [
        GateInput(
            ticket,
            blockers.get(ticket.id, []),
            live.get(ticket.id),
            spending.get(ticket.id, {}),
            open_attempts.get(ticket.id, []),
        )
        for ticket in tickets
    ]


def check_gates(
    gate_input: GateInput, shared_state: SharedState, names: Container[str] | None = None
) -> list[GateResult]:
    """Check all gates in order, or those of these names. The ticket may run when all are open."""
    gates = GATES if names is None else ((name, gate) for name, gate in GATES if name in names)
    return [GateResult(name, *gate(gate_input, shared_state)) for name, gate in gates]


def find_closed_gate(gate_input: GateInput, shared_state: SharedState) -> GateResult | None:
    return next((verdict for verdict in check_gates(gate_input, shared_state) if not verdict.ok), None)


def check_ticket(session: Session, ticket: Ticket, live: Run | None, limits: DispatchLimits) -> list[GateResult]:
    """Check the gates of one ticket, for the API and the page. `live` is its live run."""
    return check_gates(load_inputs(session, [ticket], {ticket.id: live})[0], load_shared(session, limits))


GateAnswer = tuple[bool, str]


def _check_maintenance(_case: GateInput, shared_state: SharedState) -> GateAnswer:
    return (
        (False, f"Dispatch is paused: {shared_state.paused}.")
        if shared_state.paused
        else (True, "Dispatch is not paused.")
    )


def _check_status(gate_input: GateInput, _world: SharedState) -> GateAnswer:
    if gate_input.ticket.archived and gate_input.ticket.assigned_to != CANARY:
        return False, "It is archived."
    if gate_input.ticket.status is TicketStatus.TODO:
        return True, "Its state is To do."
    text = f"Its state is {display_names.format_status_label(gate_input.ticket.status)}, not To do."
    return False, f"{text} {landing.describe_landing(gate_input.ticket)}" if landing.is_pending(
        gate_input.ticket
    ) else text


def _check_time(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    ticket = gate_input.ticket
    if ticket.status is TicketStatus.WAITING:
        return False, f"It is parked {wake_conditions.describe_wake(ticket.wake)}."
    if ticket.not_before and ticket.not_before > shared_state.moment:
        return False, f"It does not start before {format_clock(ticket.not_before)}."
    return True, "It is due."


def _check_quiet_hours(_case: GateInput, shared_state: SharedState) -> GateAnswer:
    """Check the wall clock, which a change of daylight-saving time moves as it moves everybody's."""
    hours = shared_state.limits.quiet_hours
    if hours is None:
        return True, "No quiet hours are set."
    clock = shared_state.moment.astimezone(shared_state.limits.budgets.zone).time()
    text = f"quiet hours from {hours.start:%H:%M} to {hours.end:%H:%M}"
    return (
        (False, f"Nothing starts during the {text}.") if hours.includes(clock) else (True, f"It is outside the {text}.")
    )


def _check_owner(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    name = gate_input.ticket.assigned_to
    if not name:
        return False, "It has no owner."
    agent = shared_state.agents.get(name)
    if agent is None or not agent.runnable or agent.profile is None:
        return False, f"{name} is not an agent that Mission Control can run."
    return True, f"{name} runs it with the profile {agent.profile}."


def _check_controller(gate_input: GateInput, _world: SharedState) -> GateAnswer:
    holder = gate_input.ticket.campaign_owner
    return (False, f"It is on hold by {holder}.") if holder else (True, "It is not on hold.")


def _check_dependencies(gate_input: GateInput, _world: SharedState) -> GateAnswer:
    return (
        (False, f"It is blocked by {', '.join(gate_input.blockers)}.")
        if gate_input.blockers
        else (True, "Nothing blocks it.")
    )


def _check_attempts(gate_input: GateInput, _world: SharedState) -> GateAnswer:
    if gate_input.attempts:
        return False, f"It waits for its attempts {', '.join(gate_input.attempts)}: keep one of them."
    return True, "It has no open attempts."


def _check_live_run(gate_input: GateInput, _world: SharedState) -> GateAnswer:
    if gate_input.live is None:
        return True, "No run is active."
    return False, f"Run {gate_input.live.generation} is {gate_input.live.state.value}."


def _check_retries(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    text = f"{gate_input.ticket.attempts} of {shared_state.limits.attempts} attempts are used."
    return gate_input.ticket.attempts < shared_state.limits.attempts, text


def _check_budget(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    """Check the limit with the largest used share, closed as soon as it is reached. The inbox has no ticket's budget."""
    allowed = budgets.list_allowances(shared_state.limits.budgets, shared_state.find_profile(gate_input.ticket))
    is_inbox = gate_input.ticket.id == shared_state.inbox_ticket
    ledgers = {BudgetScope.DAY: shared_state.today} | ({} if is_inbox else {BudgetScope.TICKET: gate_input.spent})
    use = budgets.find_tightest(budgets.compute_uses(allowed, ledgers))
    if use is None:
        return True, "No limit is set."
    if use.share >= 1 and use.allowance.scope is BudgetScope.DAY:
        _, end = budgets.find_day(shared_state.moment, shared_state.limits.budgets.zone)
        return False, f"{use.words()}; the next day begins at {format_clock(end)}."
    return use.share < 1, f"{use.words()}."


def _check_cooldown(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    agent = shared_state.agents.get(gate_input.ticket.assigned_to or "")
    if agent and agent.cooldown_until and agent.cooldown_until > shared_state.moment:
        reason = (agent.cooldown_reason or "").rstrip(".")  # it may end with an agent's own sentence
        return False, f"{agent.name} is cooling down until {format_clock(agent.cooldown_until)}: {reason}."
    return True, "Its agent is not cooling down."


def _check_repository(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    problem = shared_state.problems.get(gate_input.ticket.project_id or 0)
    return (False, problem) if problem else (True, "Its repository is ready.")


def _check_workspace(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    project = shared_state.projects.get(gate_input.ticket.project_id or 0)
    if project is None:
        return True, "It has a folder of its own."
    busy = shared_state.working.get(project.id, 0)
    return busy < project.max_runs, f"{busy} of {project.max_runs} workspaces of {project.slug} are in use."


def _check_agent_capacity(gate_input: GateInput, shared_state: SharedState) -> GateAnswer:
    agent = shared_state.agents.get(gate_input.ticket.assigned_to or "")
    if agent is None:
        return True, "It has no agent."
    busy = shared_state.load.get(agent.name, 0)
    return busy < agent.capacity, f"{agent.name} has {busy} of {agent.capacity} runs."


def _check_total_capacity(_case: GateInput, shared_state: SharedState) -> GateAnswer:
    busy = sum(shared_state.load.values())
    return busy < shared_state.limits.total, f"{busy} of {shared_state.limits.total} runs are active in total."


GATES: tuple[tuple[str, Callable[[GateInput, SharedState], GateAnswer]], ...] = (
    ("maintenance", _check_maintenance),
    ("status", _check_status),
    ("time", _check_time),
    ("quiet_hours", _check_quiet_hours),
    ("owner", _check_owner),
    ("controller", _check_controller),
    ("dependencies", _check_dependencies),
    ("attempts", _check_attempts),
    ("live_run", _check_live_run),
    ("retries", _check_retries),
    ("budget", _check_budget),
    ("agent_cooldown", _check_cooldown),
    ("repository", _check_repository),
    ("workspace", _check_workspace),
    ("agent_capacity", _check_agent_capacity),
    ("total_capacity", _check_total_capacity),
)
CAPACITY_GATES = frozenset({"workspace", "agent_capacity", "total_capacity"})
"""Gates that open as soon as another run ends."""
