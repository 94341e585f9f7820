"""The team: the one list of who may own a ticket, who is runnable, and with which profile."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from sqlalchemy import func, select, true
from sqlalchemy.orm import Session

from models import Agent, AgentKind, Profile, Run, RunMode, RunState

from . import events
from .actors import Actor
from .errors import Conflict, Invalid
from .facts import Body, Line, Name

Program = Literal["script", "claude", "codex"]
Permission = Literal["default", "accept_edits", "bypass", "ask"]


class NewProfile(Body):
    """How a program is run. `limits` may set any of the run limits (seconds, turns, tokens, cost_usd) for this profile."""

    name: Name
    program: Program
    provider: Line | None = None
    model: Line | None = None
    context_size: int | None = Field(None, ge=1)
    effort: Line | None = None
    mode: Literal["headless", "tui"] = "headless"
    permissions: Permission = "accept_edits"
    argv: list[Line] = Field(default=[], max_length=32)
    env_allow: list[str] = Field(default=[], max_length=64)
    limits: dict[str, float] = Field(default={})


class NewAgent(Body):
    name: Name
    kind: AgentKind = AgentKind.AGENT
    title: str = Field("", max_length=200)
    aliases: list[Name] = Field(default=[], max_length=16)
    runnable: bool = False
    profile: Name | None = None
    capacity: int = Field(1, ge=1, le=64)


def resolve(session: Session, name: str) -> str:
    """The canonical name of a member of the team, given that or an alias; `Invalid` names who there is."""
    if session.get(Agent, name) is not None:
        return name
    members = session.scalars(select(Agent)).all()
    for member in members:
        if name in member.aliases:
            return member.name
    raise Invalid(
        f"nobody on the team is called {name!r}", field="assigned_to", team=sorted(member.name for member in members)
    )


def runnable(session: Session) -> set[str]:
    """The owners that are programs which the dispatcher may start; a person never is."""
    return set(session.scalars(select(Agent.name).where(Agent.runnable == true(), Agent.profile.is_not(None))))


def members(session: Session) -> list[Agent]:
    return list(session.scalars(select(Agent).order_by(Agent.name)))


def profiles(session: Session) -> list[Profile]:
    return list(session.scalars(select(Profile).order_by(Profile.name)))


def add_profile(session: Session, body: NewProfile, actor: Actor) -> Profile:
    if session.get(Profile, body.name) is not None:
        raise Conflict(f"there is already a profile named {body.name}", name=body.name)
    profile = Profile(**body.model_dump(exclude={"mode"}), mode=RunMode(body.mode))
    session.add(profile)
    events.append(session, None, "profile_added", {"profile": body.name, "program": body.program}, actor)
    return profile


def add_agent(session: Session, body: NewAgent, actor: Actor) -> Agent:
    if session.get(Agent, body.name) is not None:
        raise Conflict(f"there is already a member of the team named {body.name}", name=body.name)
    if body.profile is not None and session.get(Profile, body.profile) is None:
        raise Invalid(f"there is no profile named {body.profile!r}", field="profile")
    if body.runnable and (body.profile is None or body.kind is AgentKind.HUMAN):
        raise Invalid("a runnable member is an agent with a profile", field="runnable")
    agent = Agent(**body.model_dump())
    session.add(agent)
    events.append(session, None, "agent_added", {"agent": body.name, "kind": body.kind.value}, actor)
    return agent


def load(session: Session) -> dict[str, int]:
    """Live runs by agent; agents without one are absent."""
    query = (
        select(Run.agent, func.count())
        .where(Run.state != RunState.ENDED, Run.mode != RunMode.EXTERNAL)
        .group_by(Run.agent)
    )
    return {agent: count for agent, count in session.execute(query)}  # noqa: C416 - rows are not pairs to mypy


def seed(session: Session, found: dict[str, bool]) -> None:
    """The team of a fresh installation: a person, the script agent, and each agent program that was found."""
    offered: tuple[tuple[str, dict[str, Any]], ...] = (
        ("script", {"program": "script", "title": "Script agent"}),
        ("claude", {"program": "claude", "title": "Claude Code", "permissions": "accept_edits"}),
        ("codex", {"program": "codex", "title": "Codex", "permissions": "accept_edits"}),
    )
    if session.get(Agent, "operator") is None:
        session.add(Agent(name="operator", kind=AgentKind.HUMAN, title="Operator"))
    for name, facts in offered:
        if session.get(Profile, name) is None and found.get(name, False):
            title = facts.pop("title")
            session.add(Profile(name=name, **facts))
            session.flush()
            session.add(Agent(name=name, kind=AgentKind.AGENT, title=title, runnable=True, profile=name, capacity=2))
    session.flush()
