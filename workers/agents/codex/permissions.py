"""A run's permissions as Codex's configuration: a permission profile for its sandbox, and rules for commands.

The sandbox confines every command. One that asks to leave it is decided by `RequestPolicy`, which is why Codex may ask
under every policy but `unrestricted`. A command that merely fails in the sandbox is not reported as refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from protocol import Permissions
from workers.agents.permissions import list_denied_commands
from workers.agents.worktree_path import list_git_folders
from workers.contract.spec import RunSpec
from workers.host import files
from workers.host.private_dirs import make_private_dir

PROFILE = "mission-control"
BASES = {"workspace": ":workspace", "ask": ":workspace", "read_only": ":read-only"}
RULES_FILE = "rules/default.rules"
TEMPORARY_FOLDER = "temporary"
_JUSTIFICATION = "The permissions of this run do not allow this."


def _get_policy(spec: RunSpec) -> Permissions:
    """Return the policy that holds: a plan is made without writing anything."""
    return "read_only" if spec.plan else spec.permissions


def get_approval_policy(spec: RunSpec) -> str:
    """Return when Codex asks for leave to run a command outside its sandbox."""
    return "never" if spec.plan or spec.permissions == "unrestricted" else "on-request"


def get_profile(spec: RunSpec) -> str:
    """Return the name of the permission profile that holds."""
    return ":danger-full-access" if _get_policy(spec) == "unrestricted" else PROFILE


def build_tables(spec: RunSpec) -> dict[str, Mapping[str, object]]:
    """Build the tables of the run's own permission profile by name, none for a profile of Codex."""
    if _get_policy(spec) == "unrestricted":
        return {}
    table = f"permissions.{PROFILE}"
    return {
        table: {"extends": BASES[_get_policy(spec)]},
        f"{table}.filesystem": _build_filesystem(spec),
        f"{table}.network": {"enabled": spec.network},
    }


def _build_filesystem(spec: RunSpec) -> dict[str, str]:
    """Build the access to folders: the worktree's git folders, but not what git takes for the place of others."""
    hidden_folders = dict.fromkeys(spec.hidden_folders, "deny")
    if _get_policy(spec) == "read_only":
        return hidden_folders
    folders = list_git_folders(Path(spec.workspace))
    pointers = [f"{folder}/{name}" for folder in folders[:1] for name in ("commondir", "gitdir")]
    return {
        ":slash_tmp": "read",
        **dict.fromkeys(folders, "write"),
        **dict.fromkeys(pointers, "read"),
        **hidden_folders,
    }


def write_rules(spec: RunSpec) -> None:
    """Write the rules that forbid the run's denied commands."""
    lines = [
        f'prefix_rule(pattern = {json.dumps(command.split())}, decision = "forbidden",'
        f" justification = {json.dumps(_JUSTIFICATION)})\n"
        for command in list_denied_commands(spec)
    ]
    file = Path(spec.config_dir) / RULES_FILE
    make_private_dir(file.parent)
    files.replace(file, "".join(lines).encode())


def build_environment(spec: RunSpec) -> dict[str, str]:
    """Build the environment of a confined run: a folder for temporary files, since `/tmp` is shared with others."""
    if _get_policy(spec) == "unrestricted":
        return {}
    return {"TMPDIR": str(make_private_dir(Path(spec.config_dir) / TEMPORARY_FOLDER))}
