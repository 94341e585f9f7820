"""The configuration that a repository brings for agent programs: its files, a list of them in words, and their digest.

These files let a program run commands and use tools that a run's own permissions would refuse: rules, hooks and MCP
servers, and the scripts, skills and sub-agents beside them. A digest over all of them shows any change. A person's own
`.claude/settings.local.json` is no part of it, and runs do not read it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from workers.contract.fields import Fields, get_object, get_objects, get_text

from . import git

MCP_FILE = ".mcp.json"
CLAUDE_SETTINGS = ".claude/settings.json"
CODEX_SETTINGS = ".codex/config.toml"
CODEX_HOOKS = ".codex/hooks.json"
PLACES = (".claude", ".codex", MCP_FILE)
LEFT_OUT = (".claude/settings.local.json", ".claude/worktrees/")
MAX_FILES = 500
MAX_BYTES = 4 << 20
_LINK_MODE, _FILE_MODES = "120000", ("100644", "100755")
_RULES = {
    "allow": "Allowed without asking",
    "ask": "Asked about",
    "deny": "Refused",
    "additionalDirectories": "Further folder",
}


class ConfigurationItem(NamedTuple):
    """One thing that the configuration brings, in words, and the file that brings it."""

    kind: str
    text: str
    file: str = ""


@dataclass(frozen=True, slots=True)
class RepositoryConfiguration:
    """The files of a repository's configuration by path. `problem` says why it cannot be trusted at all."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    problem: str = ""

    @property
    def is_empty(self) -> bool:
        return not self.files and not self.problem

    @property
    def digest(self) -> str | None:
        """The SHA-256 of all files, with line endings of Unix. None where there is nothing that could be trusted."""
        if self.problem or not self.files:
            return None
        contents = [[path, hashlib.sha256(data).hexdigest()] for path, data in sorted(self.files.items())]
        return hashlib.sha256(json.dumps(contents).encode()).hexdigest()

    def list_items(self) -> list[ConfigurationItem]:
        """List what the files bring, the settings first and then the other files by their paths."""
        return [item for path in sorted(self.files, key=_rank_path) for item in _list_items(path, self.files[path])]


TOO_LARGE = RepositoryConfiguration(problem=f".claude and .codex have more than {MAX_BYTES >> 20} MB.")


def read_branch(repository: Path, branch: str) -> RepositoryConfiguration:
    """Read the configuration at the commit of a branch. Raises `GitError`, also for a branch that does not exist."""
    commit = git.resolve_branch(repository, branch)
    if commit is None:
        raise git.GitFailed(f"{repository} has no branch {branch}")
    output = git.check_output(repository, "ls-tree", "-r", "-z", "--full-tree", commit, "--", *PLACES)
    entries = [_parse_entry(line) for line in output.split("\0") if line]
    entries = [entry for entry in entries if not entry.path.startswith(LEFT_OUT)]
    if problem := _find_problem([(entry.path, entry.mode == _LINK_MODE) for entry in entries]):
        return RepositoryConfiguration(problem=problem)
    if foreign := [entry.path for entry in entries if entry.mode not in (*_FILE_MODES, _LINK_MODE)]:
        return RepositoryConfiguration(problem=f"{foreign[0]} is a submodule: its content is not known here.")
    contents = _read_blobs(repository, [entry.blob for entry in entries])
    return _build({entry.path: contents[entry.blob] for entry in entries})


def read_folder(folder: Path) -> RepositoryConfiguration:
    """Read the configuration in a work tree, with files that git does not know. Never raises because of its content."""
    paths = [path for path in _list_paths(folder) if not path.startswith(LEFT_OUT)]
    if problem := _find_problem([(path, (folder / path).is_symlink()) for path in paths]):
        return RepositoryConfiguration(problem=problem)
    try:
        if sum((folder / path).lstat().st_size for path in paths) > MAX_BYTES:
            return TOO_LARGE
        return _build({path: _read_file(folder / path) for path in paths})
    except OSError as error:
        return RepositoryConfiguration(problem=f"{error.filename} cannot be read: {error.strerror}.")


class _TreeEntry(NamedTuple):
    """An entry of `git ls-tree`."""

    mode: str
    blob: str
    path: str


def _parse_entry(line: str) -> _TreeEntry:
    facts, _, path = line.partition("\t")
    mode, _, blob = facts.split()
    return _TreeEntry(mode, blob, path)


def _read_blobs(repository: Path, blobs: list[str]) -> dict[str, bytes]:
    """Read blobs as they are stored, without filters."""
    if not blobs:
        return {}
    output = git.run(repository, "cat-file", "--batch", stdin="".join(f"{blob}\n" for blob in blobs).encode()).stdout
    contents, position = {}, 0
    for blob in blobs:
        header_end = output.find(b"\n", position)
        if header_end < 0 or not output[position:header_end].split()[-1].isdigit():
            raise git.GitFailed(f"the object {blob} cannot be read")
        start, size = header_end + 1, int(output[position:header_end].split()[-1])
        contents[blob], position = output[start : start + size], start + size + 1
    return contents


