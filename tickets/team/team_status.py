"""Who may be given work, and what each of them is good for right now, in a few words."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Agent, AgentKind, format_clock, now

from . import agents, installed_programs, profiles
from .installed_programs import Judgement

BEST = ("ok", "warning", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Member:
    """`words` say whether it is found, logged in and free; `fit` whether it could begin at once."""

    name: str
    title: str
    words: str
    fit: bool


def members(session: Session) -> list[Member]:
    """The team; who could begin at once comes first."""
    busy, judged = agents.load(session), programs_by_profile(session)
    found = [_member(row, busy.get(row.name, 0), judged.get(row.profile or "")) for row in agents.members(session)]
    return sorted(found, key=lambda member: not member.fit)


def programs_by_profile(session: Session) -> dict[str, Judgement]:
    """What is known of the program of each profile; of several machines, that of the best one."""
    seen = sorted(
        (installed_programs.judge(row) for row in installed_programs.known(session)),
        key=lambda each: -BEST.index(each.status),
    )
    by_name = {each.name: each for each in seen}
    return {each.name: by_name[each.program] for each in profiles.profiles(session) if each.program in by_name}


def _member(row: Agent, busy: int, program: Judgement | None) -> Member:
    why = _hindrance(row, program)
    if why is None:
        free = busy < row.capacity
        return Member(row.name, row.title, f"{'free' if free else 'busy'}, {busy} of {row.capacity} at work", free)
    return Member(row.name, row.title, why, row.kind is AgentKind.HUMAN)


def _hindrance(row: Agent, program: Judgement | None) -> str | None:
    """Why Mission Control does not start it; None for one that it does."""
    if row.kind is AgentKind.HUMAN:
        return "a person"
    if not row.runnable or row.profile is None:
        return "not started by Mission Control"
    if row.cooldown_until and row.cooldown_until > now():
        return f"rests until {format_clock(row.cooldown_until)}"
    return _fault(program) if program is not None and program.status != "ok" else None


def _fault(program: Judgement) -> str:
    if program.status != "warning":
        return f"{program.name} is not found"
    return "not logged in" if "not logged in" in program.detail else f"{program.name} does not work"
