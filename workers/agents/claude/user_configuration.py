"""The operator's own configuration of Claude Code in a run, and what the repository brings for it.

Taken from the home folder: MCP servers, skills, commands, sub-agents, output styles, rules, CLAUDE.md, and of the
settings those of `TAKEN_SETTINGS` and the rules that refuse tools. Hooks, plugins and rules that allow tools are left
out, since each of them can allow what the profile's permissions refuse.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from protocol import CLAUDE_VARIABLES
from workers.agents.own_configuration import (
    OwnConfiguration,
    approves_servers,
    collect_values,
    count_phrases,
    find_folders,
    list_skills,
    read_instructions,
    replace_folders,
)
from workers.contract.fields import Fields, get_object, get_text, parse_object
from workers.contract.spec import RunSpec
from workers.host import files

FOLDERS = ("skills", "commands", "agents", "output-styles", "rules")
TAKEN_SETTINGS = (
    *("apiKeyHelper", "awsAuthRefresh", "awsCredentialExport", "gcpAuthRefresh", "env", "model", "modelOverrides"),
    *("effortLevel", "alwaysThinkingEnabled", "outputStyle", "language", "attribution", "includeCoAuthoredBy"),
)
CLOUD_VARIABLES = ("CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX", "CLAUDE_CODE_USE_FOUNDRY")
INSTRUCTIONS = "CLAUDE.md"
BROUGHT_INSTRUCTIONS = (INSTRUCTIONS, f".claude/{INSTRUCTIONS}")
MCP_FILE = ".mcp.json"
_IMPORT = re.compile(r"(?<![A-Za-z0-9])@(?=\S)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-[^}]*)?\}")


def read_configuration(home: Path, repository: Path | None) -> OwnConfiguration:
    """Read the operator's own configuration, with the MCP servers that they have added for this repository."""
    settings, state = _read_object(home / ".claude/settings.json"), _read_object(home / ".claude.json")
    servers = _list_servers(state, str(repository))
    folders, large = find_folders(home / ".claude", FOLDERS)
    chosen_settings = {name: settings[name] for name in TAKEN_SETTINGS if name in settings}
    if denied := _list_rules(settings, "deny"):
        chosen_settings["permissions.deny"] = denied
    instructions = home / ".claude" / INSTRUCTIONS
    return OwnConfiguration(
        settings=chosen_settings,
        servers=servers,
        instructions=instructions if instructions.is_file() else None,
        folders=folders,
        skills=tuple(list_skills(folders["skills"])) if "skills" in folders else (),
        left_out=(*_describe_rest(settings), *large),
        variables=tuple(_VARIABLE.findall(str(servers))),
        values=collect_values([settings, *servers.values()]),
    )


def has_log_in(home: Path, _: Collection[str]) -> bool:
    """Return whether the operator's settings log the program in without its credentials file."""
    settings = _read_object(home / ".claude/settings.json")
    variables = {name for name, value in get_object(settings, "env").items() if value}
    log_in_variables = {name for name in CLAUDE_VARIABLES if not name.endswith("_URL")} | set(CLOUD_VARIABLES)
    return bool(get_text(settings, "apiKeyHelper") or variables & log_in_variables)


def load_configuration(spec: RunSpec) -> OwnConfiguration:
    """Load what a run takes. Empty where its profile does not take the operator's own configuration."""
    if spec.own_home is None:
        return OwnConfiguration()
    return read_configuration(Path(spec.own_home), Path(spec.repository) if spec.repository else None)


def install(configuration: OwnConfiguration, spec: RunSpec) -> None:
    """Copy the folders and write the instructions into the run's configuration folder.

    Where the repository is not trusted, its settings are not read, and with them its CLAUDE.md: that is copied here,
    without imports, which could name any file of the operator.
    """
    folder = Path(spec.config_dir)
    replace_folders(configuration.folders, FOLDERS, folder)
    own = str(configuration.instructions or "").replace(" ", "\\ ")
    texts = [f"@{own}"] if own else []
    if spec.repository_configuration == "untrusted":
        repository_values = [read_instructions(Path(spec.workspace), name) for name in BROUGHT_INSTRUCTIONS]
        texts += [_IMPORT.sub("@ ", text) for text in repository_values]
    files.replace(folder / INSTRUCTIONS, "\n\n".join(texts).encode())


