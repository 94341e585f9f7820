"""The specification of one run: `spec.json` in the run's directory, validated strictly."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal

from protocol import EARLIER_PERMISSIONS, Permissions, RunLimits, WrapperMode
from redaction import SHAPES, Redaction, read_run_secrets
from workers.host import files

SPEC_VERSION = 1
SPEC_FILE = "spec.json"
PROMPT = "prompt.md"
"""The file in a run directory that contains the prompt."""


RepositoryTrust = Literal["none", "trusted", "untrusted"]


class InvalidSpec(Exception):
    """The run's spec cannot be used. The message names the key."""


@dataclass(frozen=True, slots=True)
class RunSpec:
    """Everything that a wrapper knows about its run. `env` is the agent's whole environment.

    `folder` is the project's own, with the files that are copied (`copies`) or linked (`links`) into workspaces.
    `forks` is the conversation whose copy, in the configuration directory, this run continues.
    `prices`: US dollars for a million tokens by pattern of the model, for input, output, cache reads and cache writes.
    `attended`: a person has taken the conversation over and works at the agent's own screen (mode `tui`). Only
    that person, a reported verdict or a limit ends such a run. `plan`: it makes a plan and changes nothing.
    `allowed_commands`, `denied_commands` and `network` are the project's; `sandbox`: this machine can confine the
    program's commands; `hidden_folders` hold keys.
    `own_home` is the home folder whose configuration of the program the run takes, None where its profile takes none.
    `repository_configuration`: the workspace brings no configuration, one that a person has trusted, or another one.
    `board_token_file` holds the token with which the coordination tools of an orchestrator's run work the board, where no
    confined agent can read it.
    `repository_digest` is the digest of what was judged so, empty for nothing, None where nothing was judged.
    """

    version: int
    instance: str
    run_id: int
    ticket_id: int
    identifier: str
    title: str
    generation: int
    api: str
    token: str
    board_token_file: str | None
    nonce: str
    socket: str
    program: str
    binary: str | None
    mode: WrapperMode
    attended: bool
    model: str | None
    effort: str | None
    argv: tuple[str, ...]
    permissions: Permissions
    allowed_commands: tuple[str, ...]
    denied_commands: tuple[str, ...]
    network: bool
    sandbox: bool
    hidden_folders: tuple[str, ...]
    conversation_id: str
    resume: bool
    forks: str | None
    plan: bool
    config_dir: str
    workspace: str
    repository: str | None
    branch: str | None
    base_sha: str | None
    base_branch: str | None
    env: Mapping[str, str]
    mcp_command: tuple[str, ...] | None
    check: tuple[str, ...] | None
    setup: tuple[str, ...] | None
    teardown: tuple[str, ...] | None
    folder: str | None
    copies: tuple[str, ...]
    links: tuple[str, ...]
    limits: RunLimits
    secrets: tuple[str, ...]
    prices: Mapping[str, str]
    own_home: str | None
    repository_configuration: RepositoryTrust
    repository_digest: str | None

    @property
    def marker(self) -> str:
        """The environment entry by which every process of this run is found."""
        return format_marker(self.instance, self.run_id)

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """The secrets of the environment and the run's own."""
        return (self.token, self.nonce, *self.secrets)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of everything that the run starts."""
        name, _, value = self.marker.partition("=")
        return {**self.env, name: value}

    @property
    def pane_log(self) -> str:
        """The file name of the pane's log."""
        return f"mc-{self.identifier}.tmux.log"


def format_marker(instance: str, run: int | str) -> str:
    """Format the environment entry of a run, or of a check outside of one. It is unique among instances on this machine."""
    return f"MC_RUN_ID={instance}-{run}"


def read_spec(run_dir: Path) -> RunSpec:
    """Read the spec of a run directory. `InvalidSpec` names what is missing, unknown or mistyped."""
    try:
        data = json.loads((run_dir / SPEC_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"{SPEC_FILE} cannot be read: {error}") from error
    return parse_spec(data)


def read_redaction(run_dir: Path) -> Redaction:
    """Read the secrets of a run for a reader of its files. Without a readable spec only the shapes of tokens are known."""
    try:
        return Redaction(read_run_secrets((run_dir / SPEC_FILE).read_bytes()))
    except (OSError, ValueError):
        return SHAPES


def parse_spec(data: object) -> RunSpec:
    """Parse a spec from decoded JSON. Raises `InvalidSpec`."""
    values = _check_values(RunSpec, _upgrade(data) if isinstance(data, dict) else data, "")
    if values["version"] != SPEC_VERSION:
        raise InvalidSpec(f"version {values['version']} is not {SPEC_VERSION}")
    return RunSpec(**values | {"limits": RunLimits(**_check_values(RunLimits, values["limits"], "limits."))})


def _upgrade(data: dict[str, Any]) -> dict[str, Any]:
    """Return the spec of a run from before an upgrade with the fields and names of this version."""
    earlier: dict[str, Any] = {"forks": None, "plan": False, "prices": {}, "teardown": None, "folder": None}
    earlier |= {
        "copies": (),
        "links": (),
        "own_home": None,
        "repository_configuration": "none",
        "repository_digest": None,
        "board_token_file": None,
    }
    earlier |= {"allowed_commands": (), "denied_commands": (), "hidden_folders": (), "network": False, "sandbox": False}
    policy = str(data.get("permissions"))
    renamed = {"permissions": EARLIER_PERMISSIONS[policy]} if policy in EARLIER_PERMISSIONS else {}
    return {**earlier, **data, **renamed}


def write_spec(run_dir: Path, spec: RunSpec) -> None:
    """Write `spec.json`, readable by its owner only. FileExistsError when it exists already."""
    files.create(run_dir / SPEC_FILE, json.dumps(asdict(spec), indent=1).encode())


def _check_values(kind: type[RunSpec] | type[RunLimits], data: object, prefix: str) -> dict[str, Any]:
    """Return the values of `data` for the fields of `kind`, exactly those and with the declared types."""
    if not isinstance(data, dict):
        raise InvalidSpec(f"{prefix or 'the spec'} is not an object")
    names = {field.name for field in fields(kind)}
    if missing := sorted(names - data.keys()):
        raise InvalidSpec(f"missing key: {', '.join(prefix + name for name in missing)}")
    if unknown := sorted(data.keys() - names):
        raise InvalidSpec(f"unknown key: {', '.join(prefix + name for name in unknown)}")
    hints = typing.get_type_hints(kind)
    return {name: _check_value(data[name], hints[name], prefix + name) for name in names}


def _check_value(value: Any, hint: Any, name: str) -> Any:
    """Return `value` as the type `hint` (JSON arrays become tuples). `InvalidSpec` names the key."""
    if hint is RunLimits:
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is UnionType:
        return None if value is None else _check_value(value, arguments[0], name)
    if origin is tuple and isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if origin is Mapping and isinstance(value, dict) and all(isinstance(item, str) for item in value.values()):
        return dict(value)
    if origin is Literal and value in arguments:
        return value
    if origin is None and type(value) in ((int, float) if hint is float else (hint,)):
        return value
    raise InvalidSpec(f"wrong value for {name}")
