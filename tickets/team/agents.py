"""Members of the team: people and agent programs that may be given work."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from sqlalchemy import bindparam, exists, func, or_, select, update
from sqlalchemy.orm import Session

from database import fetch_rows, once_per_session
from models import Agent, AgentKind, Profile, RequestState, Run, RunRequest, RunState, format_timestamp
from protocol import AGENT_PROGRAMS
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY, IS_ORDINARY_RUN
from tickets.shared.errors import ConflictError, Invalid, NotFound
from tickets.shared.inputs import Body, Name
from tickets.shared.rights import Act

from .profiles import MAX_REASON_CHARACTERS, apply_changes, sent_fields

MAX_MEMBERS = 8
Members = Annotated[list[Name], Field(max_length=MAX_MEMBERS)]
"""The agents of a council, each of which reviews."""


class NewAgent(Body):
    name: Name
    kind: AgentKind = AgentKind.AGENT
    title: str = Field("", max_length=200)
    aliases: list[Name] = Field(default=[], max_length=16)
    runnable: bool = False
    profile: Name | None = None
    capacity: int = Field(1, ge=1, le=64)
    members: Members = Field(default=[])


class EditAgent(Body):
    """Changes to a member of the team. Fields left out stay as they are. Null clears an optional field or ends a cooldown."""

    title: str | None = Field(None, max_length=200)
    aliases: list[Name] | None = Field(None, max_length=16)
    runnable: bool | None = None
    profile: Name | None = None
    capacity: int | None = Field(None, ge=1, le=64)
    members: Members | None = None
    cooldown_until: None = None


NAMED = select(Agent.name).where(Agent.name == bindparam("name"), Agent.name != CANARY)


def resolve_name(session: Session, name: str) -> str:
    """Resolve a name or alias to the canonical name of a team member. Raises `Invalid` with the list of members."""
    if fetch_rows(session, NAMED, name=name).scalar() is not None:
        return name
    members = list_members(session)
    for member in members:
        if name in member.aliases:
            return member.name
    raise Invalid(
        f"There is no member of the team named {name!r}.",
        field="assigned_to",
        team=sorted(member.name for member in members),
    )


def list_runnable(session: Session) -> set[str]:
    """Return the names of agents that the dispatcher may start, which excludes people."""
    return {member.name for member in list_members(session) if member.runnable and member.profile is not None}


def find_person(session: Session, name: str) -> Agent | None:
    """Return the person of the team with this name or alias in any case, or None."""
    folded_name = name.casefold()
    people = (member for member in list_members(session) if member.kind is AgentKind.HUMAN)
    return next((p for p in people if folded_name in {alias.casefold() for alias in (p.name, *p.aliases)}), None)


ALL_MEMBERS = select(Agent).order_by(Agent.name)


@once_per_session
def list_all_members(session: Session) -> list[Agent]:
    """List the team with the canary's agent."""
    return list(session.scalars(ALL_MEMBERS))


def list_members(session: Session) -> list[Agent]:
    return [member for member in list_all_members(session) if member.name != CANARY]


def get_agent(session: Session, name: str) -> Agent:
    agent = session.get(Agent, name)
    if agent is None:
        raise NotFound(f"There is no member of the team named {name!r}.", field="name")
    return agent


def add_agent(session: Session, body: NewAgent, actor: Actor) -> Agent:
    """Add a member to the team. Raises `ConflictError` for a name in use, `Invalid` for one that cannot run as specified."""
    rights.require(actor, Act.ADMINISTER)
    agent = Agent(**body.model_dump())
    _validate_agent(session, agent, others=list_members(session))
    session.add(agent)
    events.append(session, None, "agent_added", {"agent": body.name, "kind": body.kind.value}, actor)
    return agent


def edit_agent(session: Session, name: str, body: EditAgent, actor: Actor) -> Agent:
    """Change a member of the team, or end its cooldown. Raises `NotFound`, `ConflictError`, `Invalid`."""
    rights.require(actor, Act.ADMINISTER)
    agent = get_agent(session, name)
    fields = sent_fields(body, may_be_null=("profile", "cooldown_until"))
    if "cooldown_until" in fields:
        fields["cooldown_reason"] = None
    names = ("aliases", "runnable", "profile", "members")
    values = {name: getattr(agent, name) for name in names} | fields
    others = [member for member in list_members(session) if member.name != name]
    _validate_agent(session, Agent(name=name, kind=agent.kind, **values), others)
    apply_changes(session, agent, fields, "agent_edited", {"agent": name}, actor)
    return agent


