"""Profiles: the settings with which agent programs are run."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Agent, Profile, RunMode, format_timestamp
from protocol import AGENT_PROGRAMS, PERMISSION_POLICIES, Permissions
from tickets.shared import events, limits, rights
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY
from tickets.shared.errors import ConflictError, Invalid, NotFound
from tickets.shared.inputs import Body, Line, Name, Words
from tickets.shared.rights import Act

if TYPE_CHECKING:
    ProgramName = str
else:
    ProgramName = Literal[tuple(AGENT_PROGRAMS)]


POLICIES_TEXT = " ".join(
    f"`{name}` ({policy.title}): {policy.explanation}" for name, policy in PERMISSION_POLICIES.items()
)
Policy = Annotated[Permissions, Field(description=POLICIES_TEXT)]
MAX_REASON_CHARACTERS = 200


def _refuse_own_variable(name: str) -> str:
    if name.startswith("MC_"):
        raise ValueError("variables of Mission Control itself are never passed on")
    return name


Variable = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=128), AfterValidator(_refuse_own_variable)
]


Instruction = Annotated[Words, StringConstraints(max_length=2000)]
OwnLimits = Annotated[dict[str, float], AfterValidator(limits.check_limits)]


class NewProfile(Body):
    """Settings for running a program.

    `instruction` replaces the second line of the prompt, which says how the agent works and reports.
    With `plan_first` its agents make a plan before they change anything, unless the ticket says otherwise.
    `limits` may set the limits of one run (seconds, memory_mb), and budgets for this profile's runs: tokens, cost_usd,
    turns and minutes of one run, and with the prefix `ticket_` or `day_` also runs. `own_configuration` lets its runs
    take what the operator has configured for the program in their home folder: MCP servers, skills, instructions.
    """

    name: Name
    program: ProgramName
    provider: Line | None = None
    model: Line | None = None
    context_size: int | None = Field(None, ge=1)
    effort: Line | None = None
    mode: Literal["headless", "tui"] = "headless"
    permissions: Policy = "workspace"
    plan_first: bool = False
    argv: list[Line] = Field(default=[], max_length=32)
    env_allow: list[Variable] = Field(default=[], max_length=64)
    limits: OwnLimits = Field(default={})
    own_configuration: bool = True
    instruction: Instruction | None = None


class EditProfile(Body):
    """Changes to a profile. Fields left out stay as they are. Null clears an optional field."""

    program: ProgramName | None = None
    provider: Line | None = None
    model: Line | None = None
    context_size: int | None = Field(None, ge=1)
    effort: Line | None = None
    mode: Literal["headless", "tui"] | None = None
    permissions: Policy | None = None
    plan_first: bool | None = None
    argv: list[Line] | None = Field(None, max_length=32)
    env_allow: list[Variable] | None = Field(None, max_length=64)
    limits: OwnLimits | None = None
    own_configuration: bool | None = None
    instruction: Instruction | None = None


PROFILES = select(Profile).order_by(Profile.name)


def list_all_profiles(session: Session) -> list[Profile]:
    """List the profiles with the canary's."""
    return list(session.scalars(PROFILES))


def list_profiles(session: Session) -> list[Profile]:
    return [profile for profile in list_all_profiles(session) if profile.name != CANARY]


def get_profile(session: Session, name: str) -> Profile:
    profile = session.get(Profile, name)
    if profile is None:
        raise NotFound(f"There is no profile named {name!r}.", field="profile")
    return profile


def add_profile(session: Session, body: NewProfile, actor: Actor) -> Profile:
    rights.require(actor, Act.CHANGE_PROFILES)
    if session.get(Profile, body.name) is not None:
        raise ConflictError(f"There is already a profile named {body.name}.", field="name", name=body.name)
    profile = Profile(**body.model_dump(exclude={"mode"}), mode=RunMode(body.mode))
    session.add(profile)
    events.append(session, None, "profile_added", {"profile": body.name, "program": body.program}, actor)
    return profile


def edit_profile(session: Session, name: str, body: EditProfile, actor: Actor) -> Profile:
    """Change a profile from the next run on. Raises `NotFound`, `Invalid`."""
    rights.require(actor, Act.CHANGE_PROFILES)
    profile = get_profile(session, name)
    fields = sent_fields(body, may_be_null=("provider", "model", "context_size", "effort", "instruction"))
    if "mode" in fields:
        fields["mode"] = RunMode(fields["mode"])
    apply_changes(session, profile, fields, "profile_edited", {"profile": name}, actor)
    return profile


def sent_fields(body: Body, may_be_null: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields that were sent. Raises `Invalid` for null in a required field."""
    fields = {name: getattr(body, name) for name in body.model_fields_set}
    empty = [name for name, value in fields.items() if value is None and name not in may_be_null]
    if empty:
        raise Invalid("These fields cannot be empty.", fields=dict.fromkeys(empty, "must not be null"))
    return fields


def apply_changes(
    session: Session, row: Agent | Profile, fields: dict[str, Any], event: str, subject: dict[str, str], actor: Actor
) -> None:
    """Write the changed fields, with one event that records old and new values."""
    before = {name: getattr(row, name) for name in fields}
    changes = {name: value for name, value in fields.items() if value != before[name]}
    if not changes:
        return
    for name, value in changes.items():
        setattr(row, name, value)
    difference = {name: [_to_json(before[name]), _to_json(value)] for name, value in changes.items()}
    events.append(session, None, event, {**subject, "changes": difference}, actor)


def _to_json(value: Any) -> Any:
    return format_timestamp(value) if isinstance(value, datetime) else value
