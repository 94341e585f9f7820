"""The spec of a run: environment, limits, conversation, configuration folder and secrets."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from models import AgentSession, Profile, Project, Run, RunMode
from protocol import AGENT_PROGRAMS, RunLimits
from redaction import MIN_PASSWORD_LENGTH, MIN_SECRET_LENGTH, Redaction, find_url_passwords
from settings import PASSED_VARIABLES, Settings
from tickets.runs.claims import RunClaim
from workers.agents import credentials, transcripts
from workers.agents.coordination import SERVER_COMMAND
from workers.contract.spec import SPEC_VERSION, RunSpec, format_marker
from workers.host import sandbox
from workers.repository.workspace import Workspace

from .run_configuration import ConfigurationChoice

BUILT_IN_PROGRAMS = frozenset(name for name, program in AGENT_PROGRAMS.items() if program.built_in)
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTHORIZATION|COOKIE", re.IGNORECASE)
KEY_FOLDERS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".config/gcloud",
    ".config/gh",
    ".config/glab-cli",
)
COMMON_NAME = re.compile(r".*(?:PATH|HOME|DIR|EDITOR|PAGER|TERM|MODEL)|PWD|DISPLAY|HOSTNAME|LC_.*|XDG_.*|MC_.*")
"""Variables that are no secrets although a person has listed them for agents, beside those that every agent gets."""
USAGE_LIMITS = ("turns", "tokens", "cost_usd")
"""The budgets of a run that its wrapper counts itself."""
INTEGER_LIMITS = frozenset({"turns", "tokens", "spool_bytes", "line_bytes"})


class ProgramMissing(Exception):
    """The agent's program is not installed, or not at the path in the settings."""


def build_spec(
    settings: Settings,
    claim: RunClaim,
    project: Project | None,
    workspace: Workspace,
    variables: dict[str, str],
    configuration: ConfigurationChoice,
) -> RunSpec:
    """Build the spec of a claimed run, whose environment has the `variables`, and make its configuration folder.

    Raises `ProgramMissing`, OSError.
    """
    run, profile = claim.run, claim.profile
    environment = build_environment(settings, profile, run.id, configuration.variables) | variables
    binary = find_binary(settings, profile.program)
    conversation = choose_conversation(settings, run, claim.source)
    credentials.link_credentials(profile.program, Path(environment.get("HOME", settings.home)), conversation.config_dir)
    return RunSpec(
        version=SPEC_VERSION,
        binary=binary,
        sandbox=sandbox.is_available(),
        hidden_folders=find_hidden_folders(settings, environment),
        conversation_id=conversation.id,
        resume=conversation.resume,
        forks=conversation.forks,
        config_dir=str(conversation.config_dir),
        env=environment,
        limits=build_limits(settings, profile),
        secrets=find_secrets(
            {**configuration.own.values, **environment}, [*profile.env_allow, *configuration.variables]
        ),
        own_home=str(configuration.own_home) if configuration.own_home else None,
        repository_configuration=configuration.repository,
        repository_digest=configuration.repository_digest,
        prices={pattern: price.amounts for pattern, price in settings.all_prices.items()},
        **_build_run_fields(settings, claim),
        **_build_profile_fields(run, profile),
        **_build_workspace_fields(workspace),
        **_build_project_fields(project),
    )


def restrict_to_reading(spec: RunSpec) -> RunSpec:
    """Restrict the run of a review: it changes nothing, whatever its profile allows, and nothing of it is checked.

    A program without the coordination tools gets what its steps need to report through the API.
    """
    access = {"MC_API": spec.api, "MC_API_TOKEN": spec.token, "MC_TICKET_ID": str(spec.ticket_id)}
    env = {**spec.env, **({} if spec.mcp_command else access)}
    return replace(spec, permissions="read_only", check=None, env=env)


def _build_run_fields(settings: Settings, claim: RunClaim) -> dict[str, Any]:
    ticket, run = claim.ticket, claim.run
    return {
        "instance": settings.instance,
        "run_id": run.id,
        "ticket_id": ticket.id,
        "identifier": ticket.identifier,
        "title": ticket.title,
        "generation": run.generation,
        "api": settings.api_url,
        "token": claim.token,
        "board_token_file": str(settings.board_token_file(run.id)) if claim.board_token else None,
        "nonce": run.nonce,
        "socket": str(settings.run_socket(run.id)),
        "plan": run.plans,
    }


def _build_profile_fields(run: Run, profile: Profile) -> dict[str, Any]:
    return {
        "program": profile.program,
        "mode": "tui" if run.mode is RunMode.TUI else "headless",
        "attended": run.mode is RunMode.TUI and profile.mode is not RunMode.TUI,
        "model": profile.model,
        "effort": profile.effort,
        "argv": tuple(profile.argv),
        "permissions": profile.permissions,
        "mcp_command": None if profile.program in BUILT_IN_PROGRAMS else SERVER_COMMAND,
    }


def _build_workspace_fields(workspace: Workspace) -> dict[str, Any]:
    return {
        "workspace": str(workspace.path),
        "repository": str(workspace.repository) if workspace.repository else None,
        "branch": workspace.branch,
        "base_sha": workspace.base_sha,
        "base_branch": workspace.base_branch,
    }


