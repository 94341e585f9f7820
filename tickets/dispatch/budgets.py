"""Budgets: limits of runs, tickets and days, their use, and their enforcement.

Every run counts, regardless of its outcome and starter. A limit of the settings counts all runs, a limit of a profile
the runs with that profile, and both apply. A limit that is reached keeps the next run from starting (the gate `budget`
in `policy.py`). A limit that is exceeded stops the live run (`enforce_budgets`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids, seconds_between
from models import Profile, Run, RunState, TicketStatus, ago, format_clock, now
from protocol import StopCode
from settings import Budget, Settings
from tickets.lifecycle.transitions import stop_live_run, transition
from tickets.shared import events, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.canary import IS_ORDINARY_RUN
from tickets.shared.limits import BUDGETS
from tickets.shared.lookup import get_run, get_ticket

BUDGET = Actor.system("budget")


class BudgetScope(StrEnum):
    """Scope of a limit, in order of precedence: a day's limit ends by itself, the others do not."""

    RUN = "run"
    TICKET = "ticket"
    DAY = "day"


SCOPE_LABELS = {BudgetScope.RUN: "in this run", BudgetScope.TICKET: "on this ticket", BudgetScope.DAY: "today"}
UNITS = {"runs": "runs", "tokens": "tokens", "turns": "turns", "minutes": "minutes"}


@dataclass(frozen=True, slots=True)
class BudgetTotals:
    """Total usage of some runs, with the `minutes` of live ones up to now."""

    runs: int = 0
    tokens: int = 0
    cost_usd: float = 0.0
    turns: int = 0
    minutes: float = 0.0

    def __add__(self, other: BudgetTotals) -> BudgetTotals:
        return BudgetTotals(*(left + right for left, right in zip(astuple(self), astuple(other), strict=True)))


Ledger = Mapping[str, BudgetTotals]
"""Usage by profile, with runs without a profile (such as external ones) under ""."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits of the settings, and the time zone of the daily limits."""

    limits: Budget
    zone: ZoneInfo

    @classmethod
    def from_settings(cls, settings: Settings) -> Budgets:
        return cls(settings.budget, settings.zone)


NO_LIMITS = Budgets(Budget(), ZoneInfo("UTC"))


@dataclass(frozen=True, slots=True)
class Allowance:
    """One limit, which counts all runs when `profile` is None."""

    scope: BudgetScope
    measure: str
    limit: float
    profile: str | None = None


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The used amount of an allowance."""

    allowance: Allowance
    used: float

    @property
    def share(self) -> float:
        return self.used / self.allowance.limit

    def words(self) -> str:
        """Format the use: `$1.20 of $5.00 today with profile codex`."""
        allowance, measure = self.allowance, self.allowance.measure
        with_profile = f" with profile {allowance.profile}" if allowance.profile else ""
        return f"{format_amount(measure, self.used, allowance.limit)} {SCOPE_LABELS[allowance.scope]}{with_profile}"


def format_amount(measure: str, used_amount: float, limit: float) -> str:
    """Format used amount and limit: `$1.20 of $5.00`, `1,200 of 5,000 tokens`."""
    if measure == "cost_usd":
        return f"${used_amount:,.2f} of ${limit:,.2f}"
    return f"{_format_figure(used_amount)} of {_format_figure(limit)} {UNITS[measure]}"


def _format_figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


# ---------------------------------------------------------------------------------------------------------------- days


def find_day(moment: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the beginning and end of the local day of `moment`, in UTC. See `Budget` for clock changes."""
    today = moment.astimezone(zone).date()
    return _find_midnight(today, zone), _find_midnight(today + timedelta(days=1), zone)


