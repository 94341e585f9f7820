"""The operator's own configuration of Codex in a run, and what the repository brings for it.

Taken from the home folder: MCP servers, model providers, skills, AGENTS.md, and those settings of `TAKEN_SETTINGS`.
Approval and sandbox policies, command rules, hooks, notify programs, features and plugins are left out, since the
profile decides what a run may do.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from workers.agents.own_configuration import (
    OwnConfiguration,
    approves_servers,
    collect_values,
    find_folders,
    list_skills,
    read_instructions,
    replace_folders,
)
from workers.agents.tool_calls import COORDINATION
from workers.contract.fields import Fields, get_object, get_text
from workers.contract.spec import RunSpec
from workers.host import files

FOLDERS = ("skills", "prompts")
PROVIDERS = "model_providers"
TAKEN_SETTINGS = (
    *("model", "model_provider", "model_reasoning_effort", "model_reasoning_summary", "model_verbosity"),
    *("model_context_window", "model_auto_compact_token_limit", "tool_output_token_limit", "service_tier"),
    *("openai_base_url", "chatgpt_base_url", "forced_login_method", "personality", "developer_instructions"),
    *("project_doc_max_bytes", "project_doc_fallback_filenames", PROVIDERS),
)
INSTRUCTIONS = ("AGENTS.override.md", "AGENTS.md")
BUILT_IN_PROVIDER = "openai"
RETRIES = {"request_max_retries": 2, "stream_max_retries": 2}
"""How often a failed request is sent again where the operator's provider does not say, since Mission Control backs off.

The program refuses settings for its built-in provider, and ignores them outside of a provider.
"""
APPROVED = {"default_tools_approval_mode": "approve"}


def read_configuration(home: Path, _: Path | None) -> OwnConfiguration:
    """Read the operator's own configuration."""
    folder = home / ".codex"
    config, problem = _read_config(folder / "config.toml")
    servers = _get_servers(config)
    folders, large = find_folders(folder, FOLDERS)
    rest = sorted(config.keys() - {*TAKEN_SETTINGS, "mcp_servers", "profile", "profiles"})
    left_out = [problem, *large, f"settings: {', '.join(rest)}" if rest else ""]
    skills = list_skills(folders["skills"]) if "skills" in folders else []
    return OwnConfiguration(
        settings={name: config[name] for name in TAKEN_SETTINGS if name in config},
        servers=servers,
        instructions=find_instructions(folder),
        folders=folders,
        skills=(*skills, *list_skills(home / ".agents/skills")),
        left_out=tuple(filter(None, left_out)),
        variables=tuple(_list_variables([*_list_used_provider(config), *servers.values()])),
        values=collect_values([*_list_providers(config), *servers.values()]),
    )


def has_log_in(home: Path, variables: Collection[str]) -> bool:
    """Return whether the operator's provider works without the program's own log-in.

    A provider that reads its key from a variable needs that among `variables`.
    """
    config, _ = _read_config(home / ".codex/config.toml")
    if get_text(config, "model_provider") in ("", BUILT_IN_PROVIDER):
        return False
    provider = next(iter(_list_used_provider(config)), {})
    key = get_text(provider, "env_key")
    return provider.get("requires_openai_auth") is not True and (not key or key in variables)


def load_configuration(spec: RunSpec) -> OwnConfiguration:
    """Load what a run takes. Empty where its profile does not take the operator's own configuration."""
    return OwnConfiguration() if spec.own_home is None else read_configuration(Path(spec.own_home), None)


def install(configuration: OwnConfiguration, spec: RunSpec) -> None:
    """Copy the folders and write the instructions into the run's configuration folder.

    The program does not read the AGENTS.md of a repository that is not trusted: that is added to the instructions.
    """
    folder = Path(spec.config_dir)
    replace_folders(configuration.folders, FOLDERS, folder)
    own = configuration.instructions
    texts = [own.read_text(encoding="utf-8", errors="replace")] if own else []
    if spec.repository_configuration == "untrusted" and (repository_file := find_instructions(Path(spec.workspace))):
        texts.append(read_instructions(repository_file.parent, repository_file.name))
    files.replace(folder / "AGENTS.md", "\n\n".join(texts).encode())


def find_instructions(folder: Path) -> Path | None:
    """Find the file of instructions that the program would read in a folder."""
    return next((path for name in INSTRUCTIONS if (path := folder / name).is_file() and path.stat().st_size), None)


