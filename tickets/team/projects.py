"""Projects: the repository that tickets are worked in, its check command, and the number of concurrent runs."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from database import once_per_session
from models import DraftState, Gate, Landing, Project, ProjectDraft, now
from protocol import COMMAND_PATTERN, MAX_RUN_PORTS
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.canary import CANARY
from tickets.shared.errors import ConflictError, Invalid, NotFound, StaleProject
from tickets.shared.inputs import Body, Line, Name, Phase, Phases, Prose, Title
from tickets.shared.rights import Act

from . import agents

Argv = list[Line]
Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
MAX_COMMANDS = 64
MAX_COMMAND_CHARACTERS = 200


def _check_command(command: str) -> str:
    words = " ".join(command.split())
    if not re.fullmatch(COMMAND_PATTERN, words):
        raise ValueError(
            f"{command!r} is not a program with its first arguments, such as `npm run`: leave out quotes, wildcards and"
            " what a shell interprets"
        )
    return words


Command = Annotated[str, Field(max_length=MAX_COMMAND_CHARACTERS), AfterValidator(_check_command)]
Commands = Annotated[list[Command], Field(max_length=MAX_COMMANDS)]
DRAFT_LIFETIME = timedelta(days=1)


class NewProject(Body):
    """Settings of a new project.

    `folder` is absolute. Commands are argument lists, started without a shell. `landing` is the action of an approval.
    `copy_files` and `link_files` are paths within the folder that each workspace gets. `ports` is the number of ports
    that each run may use.
    `ticket_template` is what the description of a new ticket begins with.
    `phases` are what "Start" on a ticket begins with.
    `push_address` is where branches are pushed: no remote of the repository's configuration is used.
    Agents may run `allowed_commands` with any further arguments, outside their sandbox too, and never `denied_commands`;
    `network` lets their other commands reach it.
    """

    slug: Name
    name: Title
    folder: Line
    base_branch: Line = "main"
    clone_url: Line | None = None
    check_command: Argv | None = Field(None, min_length=1, max_length=64)
    setup_command: Argv | None = Field(None, min_length=1, max_length=64)
    teardown_command: Argv | None = Field(None, min_length=1, max_length=64)
    copy_files: list[Line] = Field(default=[], max_length=32)
    link_files: list[Line] = Field(default=[], max_length=32)
    ports: int = Field(4, ge=0, le=MAX_RUN_PORTS)
    allowed_commands: Commands = Field(default=[])
    denied_commands: Commands = Field(default=[])
    network: bool = False
    gate: Gate = Gate.PERSON
    landing: Landing = Landing.LEAVE
    push_address: Line | None = None
    sign_landings: bool = False
    ticket_template: Prose = ""
    phases: Phases = Field(default=[])
    max_runs: int = Field(2, ge=1, le=32)


REFUSED_BRANCH = re.compile(
    r"""^-|^/|/\Z|//|\.\Z|\.\.|@\{|^HEAD\Z   # an option, an empty component, a revision
    |(^|/)\.|\.lock(/|\Z)                       # names that git uses for its own files
    |[\x00-\x20\x7f~^:?*\[\\]                  # control characters and patterns
    """,
    re.VERBOSE,
)
"""The names that `git check-ref-format --branch` refuses."""

ADDRESS = re.compile(
    r"(?:https?://(?![^/]*@)|(?:ssh|git|file)://(?![^/]*:[^/]*@)|/|(?:\w[\w.-]*@)?\w[\w.-]*:(?!:|//))[^\s\x00-\x1f\x7f]+"
)
"""An address that git can push to, without a password or token: a URL, `user@host:path`, or an absolute path."""


class EditProject(Body):
    """Changes to a project. Fields left out stay as they are. Null clears an optional field."""

    version: int = Field(ge=1)
    name: Title | None = None
    folder: Line | None = None
    base_branch: Line | None = None
    clone_url: Line | None = None
    check_command: Argv | None = Field(None, min_length=1, max_length=64)
    setup_command: Argv | None = Field(None, min_length=1, max_length=64)
    teardown_command: Argv | None = Field(None, min_length=1, max_length=64)
    copy_files: list[Line] | None = Field(None, max_length=32)
    link_files: list[Line] | None = Field(None, max_length=32)
    ports: int | None = Field(None, ge=0, le=MAX_RUN_PORTS)
    allowed_commands: Commands | None = None
    denied_commands: Commands | None = None
    network: bool | None = None
    gate: Gate | None = None
    landing: Landing | None = None
    push_address: Line | None = None
    sign_landings: bool | None = None
    ticket_template: Prose | None = None
    phases: Phases | None = None
    max_runs: int | None = Field(None, ge=1, le=32)
    archived: bool | None = None


MAY_BE_NULL = ("clone_url", "push_address", "check_command", "setup_command", "teardown_command")


def add_project(session: Session, body: NewProject, actor: Actor, branches: Collection[str] | None = None) -> Project:
    """Add a project whose base is one of the `branches` of its repository, None where that could not be read here.

    Raises `Invalid` for an unsafe folder or a bad branch, `ConflictError` for a slug in use.
    """
    rights.require(actor, Act.CHANGE_PROJECTS)
    _require_safe(body)
    _require_address(body.push_address)
    _resolve_agents(session, body.phases)
    _require_branch(body.folder, body.base_branch, branches)
    if session.scalar(select(Project.id).where(Project.slug == body.slug)) is not None:
        raise ConflictError(f"There is already a project named {body.slug}.", field="slug", slug=body.slug)
    project = Project(**body.model_dump())
    session.add(project)
    session.flush()
    events.append(session, None, "project_added", {"project": project.slug, "folder": project.folder}, actor)
    return project


def edit_project(
    session: Session, slug: str, body: EditProject, actor: Actor, branches: Collection[str] | None = None
) -> Project:
    """Change a project against the version that was read, without effect on runs that have started.

    A new base, or that of a new folder, is one of the `branches` as in `add_project`. Raises `NotFound`, `Invalid`, `StaleProject`.
    """
    rights.require(actor, Act.CHANGE_PROJECTS)
    _require_safe(body)
    _resolve_agents(session, body.phases or [])
    values = body.model_dump()
    fields = {name: values[name] for name in body.model_fields_set if name != "version"}
    empty = [name for name, value in fields.items() if value is None and name not in MAY_BE_NULL]
    if empty:
        raise Invalid("These fields cannot be empty.", fields=dict.fromkeys(empty, "must not be null"))
    project = get_project(session, slug)
    before = {name: getattr(project, name) for name in fields}
    place, base = body.folder or project.folder, body.base_branch or project.base_branch
    if (place, base) != (project.folder, project.base_branch):  # a base that has vanished must not stop other changes
        _require_branch(place, base, branches)
    if body.push_address != before.get("push_address"):  # one from before addresses were checked may stay
        _require_address(body.push_address)
    edited_project = session.scalar(
        update(Project)
        .where(Project.slug == slug, Project.version == body.version)
        .values(version=Project.version + 1, **fields)
        .returning(Project)
        .execution_options(populate_existing=True, synchronize_session=False)
    )
    if edited_project is None:
        raise StaleProject(project=slug)
    difference = {name: [before[name], value] for name, value in fields.items() if before[name] != value}
    events.append(session, None, "project_edited", {"project": slug, "changes": difference}, actor)
    return edited_project


def _require_safe(body: NewProject | EditProject) -> None:
    if body.folder is not None and (not body.folder.startswith("/") or ".." in body.folder.split("/")):
        raise Invalid("The folder of a project must be an absolute path without '..'.", field="folder")
    if body.base_branch is not None and REFUSED_BRANCH.search(body.base_branch):
        raise Invalid("This is not a valid git branch name.", field="base_branch")
    for field, names in (("copy_files", body.copy_files), ("link_files", body.link_files)):
        for name in names or []:
            if name.startswith(("/", "-")) or ".." in name.split("/"):
                message = "Copied and linked files must be relative paths within the project's folder."
                raise Invalid(message, field=field, value=name)


def _resolve_agents(session: Session, phases: Phases) -> None:
    """Replace the aliases of agents by their names. Raises `Invalid` for an agent who is not in the team."""
    try:
        for phase in phases:
            phase.agent = agents.resolve_name(session, phase.agent) if phase.agent else None
    except Invalid as refusal:
        raise Invalid(refusal.message, field="phases") from None


def _require_branch(folder: str, branch: str, branches: Collection[str] | None) -> None:
    if branches is None or branch in branches:
        return
    if not branches:
        message = f"{folder} is not a git repository with commits: run git init in it, and commit what is there."
        raise Invalid(message, field="folder")
    message = f"The repository has no branch {branch}. Make it with git branch, or choose another."
    raise Invalid(message, field="base_branch")


def _require_address(address: str | None) -> None:
    if address and not ADDRESS.fullmatch(address):
        raise Invalid(
            "The push address must be a URL without password or token, user@host:path, or an absolute path. git finds"
            " your log-in through its credential helper.",
            field="push_address",
        )


def get_project(session: Session, slug: str) -> Project:
    project = session.scalar(select(Project).where(Project.slug == slug))
    if project is None:
        raise NotFound(f"There is no project named {slug!r}.", field="project")
    return project


def list_phases(session: Session, project_id: int | None) -> list[Phase]:
    """List the phases that the tickets of a project usually go through. Empty without a project or such phases."""
    project = next((project for project in list_all_projects(session) if project.id == project_id), None)
    return [Phase.model_validate(phase) for phase in project.phases] if project else []


PROJECTS_BY_NAME = select(Project).order_by(Project.name)


@once_per_session
def list_all_projects(session: Session) -> list[Project]:
    """List all projects, including archived ones."""
    return list(session.scalars(PROJECTS_BY_NAME))


def list_projects(session: Session) -> list[Project]:
    """List the projects that are not archived, without the canary's."""
    return [project for project in list_all_projects(session) if not project.archived and project.slug != CANARY]


# --------------------------------------------------------------------------------------------------------------- trust


class TrustState(StrEnum):
    """Trust of a person in the configuration that a repository brings, as it is now."""

    NOTHING = "nothing"
    NEW = "new"
    CHANGED = "changed"
    TRUSTED = "trusted"


class TrustDecision(Body):
    """The digest of the configuration that a person has read and trusts. Null withdraws the trust."""

    digest: Digest | None


def judge_trust(project: Project | None, digest: str | None, *, is_empty: bool) -> TrustState:
    """Judge a configuration by its digest, which is None where it cannot be trusted."""
    if is_empty:
        return TrustState.NOTHING
    trusted_digest = project.trusted_digest if project else None
    if digest is not None and digest == trusted_digest:
        return TrustState.TRUSTED
    return TrustState.CHANGED if trusted_digest else TrustState.NEW


def decide_trust(session: Session, slug: str, decision: TrustDecision, actor: Actor) -> Project:
    """Trust the configuration of a project's repository with this digest, or withdraw the trust.

    A digest of an earlier state does no harm: it is that of no workspace.
    """
    rights.require(actor, Act.TRUST_REPOSITORY)
    project = get_project(session, slug)
    if project.trusted_digest != decision.digest:
        project.trusted_digest = decision.digest
        event = "project_trusted" if decision.digest else "project_trust_withdrawn"
        events.append(session, None, event, {"project": slug, "digest": decision.digest}, actor)
    return project


# -------------------------------------------------------------------------------------------------------------- drafts


class NewDraft(Body):
    """A folder or an address to clone from, as entered by a person."""

    source: Line


@dataclass(frozen=True, slots=True)
class DraftResult:
    """Result of examining a draft's source: the values for the form, or the reason why there are none."""

    facts: dict[str, Any] | None
    message: str


def request_draft(session: Session, body: NewDraft, actor: Actor) -> ProjectDraft:
    """Request an examination of a possible project by a job, which answers within seconds, or after the clone."""
    rights.require(actor, Act.CHANGE_PROJECTS)
    clone = "://" in body.source or body.source.startswith("git@")
    if not clone and (not body.source.startswith("/") or ".." in body.source.split("/")):
        raise Invalid(
            "Give an absolute path such as /home/me/code or ~/code, or an address to clone from.", field="source"
        )
    session.execute(delete(ProjectDraft).where(ProjectDraft.created < now() - DRAFT_LIFETIME))
    draft = ProjectDraft(source=body.source, clone=clone, author=actor.name)
    session.add(draft)
    session.flush()
    events.append(session, None, "project_wanted", {"draft": draft.id, "clone": clone}, actor)
    return draft


def get_draft(session: Session, number: int) -> ProjectDraft:
    row = session.get(ProjectDraft, number)
    if row is None:
        raise NotFound("This draft has expired. Request it again.", draft=number)
    return row


def list_open_drafts(session: Session, limit: int = 20) -> list[ProjectDraft]:
    """List the drafts that have not been examined, oldest first."""
    query = select(ProjectDraft).where(ProjectDraft.state == DraftState.ASKED)
    return list(session.scalars(query.order_by(ProjectDraft.id).limit(limit)))


def record_draft_result(session: Session, number: int, answer: DraftResult) -> None:
    """Store the result of a draft, unless the draft was deleted or already has a result."""
    state = DraftState.READY if answer.facts else DraftState.FAILED
    session.execute(
        update(ProjectDraft)
        .where(ProjectDraft.id == number, ProjectDraft.state == DraftState.ASKED)
        .values(state=state, facts=answer.facts, message=answer.message[:2000], answered=now())
    )