def merge_settings(configuration: OwnConfiguration, settings: Mapping[str, Any], names: Collection[str]) -> Fields:
    """Add the operator's settings to those of the run, which win. `names` are variables that the run itself sets."""
    own = {name: value for name, value in configuration.settings.items() if name in TAKEN_SETTINGS}
    if "env" in own:
        own["env"] = {
            name: value
            for name, value in get_object(own, "env").items()
            if name not in names and not name.startswith("MC_")
        }
    permissions = dict(settings["permissions"])
    if denied := configuration.settings.get("permissions.deny"):
        permissions["deny"] = [*permissions.get("deny", []), *denied]
    return {**own, **settings, "permissions": permissions}


def choose_servers(configuration: OwnConfiguration, spec: RunSpec) -> dict[str, Fields]:
    """Choose the MCP servers of the operator and of a trusted repository, whose own ones win over equal names."""
    servers = dict(configuration.servers)
    if spec.repository_configuration == "trusted":
        repository_values = get_object(_read_object(Path(spec.workspace) / MCP_FILE), "mcpServers")
        servers |= {name: get_object(repository_values, name) for name in repository_values}
    return servers


def build_server_rules(servers: Collection[str], spec: RunSpec) -> list[str]:
    """Build the rules that allow the tools of these servers, where the run may work without asking."""
    if not approves_servers(spec.permissions):
        return []
    return [f"mcp__{re.sub('[^A-Za-z0-9_-]', '_', name)}" for name in servers]


def build_options(spec: RunSpec) -> list[str]:
    """Build the options that choose which settings are read: only those of a trusted repository, and never local ones."""
    sources = "user" if spec.repository_configuration == "untrusted" else "user,project"
    return ["--setting-sources", sources]


def record_trust(state: dict[str, Any], spec: RunSpec) -> None:
    """Record the trust in the program's state: in the workspace, so that no dialog asks, and in a trusted repository.

    The program looks up the rules and hooks of a worktree by the folder of its repository.
    """
    projects = state.setdefault("projects", {})
    projects.setdefault(spec.workspace, {})["hasTrustDialogAccepted"] = True
    if spec.repository and spec.repository != spec.workspace:
        is_trusted = spec.repository_configuration == "trusted"
        projects.setdefault(spec.repository, {})["hasTrustDialogAccepted"] = is_trusted


def _list_servers(state: Fields, repository: str) -> dict[str, Fields]:
    """List the operator's MCP servers: those for every folder, and those for this repository."""
    project = get_object(get_object(state, "projects"), repository)
    servers = {**get_object(state, "mcpServers"), **get_object(project, "mcpServers")}
    disabled = project.get("disabledMcpServers")
    names = servers.keys() - set(disabled if isinstance(disabled, list) else [])
    return {name: get_object(servers, name) for name in servers if name in names}


def _describe_rest(settings: Fields) -> list[str]:
    """Describe the settings that are left out."""
    hooks, plugins = get_object(settings, "hooks"), get_object(settings, "enabledPlugins")
    counts = {
        "hook": sum(len(groups) for groups in hooks.values() if isinstance(groups, list)),
        "permission rule": len(_list_rules(settings, "allow")) + len(_list_rules(settings, "ask")),
        "plugin": sum(1 for value in plugins.values() if value),
    }
    known_names = {*TAKEN_SETTINGS, "permissions", "hooks", "enabledPlugins", "$schema"}
    rest = sorted(settings.keys() - known_names)
    return [*count_phrases(counts), *([f"settings: {', '.join(rest)}"] if rest else [])]


def _list_rules(settings: Fields, key: str) -> list[str]:
    rules = get_object(settings, "permissions").get(key)
    return [rule for rule in rules if isinstance(rule, str)] if isinstance(rules, list) else []


def _read_object(path: Path) -> Fields:
    try:
        return parse_object(path.read_bytes())
    except OSError:
        return {}