def format_settings(configuration: OwnConfiguration, effort: str | None) -> str:
    """Format the settings that stand before the first table. The profile's `effort` wins."""
    plain = {name: value for name, value in configuration.settings.items() if name != PROVIDERS}
    if effort:
        plain["model_reasoning_effort"] = effort
    return format_section("", **plain)


def format_tables(configuration: OwnConfiguration, spec: RunSpec) -> list[str]:
    """Format the model providers, the MCP servers, and whether the repository is trusted.

    The servers of a trusted repository stand here in full, since their tools must be approved like the operator's, and
    the program refuses a file with a part of a server.
    """
    providers, trust_level = get_object(configuration.settings, PROVIDERS), get_trust_level(spec)
    tables = {name: {**RETRIES, **get_object(providers, name)} for name in providers}
    sections = [format_section(_join_key(PROVIDERS, name), **table) for name, table in tables.items()]
    approval = APPROVED if approves_servers(spec.permissions) else {}
    for name, server in {**configuration.servers, **_read_brought_servers(spec)}.items():
        sections.append(format_section(_join_key("mcp_servers", name), **{**approval, **server}))
    sections.append(format_section(_join_key("projects", spec.workspace), trust_level=trust_level))
    return [*sections, *_disable_home_skills(spec)]


def get_trust_level(spec: RunSpec) -> str:
    """Return the level of trust in the workspace. Without one the program would ask on its screen."""
    return "untrusted" if spec.repository_configuration == "untrusted" else "trusted"


def brings_hooks(spec: RunSpec) -> bool:
    """Return whether a trusted repository brings hooks, of which the program runs only those that are marked as trusted."""
    folder = Path(spec.workspace) / ".codex"
    return spec.repository_configuration == "trusted" and (
        (folder / "hooks.json").is_file() or "hooks" in _read_config(folder / "config.toml")[0]
    )


def format_section(name: str, /, **values: object) -> str:
    """Format a TOML table, without values that are None."""
    lines = [f"{_format_key(key)} = {format_value(value)}" for key, value in values.items() if value is not None]
    return "\n".join(([f"[{name}]"] if name else []) + lines) + "\n"


def format_value(value: object) -> str:
    """Format a TOML value on one line. JSON's strings, numbers and booleans are valid TOML."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_format_key(key)} = {format_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False, default=str)


def _format_key(key: str) -> str:
    return key if key.replace("_", "").isascii() and key.isidentifier() else json.dumps(key, ensure_ascii=False)


def _join_key(table: str, name: str) -> str:
    return f"{table}.{_format_key(name)}"


def _read_config(path: Path) -> tuple[dict[str, Any], str]:
    """Read a `config.toml` with the settings of its chosen profile, and a phrase where it cannot be read."""
    import tomllib  # only this program needs it

    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError) as error:
        return {}, f"config.toml, which cannot be read: {error}"
    return {**config, **get_object(get_object(config, "profiles"), get_text(config, "profile"))}, ""


def _list_providers(config: Fields) -> list[Fields]:
    providers = get_object(config, PROVIDERS)
    return [get_object(providers, name) for name in providers]


def _list_used_provider(config: Fields) -> list[Fields]:
    """List the provider that the settings choose, or nothing where it is built in."""
    providers, name = get_object(config, PROVIDERS), get_text(config, "model_provider")
    return [get_object(providers, name)] if name in providers else []


def _list_variables(tables: Collection[Fields]) -> Iterator[str]:
    """List the environment variables to which providers and MCP servers refer."""
    for table in tables:
        yield from filter(None, (get_text(table, "env_key"), get_text(table, "bearer_token_env_var")))
        yield from (value for value in get_object(table, "env_http_headers").values() if isinstance(value, str))
        names = table.get("env_vars")
        yield from (name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _read_brought_servers(spec: RunSpec) -> Mapping[str, Fields]:
    if spec.repository_configuration != "trusted":
        return {}
    return _get_servers(_read_config(Path(spec.workspace) / ".codex/config.toml")[0])


def _get_servers(config: Fields) -> dict[str, Fields]:
    servers = get_object(config, "mcp_servers")
    return {name: get_object(servers, name) for name in servers if name != COORDINATION}


def _disable_home_skills(spec: RunSpec) -> list[str]:
    """Disable the skills that the program reads in the home folder by itself, where the profile does not take them."""
    home = spec.env.get("HOME")
    if spec.own_home or not home:
        return []
    paths = [Path(home) / ".agents/skills" / name / "SKILL.md" for name in list_skills(Path(home) / ".agents/skills")]
    return [f"[[skills.config]]\npath = {format_value(str(path))}\nenabled = false\n" for path in paths]
