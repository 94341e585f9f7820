"""Files of a project outside its repository, linked into the workspaces of runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from . import git


class LinkRefused(Exception):
    """A file cannot be linked into the workspace."""


def link_files(repository: Path, workspace: Path, names: Sequence[str]) -> None:
    """Link files or folders of the project's own folder (`.env`, `node_modules`) into the workspace.

    A name that git does not ignore yet is added to the repository's private `info/exclude`, so that a link is
    never committed. `LinkRefused` for a name that leaves either folder, does not exist, or is taken.
    """
    for name in names:
        source, target = _resolve_inside(repository, name), _resolve_inside(workspace, name)
        if not source.exists():
            raise LinkRefused(f"{name} does not exist in the project's folder")
        if not source.resolve().is_relative_to(repository.resolve()):
            raise LinkRefused(f"{name} leads out of {repository}")
        if not target.is_symlink() or target.readlink() != source:
            _link(target, source, name)
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


def _link(target: Path, source: Path, name: str) -> None:
    if target.exists() or target.is_symlink():
        raise LinkRefused(f"{name} exists in the workspace already")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def _ignore(path: Path, name: str) -> None:
    if git.run(path, "check-ignore", "--quiet", "--", name).code == 0:
        return
    exclude = git.find_common_dir(path) / "info" / "exclude"
    exclude.parent.mkdir(exist_ok=True)
    with exclude.open("a") as file:
        file.write(f"/{name}\n")
