"""A run's permissions as Claude Code's settings: rules for its tools, and its sandbox for commands.

With the sandbox every command runs, confined; a command that asks to leave it is decided by `RequestPolicy`, as is any
other tool that asks. Without it the rules allow the usual commands, and the program asks for the others.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from workers.agents.permissions import list_denied_commands, list_usual_commands
from workers.agents.tool_calls import COORDINATION
from workers.agents.worktree_path import list_git_folders
from workers.contract.spec import RunSpec
from workers.host import commands, files

from . import plan_mode

PERMISSION_MODES = {
    "workspace": "acceptEdits",
    "ask": "acceptEdits",
    "read_only": "default",
    "unrestricted": "bypassPermissions",
}
"""Always given, since a repository's settings may name a mode of their own."""
FRAME_TOOLS = (
    "EnterWorktree",
    "ExitWorktree",
    "ScheduleWakeup",
    "CronCreate",
    "CronDelete",
    "CronList",
    "SendMessage",
    "ListAgents",
)
"""Tools that leave Mission Control's frame: other worktrees, work after the end of a run, other conversations."""
NETWORK_TOOLS = ("WebFetch", "WebSearch")
EDITING_TOOLS = ("Edit", "Write", "NotebookEdit")
PLACEHOLDERS = (
    ".bash_profile",
    ".bashrc",
    ".profile",
    ".zshrc",
    ".zprofile",
    ".gitconfig",
    ".gitmodules",
    ".ripgreprc",
    ".mcp.json",
    ".vscode",
    ".idea",
    ".claude",
)
"""Names that the sandbox puts into the working folder while a command runs, as devices that git cannot add."""
SETTINGS_FILE = "mc-settings.json"
EXCLUDES_FILE = "git-excludes"
GIT_SECONDS = 5.0


def build_settings(spec: RunSpec) -> dict[str, Any]:
    """Build the `permissions` and the `sandbox` of a run's `settings.json`."""
    settings: dict[str, Any] = {"permissions": {"allow": _list_allowed(spec), "deny": _list_denied(spec)}}
    return settings | {"sandbox": _build_sandbox(spec)} if is_confined(spec) else settings


def build_options(spec: RunSpec) -> list[str]:
    """Build the options of the command line, the same for both modes.

    Settings that are named there outrank those of the repository, which could switch the sandbox off.
    """
    mode = plan_mode.MODE if spec.plan else PERMISSION_MODES[spec.permissions]
    settings_file = str(Path(spec.config_dir) / SETTINGS_FILE)
    return ["--permission-mode", mode, "--disallowedTools", ",".join(FRAME_TOOLS), "--settings", settings_file]


def is_confined(spec: RunSpec) -> bool:
    """Return whether the commands of a run are confined by the program's sandbox."""
    return spec.sandbox and spec.permissions != "unrestricted"


def _list_allowed(spec: RunSpec) -> list[str]:
    rules = [f"mcp__{COORDINATION}"]
    if is_confined(spec):
        return [*rules, "Bash", "Read(//**)", *(NETWORK_TOOLS if spec.network else ())]
    if spec.permissions in ("workspace", "ask"):
        exact = [shlex.join(argv) for argv in (spec.check, spec.setup) if argv]
        rules += [f"Bash({command}:*)" for command in list_usual_commands(spec)]
        rules += [f"Bash({command})" for command in exact if not set(command) & set("()*\n")]
    return rules


def _list_denied(spec: RunSpec) -> list[str]:
    rules = [f"Bash({command}:*)" for command in list_denied_commands(spec)]
    if spec.permissions == "read_only":
        rules += EDITING_TOOLS
    if spec.permissions != "unrestricted":
        rules += [f"Read(/{folder}/**)" for folder in spec.hidden_folders]
    return rules


def _build_sandbox(spec: RunSpec) -> dict[str, Any]:
    """Build the sandbox's settings. The network is asked for one by one where a person is there to answer."""
    folders = [spec.workspace, *list_git_folders(Path(spec.workspace))]
    read_only = {"denyWrite": folders} if spec.permissions == "read_only" else {}
    network = {"strictAllowlist": spec.permissions != "ask"} | ({"allowedDomains": ["*"]} if spec.network else {})
    return {
        "enabled": True,
        "failIfUnavailable": True,
        "autoAllowBashIfSandboxed": True,
        "allowUnsandboxedCommands": True,  # so that one is asked for, counted and may be allowed, instead of failing
        "filesystem": {"denyRead": list(spec.hidden_folders), **read_only},
        "network": network,
    }


def write_excludes(spec: RunSpec) -> None:
    """Write git's list of ignored files for a confined run: the user's own, and the sandbox's placeholders."""
    lines = [*_read_own_excludes(spec).splitlines(), *(f"/{name}" for name in PLACEHOLDERS)]
    files.replace(Path(spec.config_dir) / EXCLUDES_FILE, "".join(f"{line}\n" for line in lines).encode())


def build_environment(spec: RunSpec) -> dict[str, str]:
    """Build the environment that names the list of `write_excludes` to git."""
    if not is_confined(spec):
        return {}
    file = str(Path(spec.config_dir) / EXCLUDES_FILE)
    return {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.excludesFile", "GIT_CONFIG_VALUE_0": file}


def _read_own_excludes(spec: RunSpec) -> str:
    """Read the list of ignored files that the user's own configuration names, or that of git's default place."""
    argv = ["git", "config", "--global", "--type=path", "--get", "core.excludesFile"]
    home = Path(spec.env.get("HOME", "/"))
    default = Path(spec.env.get("XDG_CONFIG_HOME") or home / ".config") / "git/ignore"
    try:
        path_text = commands.run(argv, timeout=GIT_SECONDS, cwd=home, env=spec.env).text.strip()
        return Path(path_text or default).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
