"""The configuration that a project's repository brings, read at its base branch: for the API, and for the project's page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import TypedDict

from database import end_read
from models import Project
from tickets.lifecycle.schemas import ProjectJson
from tickets.team import projects
from tickets.team.projects import TrustDecision, TrustState
from web.api.resource import OPERATORS, Call, Resource
from workers.repository import configuration
from workers.repository.configuration import ConfigurationItem
from workers.repository.git import GitError

blueprint = Resource("project_trust", __name__)


class ConfigurationItemJson(TypedDict):
    kind: str
    text: str
    file: str


class RepositoryConfigurationJson(TypedDict):
    trust: str
    digest: str | None
    problem: str
    items: list[ConfigurationItemJson]


@dataclass(frozen=True, slots=True)
class ConfigurationView:
    """What a repository brings, and whether it is trusted. `problem` says why it cannot be read or trusted."""

    trust: TrustState
    digest: str | None = None
    problem: str = ""
    items: tuple[ConfigurationItem, ...] = ()


def load_configuration(project: Project) -> ConfigurationView:
    """Load what the repository brings at the commit of its base branch."""
    try:
        items = configuration.read_branch(Path(project.folder), project.base_branch)
    except (GitError, OSError) as error:
        return ConfigurationView(TrustState.NOTHING, problem=f"It cannot be read here: {error}"[:500])
    trust = projects.judge_trust(project, items.digest, is_empty=items.is_empty)
    return ConfigurationView(trust, items.digest, items.problem, tuple(items.list_items()))


@blueprint.reads("/projects/<slug>/configuration", rights=OPERATORS)
def read_configuration(call: Call, slug: str) -> RepositoryConfigurationJson:
    """Read the configuration for agent programs that a project's repository brings, and whether it is trusted."""
    project = projects.get_project(call.session, slug)
    end_read(call.session)
    view = load_configuration(project)
    items: list[ConfigurationItemJson] = [
        {"kind": item.kind, "text": item.text, "file": item.file} for item in view.items
    ]
    return {"trust": view.trust.value, "digest": view.digest, "problem": view.problem, "items": items}


@blueprint.writes("POST", "/projects/<slug>/trust", rights=OPERATORS)
def decide_trust(call: Call, slug: str, body: TrustDecision) -> ProjectJson:
    """Trust the configuration with this digest, so that runs honour it, or withdraw the trust with null."""
    return ProjectJson.read(projects.decide_trust(call.session, slug, body, call.actor))