def _find_midnight(day: date, zone: ZoneInfo) -> datetime:
    """Return the start of a local day: the first of two midnights (`fold=0`), or the clock change that skips midnight."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


# --------------------------------------------------------------------------------------------------------------- usage

SUMS = (
    func.count(),
    func.sum(Run.input_tokens + Run.output_tokens + Run.cache_write_tokens),
    func.sum(Run.cost_usd),
    func.sum(Run.turns),
    func.sum(seconds_between(Run.started, func.coalesce(Run.ended, ago()))),
)
"""In the order of `BudgetTotals`, with minutes in seconds."""
STARTED_BETWEEN = (Run.started >= bindparam("start"), Run.started < bindparam("end"), IS_ORDINARY_RUN)
TODAY = select(Run.profile, *SUMS).where(*STARTED_BETWEEN).group_by(Run.profile)
TODAY_BY_AGENT = select(Run.agent, *SUMS).where(*STARTED_BETWEEN).group_by(Run.agent)
ON_TICKETS = (
    select(Run.ticket_id, Run.profile, *SUMS)
    .where(in_ids(Run.ticket_id, "tickets"))
    .group_by(Run.ticket_id, Run.profile)
)
IN_RUN = select(Run.profile, *SUMS).where(Run.id == bindparam("run")).group_by(Run.profile)


def load_spending_today(session: Session, zone: ZoneInfo, moment: datetime | None = None) -> dict[str, BudgetTotals]:
    """Load the usage of the runs that began on the day of `moment` (default: now), through their index."""
    return _group_by_name(_fetch_day(session, TODAY, zone, moment))


def load_spending_today_by_agent(session: Session, zone: ZoneInfo) -> dict[str, BudgetTotals]:
    return _group_by_name(_fetch_day(session, TODAY_BY_AGENT, zone))


def _fetch_day(
    session: Session, query: Select[*tuple[Any, ...]], zone: ZoneInfo, moment: datetime | None = None
) -> Iterable[Any]:
    start, end = find_day(moment or now(), zone)
    return fetch_rows(session, query, start=start, end=end)


def load_ticket_spending(session: Session, ticket_ids: list[int]) -> dict[int, dict[str, BudgetTotals]]:
    """Load the usage of each ticket's runs in one query. Tickets without runs are absent."""
    spending: dict[int, dict[str, BudgetTotals]] = defaultdict(dict)
    for ticket_id, profile, *sums in fetch_rows(session, ON_TICKETS, tickets=ticket_ids):
        spending[ticket_id][profile or ""] = _build_totals(sums)
    return spending


def load_run_spending(session: Session, run: Run) -> dict[str, BudgetTotals]:
    return _group_by_name(fetch_rows(session, IN_RUN, run=run.id))


def _group_by_name(rows: Iterable[Any]) -> dict[str, BudgetTotals]:
    return {name or "": _build_totals(sums) for name, *sums in rows}


def _build_totals(sums: list[Any]) -> BudgetTotals:
    runs, tokens, cost, turns, seconds = sums
    return BudgetTotals(
        int(runs), int(tokens or 0), float(cost or 0), int(turns or 0), max(0.0, float(seconds or 0)) / 60
    )


def sum_ledger(ledger: Ledger) -> BudgetTotals:
    return sum(ledger.values(), BudgetTotals())


# ---------------------------------------------------------------------------------------------------------- allowances


def list_allowances(budgets: Budgets, profile: Profile | None) -> list[Allowance]:
    """List every limit that applies to a run with this profile."""
    general = [_build_allowance(name, limit) for name, limit in budgets.limits.model_dump(exclude_none=True).items()]
    own = profile.limits if profile else {}
    left = [_build_allowance(name, limit, profile) for name, limit in own.items() if name in BUDGETS and limit]
    return [*general, *left]


def _build_allowance(name: str, limit: float, profile: Profile | None = None) -> Allowance:
    scope, _, measure = name.partition("_") if name.startswith(("run_", "ticket_", "day_")) else ("run", "", name)
    return Allowance(BudgetScope(scope), measure, limit, profile.name if profile else None)


