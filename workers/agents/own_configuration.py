"""The configuration of a program in the operator's home folder, as far as runs take it.

A run reads copies in a configuration folder of its own, so that nothing it does changes the home folder.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from protocol import Permissions
from workers.contract.fields import Fields, get_object, get_text

MAX_FILES = 2000
MAX_BYTES = 16 << 20
"""Bounds of a copied folder. A larger one is left out, since every run gets a copy of its own."""


MAX_INSTRUCTION_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class OwnConfiguration:
    """The configuration that a run takes. `settings` and `servers` (MCP servers by name) have the program's own form.

    `instructions` is a file for the model, shown as its path below the home folder. `folders` are copied. `left_out`
    says in words what is not taken. `variables` are environment variables to which the configuration refers, and
    `values` those that it sets, with headers and tokens, by unique names.
    """

    settings: Fields = field(default_factory=dict)
    servers: Mapping[str, Fields] = field(default_factory=dict)
    instructions: Path | None = None
    folders: Mapping[str, Path] = field(default_factory=dict)
    skills: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)

    def describe(self, home: Path) -> list[str]:
        """Describe what is taken, a phrase for each kind."""
        phrases = [
            f"{_count(len(self.servers), 'MCP server')}: {', '.join(self.servers)}" if self.servers else "",
            _count(len(self.skills), "skill") if self.skills else "",
            f"instructions from ~/{self.instructions.relative_to(home)}" if self.instructions else "",
            f"settings: {', '.join(self.settings)}" if self.settings else "",
        ]
        return [phrase for phrase in phrases if phrase]


def read_instructions(workspace: Path, name: str) -> str:
    """Read a file of instructions of a workspace that is not trusted. Empty where it leads out of the workspace."""
    path = workspace / name
    if not path.is_file() or not path.resolve().is_relative_to(workspace.resolve()):
        return ""
    with path.open("rb") as file:
        return file.read(MAX_INSTRUCTION_BYTES).decode("utf-8", "replace")


def approves_servers(permissions: Permissions) -> bool:
    """Return whether a run may use the tools of the operator's and a trusted repository's MCP servers without asking."""
    return permissions in ("workspace", "unrestricted")


def collect_values(tables: Iterable[Fields]) -> dict[str, str]:
    """Collect the variables, headers and tokens of settings, MCP servers or model providers, by place and name."""
    return {f"{place}.{name}": value for place, table in enumerate(tables) for name, value in _list_values(table)}


def _list_values(table: Fields) -> Iterator[tuple[str, str]]:
    for key in ("env", "headers", "http_headers"):
        values = get_object(table, key)
        yield from ((name, get_text(values, name).removeprefix("Bearer ")) for name in values)
    yield "token", get_text(table, "experimental_bearer_token")


def list_skills(folder: Path) -> list[str]:
    """List the names of the skills in a folder."""
    return sorted(file.parent.name for file in folder.glob("*/SKILL.md") if not file.parent.name.startswith("."))


def count_phrases(counts: Mapping[str, int]) -> list[str]:
    """Format the counts that are not 0, such as `2 hooks`."""
    return [_count(number, noun) for noun, number in counts.items() if number]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def find_folders(parent: Path, names: Iterable[str]) -> tuple[dict[str, Path], list[str]]:
    """Find the folders that are copied, and a phrase for each that is too large."""
    folders = {name: parent / name for name in names if (parent / name).is_dir()}
    large = [name for name, folder in folders.items() if _list_files(folder) is None]
    phrases = [f"{parent.name}/{name}: more than {MAX_FILES} files or {MAX_BYTES >> 20} MB" for name in large]
    return {name: folder for name, folder in folders.items() if name not in large}, phrases


def replace_folders(folders: Mapping[str, Path], names: Iterable[str], target: Path) -> None:
    """Replace the copies of these `names` in a run's configuration folder by those of `folders`.

    An earlier run may have put a link in the place of a copy, through which this would write elsewhere.
    """
    for name in names:
        if (target / name).is_symlink():
            (target / name).unlink()
        shutil.rmtree(target / name, ignore_errors=True)
    for name, folder in folders.items():
        for file in _list_files(folder) or []:
            copy = target / name / file.relative_to(folder)
            copy.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            shutil.copy(file, copy)


def _list_files(folder: Path) -> list[Path] | None:
    """List the regular files below a folder, through links that do not lead back. None where there are too many."""
    files: list[Path] = []
    size, folders = 0, set()
    for parent, directories, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in folders:
            directories.clear()
            continue
        folders.add(real)
        readable = [file for name in names if (file := Path(parent, name)).is_file() and os.access(file, os.R_OK)]
        files += readable
        size += sum(file.stat().st_size for file in readable)
        if len(files) > MAX_FILES or size > MAX_BYTES:
            return None
    return files
