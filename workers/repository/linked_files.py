"""Files of a project outside its repository, copied or linked into the workspaces of runs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from workers.host import private_dirs

from . import git

PATTERN_CHARACTERS = re.compile(r"([\\*?\[\]!# ])")
"""The characters with a meaning in git's exclude files."""


class LinkRefused(Exception):
    """A file cannot be copied or linked into the workspace."""


def add_files(
    folder: Path, workspace: Path, copies: Sequence[str], links: Sequence[str], *, resumed: bool = False
) -> None:
    """Copy and link files or folders of the project's own folder (`.env`, `node_modules`) into the workspace.

    A copy keeps its mode. It is made anew for each ticket, and stays as it is in a workspace that a run resumes. A name
    that git does not ignore yet is added to the repository's private `info/exclude`, so that it is never committed.
    `LinkRefused` for a name that leaves either folder, does not exist, or belongs to the repository.
    """
    for name in copies:
        _add_file(folder, workspace, name, _keep_copy if resumed else _copy)
    for name in links:
        _add_file(folder, workspace, name, _link)


def _add_file(folder: Path, workspace: Path, name: str, place: Callable[[Path, Path], None]) -> None:
    source, target = _resolve_inside(folder, name), _resolve_inside(workspace, name)
    if not source.exists():
        raise LinkRefused(f"{name} does not exist in the project's folder")
    if not source.resolve().is_relative_to(folder.resolve()):
        raise LinkRefused(f"{name} leads out of {folder}")
    if git.run(workspace, "ls-files", "-z", "--", name).stdout:
        raise LinkRefused(f"{name} is a file of the repository, so every workspace has it already")
    target.parent.mkdir(parents=True, exist_ok=True)
    place(source, target)
    _ignore(workspace, name)


def _resolve_inside(folder: Path, name: str) -> Path:
    """Resolve the path of `name` below `folder`. `LinkRefused` when it leads out of the folder."""
    relative, root = PurePosixPath(name), folder.resolve()
    parent = (root / relative).parent.resolve()
    if relative.is_absolute() or {"..", ".git"} & set(relative.parts) or not relative.name:
        raise LinkRefused(f"not a name inside the project's folder: {name!r}")
    if not parent.is_relative_to(root):
        raise LinkRefused(f"{name} leads out of {folder}")
    return parent / relative.name


def _link(source: Path, target: Path) -> None:
    if not target.is_symlink() or target.readlink() != source:
        _remove(target)
        target.symlink_to(source)


def _copy(source: Path, target: Path) -> None:
    """Copy with modes. What stands there is removed first, since a link would lead the copy to another file."""
    _remove(target)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)


def _keep_copy(source: Path, target: Path) -> None:
    """Copy unless there is a copy already. A link is replaced."""
    if target.is_symlink() or not target.exists():
        _copy(source, target)


def _remove(target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        private_dirs.remove_tree(target)
    else:
        target.unlink(missing_ok=True)


def _ignore(path: Path, name: str) -> None:
    variables = {"GIT_LITERAL_PATHSPECS": "0"}  # which this command refuses
    if git.run(path, "check-ignore", "--quiet", "--", f"./{name}", variables=variables).code == 0:
        return
    exclude = git.find_common_dir(path) / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    content = exclude.read_bytes() if exclude.exists() else b""
    separator = "\n" if content and not content.endswith(b"\n") else ""
    with exclude.open("a") as file:
        file.write(separator + "/" + PATTERN_CHARACTERS.sub(r"\\\1", name) + "\n")
