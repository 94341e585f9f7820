"""Trust for a run's own Codex hooks, since Codex runs only trusted hooks and would ask on its screen.

Hooks of the run's own configuration file are trusted, and those of a trusted repository.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from workers.contract.fields import Fields, format_line, get_object, get_objects, get_text, parse_object
from workers.contract.spec import RunSpec

TIMEOUT_SECONDS = 20.0


def trust_hooks(spec: RunSpec, options: Sequence[str]) -> None:
    """Ask the program for its hooks and mark some as trusted. Raises OSError when it cannot be started.

    If it does not answer, the hooks stay untrusted: the screen asks, and the state stays unknown until then.
    """
    argv = [spec.binary or "codex", "app-server", *options]
    env = spec.environment | {"CODEX_HOME": spec.config_dir}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    server = subprocess.Popen(argv, env=env, cwd=spec.workspace, stdin=pipe, stdout=pipe, stderr=null)
    watchdog = threading.Timer(TIMEOUT_SECONDS, server.kill)
    watchdog.start()
    try:
        _converse(server, spec)
    finally:
        watchdog.cancel()


def _converse(server: subprocess.Popen[bytes], spec: RunSpec) -> None:
    """Talk to the server until it has ended. If it ends early, the unsent requests are dropped."""
    assert server.stdin
    assert server.stdout
    with suppress(BrokenPipeError), server:  # closing a pipe writes its unwritten data once more
        try:
            _send_requests(server.stdin, _read_replies(server.stdout), spec)
        except (BrokenPipeError, StopIteration):
            server.kill()


def _send_requests(requests: IO[bytes], replies: Iterator[Fields], spec: RunSpec) -> None:
    """Send initialize, hooks/list, config/batchWrite. Each request waits for the reply to the one before."""

    def ask(number: int, method: str, params: Fields) -> Fields:
        requests.write(format_line({"id": number, "method": method, "params": params}))
        requests.flush()
        return next(reply for reply in replies if reply.get("id") == number)

    ask(1, "initialize", {"clientInfo": {"name": "mission_control", "title": "Mission Control", "version": "1"}})
    requests.write(format_line({"method": "initialized"}))
    listed = get_objects(get_object(ask(2, "hooks/list", {"cwds": [spec.workspace]}), "result"), "data")
    hooks = [hook for folder in listed for hook in get_objects(folder, "hooks") if _may_trust(hook, spec)]
    states = {get_text(hook, "key"): {"trusted_hash": get_text(hook, "currentHash")} for hook in hooks}
    edit = {"keyPath": "hooks.state", "mergeStrategy": "upsert", "value": states}
    ask(3, "config/batchWrite", {"edits": [edit]})
    requests.close()


def _may_trust(hook: Fields, spec: RunSpec) -> bool:
    source = Path(get_text(hook, "sourcePath"))
    if spec.repository_configuration == "trusted" and source.parent.name == ".codex":
        return _is_as_in_workspace(source, spec)
    return source == Path(spec.config_dir) / "config.toml"


def _is_as_in_workspace(source: Path, spec: RunSpec) -> bool:
    """Return whether a file of hooks is the one that was trusted.

    In a worktree the program reads the hooks of its repository's main folder, which may have another branch.
    """
    folders = [Path(folder) for folder in (spec.workspace, spec.repository) if folder]
    try:
        trusted_content = (folders[0] / ".codex" / source.name).read_bytes()
        return source.parent.parent in folders and source.read_bytes() == trusted_content
    except OSError:
        return False


def _read_replies(stream: IO[bytes]) -> Iterator[Fields]:
    for line in stream:
        yield parse_object(line)