def compute_uses(allowed: Iterable[Allowance], ledgers: Mapping[BudgetScope, Ledger]) -> list[BudgetUse]:
    """Compute the use of each allowance whose scope has a ledger."""
    return [
        BudgetUse(allowance, _get_used_amount(allowance, ledgers[allowance.scope]))
        for allowance in allowed
        if allowance.scope in ledgers
    ]


def _get_used_amount(allowed: Allowance, ledger: Ledger) -> float:
    spending = ledger.get(allowed.profile, BudgetTotals()) if allowed.profile is not None else sum_ledger(ledger)
    return float(getattr(spending, allowed.measure))


def find_tightest(budget_uses: list[BudgetUse]) -> BudgetUse | None:
    """Return the allowance with the largest used share."""
    return max(budget_uses, key=lambda use: use.share, default=None)


# --------------------------------------------------------------------------------------------------------- enforcement


def enforce_budgets(session: Session, run: Run, budgets: Budgets) -> Run:
    """Stop a live run that has exceeded a limit, park its ticket with the reason, and return the current run.

    Called for each usage report and heartbeat. A ticket parked for its daily limit wakes when the next day begins. One
    that has used up its own budget waits for a person.
    """
    ticket = get_ticket(session, run.ticket_id)
    if run.stop_code or run.state is RunState.ENDED or ticket.status is not TicketStatus.IN_PROGRESS:
        return run
    use = find_exceeded(session, run, budgets)
    if use is None:
        return run
    reason = f"Over budget: {use.words()}."
    wake = _build_wake(use.allowance, run, budgets.zone)
    stop_live_run(session, run, StopCode.BUDGET, reason, BUDGET)
    facts = {"scope": use.allowance.scope.value, "measure": use.allowance.measure, "used": use.used}
    events.append(session, ticket.id, "budget_passed", {**facts, "limit": use.allowance.limit}, BUDGET, run.id)
    transition(session, ticket.id, "park", BUDGET, wake=wake, note=f"{reason} {_describe_wake(wake)}")
    return get_run(session, run.id)


def find_exceeded(session: Session, run: Run, budgets: Budgets) -> BudgetUse | None:
    """Find the limit that this run has exceeded, alone or together with others, preferring a lasting one to a daily one.

    Limits on the number of runs do not stop a live run.
    """
    profile = session.get(Profile, run.profile) if run.profile else None
    allowed = [allowance for allowance in list_allowances(budgets, profile) if allowance.measure != "runs"]
    over = [use for use in compute_uses(allowed, _load_ledgers(session, run, allowed, budgets.zone)) if use.share > 1]
    return min(over, key=lambda use: list(BudgetScope).index(use.allowance.scope), default=None)


def _load_ledgers(session: Session, run: Run, allowed: list[Allowance], zone: ZoneInfo) -> dict[BudgetScope, Ledger]:
    """Load only the ledgers that a limit needs, since most installations set few.

    The inbox's ticket is never done for good, so a ticket's budget does not count for it. Those of a day and a run do.
    """
    scopes = {allowance.scope for allowance in allowed}
    ledgers: dict[BudgetScope, Ledger] = {}
    if BudgetScope.RUN in scopes:
        ledgers[BudgetScope.RUN] = load_run_spending(session, run)
    if BudgetScope.TICKET in scopes and runtime_flags.get_inbox_ticket(session) != run.ticket_id:
        ledgers[BudgetScope.TICKET] = load_ticket_spending(session, [run.ticket_id]).get(run.ticket_id, {})
    if BudgetScope.DAY in scopes:
        ledgers[BudgetScope.DAY] = load_spending_today(session, zone, run.started)
    return ledgers


def _build_wake(allowed: Allowance, run: Run, zone: ZoneInfo) -> dict[str, Any]:
    if allowed.scope is BudgetScope.DAY:
        return {"kind": "time", "at": find_day(run.started, zone)[1]}
    return {"kind": "manual"}


def _describe_wake(wake: dict[str, Any]) -> str:
    if wake["kind"] == "time":
        return f"It continues when the next day starts, at {format_clock(wake['at'])}."
    return "Raise the limit or split the work, then wake it."
