"""Availability of the team members for new work, in a few words."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Agent, AgentKind, format_clock, now

from . import agents, installed_programs, profiles
from .installed_programs import ProgramStatus

STATUS_ORDER = ("ok", "warning", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the team. `words` describe its availability, `fit` is true when it could begin at once.

    `fault` says why the program of an agent that Mission Control starts does not work, if it does not.
    """

    name: str
    title: str
    words: str
    fit: bool
    fault: str | None = None


def list_team(session: Session) -> list[Member]:
    """List the team, with the available members first."""
    busy, statuses = agents.count_live_runs(session), load_program_statuses(session)
    team = [
        _build_member(row, busy.get(row.name, 0), statuses.get(row.profile or ""))
        for row in agents.list_members(session)
    ]
    return sorted(team, key=lambda member: not member.fit)


def load_program_statuses(session: Session) -> dict[str, ProgramStatus]:
    """Load the status of each profile's program, from the best of several hosts."""
    statuses = sorted(
        (installed_programs.assess_program(row) for row in installed_programs.list_programs(session)),
        key=lambda each: -STATUS_ORDER.index(each.status),
    )
    by_name = {entry.name: entry for entry in statuses}
    return {entry.name: by_name[entry.program] for entry in profiles.list_profiles(session) if entry.program in by_name}


def _build_member(row: Agent, busy: int, program: ProgramStatus | None) -> Member:
    reason = _explain_unavailable(row, program)
    if reason is None:
        free = busy < row.capacity
        return Member(row.name, row.title, f"{'available' if free else 'busy'}, {busy} of {row.capacity} busy", free)
    return Member(row.name, row.title, reason, row.kind is AgentKind.HUMAN, _find_fault(row, program))


def _explain_unavailable(row: Agent, program: ProgramStatus | None) -> str | None:
    """Explain why Mission Control does not start an agent, or return None when it does."""
    if row.kind is AgentKind.HUMAN:
        return "a person"
    if not row.runnable or row.profile is None:
        return "not started by Mission Control"
    if row.cooldown_until and row.cooldown_until > now():
        return f"cooling down until {format_clock(row.cooldown_until)}"
    return _find_fault(row, program)


def _find_fault(row: Agent, program: ProgramStatus | None) -> str | None:
    if program is None or program.status == "ok" or not row.runnable:
        return None
    return _describe_fault(program)


def _describe_fault(program: ProgramStatus) -> str:
    if program.status != "warning":
        return f"{program.name} is not found"
    return "not logged in" if "not logged in" in program.detail else f"{program.name} does not work"