def _list_paths(folder: Path) -> list[str]:
    """List all files and links of the configuration below `folder`, one more than may be."""
    paths: list[str] = []
    for place in PLACES:
        if (folder / place).is_symlink() or (folder / place).is_file():
            paths.append(place)
            continue
        for parent, directories, names in os.walk(folder / place):
            links = [name for name in directories if Path(parent, name).is_symlink()]
            paths += [str(Path(parent, name).relative_to(folder)) for name in (*names, *links)]
            if Path(parent) == folder / ".claude":
                directories[:] = [name for name in directories if name != "worktrees"]
            if len(paths) > MAX_FILES:
                return paths
    return paths


def _read_file(path: Path) -> bytes:
    """Read a file. Anything else counts as empty, as a pipe would wait for a writer."""
    if not stat.S_ISREG(path.lstat().st_mode):
        return b""
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _find_problem(paths: list[tuple[str, bool]]) -> str:
    """Return why these (path, is a link) cannot be trusted: what a link leads to can change unseen."""
    if len(paths) > MAX_FILES:
        return f".claude and .codex have more than {MAX_FILES} files."
    links = [path for path, is_link in paths if is_link]
    return f"{links[0]} is a link: replace it by the file itself." if links else ""


def _build(files: Mapping[str, bytes]) -> RepositoryConfiguration:
    if sum(map(len, files.values())) > MAX_BYTES:
        return TOO_LARGE
    return RepositoryConfiguration({path: data.replace(b"\r\n", b"\n") for path, data in files.items()})


def _rank_path(path: str) -> tuple[bool, str]:
    return path not in _LISTS, path


def _list_items(path: str, data: bytes) -> list[ConfigurationItem]:
    if path not in _LISTS:
        return [ConfigurationItem("File", path, path)]
    try:
        return [item._replace(file=path) for item in _LISTS[path](_parse(path, data))]
    except (ValueError, RecursionError) as error:
        return [ConfigurationItem("Unreadable", str(error), path)]


def _parse(path: str, data: bytes) -> Fields:
    import tomllib  # not in every wrapper

    value = tomllib.loads(data.decode()) if path.endswith(".toml") else json.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _list_claude_settings(settings: Fields) -> Iterator[ConfigurationItem]:
    permissions = get_object(settings, "permissions")
    for key, kind in _RULES.items():
        yield from (ConfigurationItem(kind, _format(rule)) for rule in _get_list(permissions, key))
    yield from _list_hooks(settings)
    yield from (ConfigurationItem("Environment", f"{key}={_format(value)}") for key, value in _get_env(settings))
    yield from _list_settings({key: value for key, value in permissions.items() if key not in _RULES}, "permissions.")
    yield from _list_settings(settings, "", "permissions", "hooks", "env")


def _list_codex_settings(settings: Fields) -> Iterator[ConfigurationItem]:
    yield from _list_servers(settings, "mcp_servers")
    yield from _list_hooks(settings)
    yield from _list_settings(settings, "", "mcp_servers", "hooks")


def _list_mcp_file(content: Fields) -> Iterator[ConfigurationItem]:
    yield from _list_servers(content, "mcpServers")


def _list_servers(content: Fields, key: str) -> Iterator[ConfigurationItem]:
    servers = get_object(content, key)
    for name in servers:
        server = get_object(servers, name)
        words = [get_text(server, "command"), *map(str, _get_list(server, "args"))]
        target = get_text(server, "url") or shlex.join(words)
        variables = ", ".join(key for key, _ in _get_env(server))
        yield ConfigurationItem("MCP server", f"{name}: {target}{f' (sets {variables})' if variables else ''}")


def _list_hooks(settings: Fields) -> Iterator[ConfigurationItem]:
    hooks = get_object(settings, "hooks")
    for name in hooks:
        for group in get_objects(hooks, name):
            occasion = " ".join(filter(None, (name, get_text(group, "matcher"))))
            for hook in get_objects(group, "hooks"):
                yield ConfigurationItem("Hook", f"{occasion}: {get_text(hook, 'command') or _format(hook)}")


def _list_settings(settings: Fields, prefix: str, *left_out: str) -> Iterator[ConfigurationItem]:
    for key, value in settings.items():
        if key not in left_out and key != "$schema":
            yield ConfigurationItem("Setting", f"{prefix}{key} = {_format(value)}")


def _get_list(fields: Fields, key: str) -> list[Any]:
    value = fields.get(key)
    return value if isinstance(value, list) else []


def _get_env(fields: Fields) -> list[tuple[str, Any]]:
    return list(get_object(fields, "env").items())


def _format(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


_LISTS = {
    CLAUDE_SETTINGS: _list_claude_settings,
    MCP_FILE: _list_mcp_file,
    CODEX_SETTINGS: _list_codex_settings,
    CODEX_HOOKS: _list_hooks,
}