def _build_project_fields(project: Project | None) -> dict[str, Any]:
    """Build the fields of a spec that its project decides. A ticket without one has no commands and no network."""
    return {
        "allowed_commands": tuple(project.allowed_commands) if project else (),
        "denied_commands": tuple(project.denied_commands) if project else (),
        "network": bool(project and project.network),
        "check": tuple(project.check_command) if project and project.check_command else None,
        "setup": tuple(project.setup_command) if project and project.setup_command else None,
        "teardown": tuple(project.teardown_command) if project and project.teardown_command else None,
        "folder": project.folder if project else None,
        "copies": tuple(project.copy_files) if project else (),
        "links": tuple(project.link_files) if project else (),
    }


def build_environment(
    settings: Settings, profile: Profile | None, run: int | str, own_variables: Collection[str] = ()
) -> dict[str, str]:
    """Build the agent's whole environment: what every agent gets, what its profile allows, and the run's marker.

    `own_variables` are those to which the operator's own configuration refers.
    """
    allowed_names = [name for name in profile.env_allow if not name.startswith("MC_")] if profile else []
    allowed_names += own_variables
    name, _, value = format_marker(settings.instance, run).partition("=")
    variables = {"LANG": "C.UTF-8", "TERM": "xterm-256color", **settings.agent_environment(*allowed_names), name: value}
    return {name: value for name, value in variables.items() if "\0" not in value}


def find_hidden_folders(settings: Settings, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Find the folders with keys that a confined agent must not read: the user's own, and this instance's with their copies."""
    home = Path(environment.get("HOME", settings.home))
    folders = [*(home / name for name in KEY_FOLDERS), settings.secrets_dir, settings.backups_dir]
    return tuple(str(folder) for folder in folders if folder.is_dir())


def find_secrets(environment: Mapping[str, str], listed_names: Collection[str] = ()) -> tuple[str, ...]:
    """Find the values that must never reach the store or a stream: those that a person has listed, and the passwords of URLs."""
    values = [value for name, value in environment.items() if _is_secret(name, value, listed_names)]
    passwords = {password for value in environment.values() for password in find_url_passwords(value)}
    return tuple(dict.fromkeys([*values, *sorted(passwords)]))


def _is_secret(name: str, value: str, listed_names: Collection[str]) -> bool:
    if SECRET_NAME.search(name):
        return len(value) >= MIN_PASSWORD_LENGTH
    is_common = name in PASSED_VARIABLES or COMMON_NAME.fullmatch(name)
    return name in listed_names and not is_common and len(value) >= MIN_SECRET_LENGTH


def build_redaction(settings: Settings, profile: Profile | None) -> Redaction:
    """Build the redaction of what the programs of this host print in the environment of a profile's runs."""
    return Redaction(find_secrets(settings.ambient.environment, profile.env_allow if profile else ()))


def build_limits(settings: Settings, profile: Profile) -> RunLimits:
    """Build the limits: the settings' where the profile has none, and the tighter of both budgets for one run.

    Names that the wrapper does not use are skipped, as the board enforces them (`tickets/dispatch/budgets.py`).
    """
    limit_names = {field.name for field in fields(RunLimits)}
    general = {name: value for name, value in settings.limits.model_dump().items() if name in limit_names}
    own = {
        name: int(value) if name in INTEGER_LIMITS else value
        for name, value in profile.limits.items()
        if name in limit_names and value
    }
    budget = {name: getattr(settings.budget, f"run_{name}") for name in USAGE_LIMITS}
    spendable = {name: min(filter(None, (own.get(name), budget[name])), default=None) for name in USAGE_LIMITS}
    return RunLimits(**{**asdict(RunLimits()), **general, **own, **spendable})


@dataclass(frozen=True, slots=True)
class RunConversation:
    """The conversation of a run: resumed, new or a copy of `forks`, with its configuration folder."""

    id: str
    resume: bool
    forks: str | None
    config_dir: Path


def choose_conversation(settings: Settings, run: Run, source: AgentSession | None) -> RunConversation:
    """Choose the conversation to resume or copy, or a new one when its program has no record of it. Raises OSError."""
    if run.resumes and run.conversation_id and run.config_dir:
        folder = Path(run.config_dir)
        if transcripts.has_conversation(run.program, folder, run.conversation_id):
            return RunConversation(run.conversation_id, True, None, folder)
    new_conversation = RunConversation(str(uuid.uuid4()), False, None, settings.run_path(run.id) / "config")
    if source and source.config_dir:
        is_copied = transcripts.copy_conversation(
            run.program, Path(source.config_dir), source.id, new_conversation.config_dir
        )
        return replace(new_conversation, forks=source.id) if is_copied else new_conversation
    return new_conversation


def find_binary(settings: Settings, program: str) -> str | None:
    """Find the absolute path of an agent's program. None for the built-in one."""
    if program in BUILT_IN_PROGRAMS:
        return None
    if program not in AGENT_PROGRAMS:
        raise ProgramMissing(f"this version cannot run the program {program}: choose another in the profile (Team)")
    configured = settings.binary_of(program)
    path = settings.ambient.environment.get("PATH")
    executable = shutil.which(str(configured or program), path=path)
    if executable is None:
        raise ProgramMissing(f"the program {configured or program} is not installed here (see bin/mc doctor)")
    return str(Path(executable).absolute())


def format_memory_limit(profile: Profile) -> str | None:
    """Format the memory limit of a run for systemd. None without a limit."""
    megabytes = profile.limits.get("memory_mb")
    return f"{int(megabytes)}M" if megabytes else None
