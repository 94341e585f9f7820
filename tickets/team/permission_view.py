"""The permissions under which an agent works on a ticket, as people read them on the pages of ticket and run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from models import Agent, Profile, Project
from protocol import AGENT_PROGRAMS, DENIED_COMMANDS, PERMISSION_POLICIES

from . import installed_programs


@dataclass(frozen=True, slots=True)
class PermissionView:
    """A policy in words. `confinement` says how the host holds commands in the workspace."""

    title: str
    explanation: str
    confinement: str
    profile: str
    allowed: Sequence[str]
    denied: Sequence[str]
    network: str

    @property
    def summary(self) -> str:
        return f"{self.title}. {self.explanation} {self.confinement}"


def describe_permissions(
    session: Session, profile_name: str | None, project_id: int | None, host: str
) -> PermissionView | None:
    """Describe what a profile allows by now in a project, None where no policy applies."""
    profile = session.get(Profile, profile_name) if profile_name else None
    if profile is None or AGENT_PROGRAMS[profile.program].built_in:
        return None
    policy = PERMISSION_POLICIES[profile.permissions]
    project = session.get(Project, project_id) if project_id else None
    is_open = profile.permissions == "unrestricted" or (project is not None and project.network)
    return PermissionView(
        policy.title,
        policy.explanation,
        installed_programs.describe_confinement(session, host),
        profile.name,
        project.allowed_commands if project else (),
        [
            *(DENIED_COMMANDS if profile.permissions != "unrestricted" else ()),
            *(project.denied_commands if project else ()),
        ],
        "Commands may reach it" if is_open else "Commands cannot reach it",
    )


def describe_member_permissions(
    session: Session, name: str | None, project_id: int | None, host: str
) -> PermissionView | None:
    """Describe under which permissions a member of the team would work in a project."""
    agent = session.get(Agent, name) if name else None
    return describe_permissions(session, agent.profile if agent else None, project_id, host)