def start_cooldown(session: Session, name: str, until: datetime, reason: str, actor: Actor) -> None:
    """Give an agent no further ticket until a time, since its service would refuse all its tickets.

    A longer cooldown is kept. Does nothing for an agent outside the team.
    """
    is_earlier = or_(Agent.cooldown_until.is_(None), Agent.cooldown_until < until)
    values = {"cooldown_until": until, "cooldown_reason": reason[:MAX_REASON_CHARACTERS]}
    statement = update(Agent).where(Agent.name == name, is_earlier).values(**values).returning(Agent.name)
    if session.scalar(statement) is not None:
        payload = {"agent": name, "until": format_timestamp(until), "reason": values["cooldown_reason"]}
        events.append(session, None, "agent_cooled", payload, actor)


def _validate_agent(session: Session, agent: Agent, others: list[Agent]) -> None:
    used_names = {name for other in others for name in (other.name, *other.aliases)}
    clashes = sorted({agent.name, *agent.aliases} & used_names)
    if clashes:
        field = "name" if agent.name in clashes else "aliases"
        raise ConflictError(f"There is already a member of the team named {clashes[0]}.", field=field, name=clashes[0])
    if agent.profile is not None and session.get(Profile, agent.profile) is None:
        raise Invalid(f"There is no profile named {agent.profile!r}.", field="profile")
    if agent.runnable and (agent.profile is None or agent.kind is AgentKind.HUMAN):
        raise Invalid("A runnable member must be an agent with a profile.", field="runnable")
    if agent.members:
        _require_council(agent, others)


def _require_council(agent: Agent, others: list[Agent]) -> None:
    """Raise `Invalid` unless the agent is a council of runnable agents, each named once."""
    if agent.kind is not AgentKind.COUNCIL:
        raise Invalid("Only a council has members. Leave them empty, or add a council.", field="members")
    runnable = {other.name for other in others if other.runnable and other.kind is not AgentKind.COUNCIL}
    if unfit := [name for name in agent.members if name not in runnable]:
        raise Invalid(f"{unfit[0]} is no runnable agent, so it cannot be a member of a council.", field="members")
    if len(set(agent.members)) < len(agent.members):
        raise Invalid("A council names each member once.", field="members")


def list_reviewers(session: Session) -> list[Agent]:
    """List the members of the team that can review work: runnable agents, and councils with members."""
    return [agent for agent in list_members(session) if agent.members or (agent.runnable and agent.profile)]


def require_reviewer(session: Session, name: str) -> str:
    """Resolve the name of a reviewer. Raises `Invalid` for one that can review nothing."""
    names = [agent.name for agent in list_reviewers(session) if name in (agent.name, *agent.aliases)]
    if not names:
        raise Invalid(f"{name} cannot review. Choose a runnable agent, or a council with members.", field="reviewer")
    return names[0]


HAS_ANSWER = (
    exists()
    .where(RunRequest.run_id == Run.id, RunRequest.state == RequestState.ANSWERED)
    .where(RunRequest.answered > Run.slot_released)
)
LIVE_RUN_COUNTS = (
    select(Run.agent, func.count())
    .where(
        Run.state != RunState.ENDED, lookup.IS_DISPATCHED, IS_ORDINARY_RUN, or_(Run.slot_released.is_(None), HAS_ANSWER)
    )
    .group_by(Run.agent)
)
"""Without the runs that gave their slot back (`tickets/dispatch/slots.py`), unless their answer waits for a slot."""


@once_per_session
def count_live_runs(session: Session) -> dict[str, int]:
    """Count the live runs of each agent that use its capacity. Agents without one are absent."""
    return {agent: count for agent, count in fetch_rows(session, LIVE_RUN_COUNTS)}  # noqa: C416 - rows are not pairs to mypy


def seed_team(session: Session, installed: dict[str, bool]) -> None:
    """Create the team of a fresh installation: a person, the script agent, and each installed agent program."""
    if session.get(Agent, "operator") is None:
        session.add(Agent(name="operator", kind=AgentKind.HUMAN, title="Operator"))
    for name, program in AGENT_PROGRAMS.items():
        if session.get(Profile, name) is None and installed.get(name, False):
            title = f"{program.title} agent" if program.built_in else program.title
            session.add(Profile(name=name, program=name, env_allow=list(program.variables)))
            session.flush()
            session.add(Agent(name=name, kind=AgentKind.AGENT, title=title, runnable=True, profile=name, capacity=2))
    session.flush()
