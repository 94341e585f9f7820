"""The configuration that a run takes beside its profile: the operator's own, and what the repository brings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from models import Profile, Project
from protocol import AGENT_PROGRAMS
from settings import Settings
from tickets.runs.run_configuration import RunConfiguration
from tickets.team import projects
from tickets.team.projects import TrustState
from workers.agents import load_descriptor
from workers.agents.own_configuration import OwnConfiguration
from workers.contract.spec import RepositoryTrust
from workers.repository import configuration
from workers.repository.workspace import Workspace

VARIABLE_NAME = re.compile(r"(?!MC_)[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class ConfigurationChoice:
    """The decision for one run. `record` is stored with it for its page, None for a program that reads no configuration."""

    own: OwnConfiguration = field(default_factory=OwnConfiguration)
    own_home: Path | None = None
    repository: RepositoryTrust = "none"
    repository_digest: str | None = None
    record: RunConfiguration | None = None

    @property
    def variables(self) -> list[str]:
        """The environment variables to which the operator's own configuration refers, and which the run is given."""
        return [name for name in self.own.variables if VARIABLE_NAME.fullmatch(name)]


def choose_configuration(
    settings: Settings, profile: Profile, project: Project | None, workspace: Workspace
) -> ConfigurationChoice:
    """Choose the configuration of a run by its profile, and by what its workspace contains now."""
    program = AGENT_PROGRAMS.get(profile.program)
    if program is None or program.built_in:
        return ConfigurationChoice()
    home = _find_home(settings) if profile.own_configuration else None
    descriptor = load_descriptor(profile.program)
    own = descriptor.read_own_configuration(home, workspace.repository) if home else OwnConfiguration()
    repository_items = configuration.read_folder(workspace.path)
    trust = projects.judge_trust(project, repository_items.digest, is_empty=repository_items.is_empty)
    record = RunConfiguration(
        own=tuple(own.describe(home)) if home else (),
        left_out=own.left_out,
        is_off=not profile.own_configuration,
        trust=trust,
        brought=tuple(f"{item.kind}: {item.text}" for item in repository_items.list_items()),
        problem=repository_items.problem,
    )
    return ConfigurationChoice(own, home, REPOSITORY_TRUST[trust], repository_items.digest or "", record)


def _find_home(settings: Settings) -> Path | None:
    home = settings.ambient.environment.get("HOME")
    return Path(home) if home else None


REPOSITORY_TRUST: dict[TrustState, RepositoryTrust] = {
    TrustState.NOTHING: "none",
    TrustState.NEW: "untrusted",
    TrustState.CHANGED: "untrusted",
    TrustState.TRUSTED: "trusted",
}
