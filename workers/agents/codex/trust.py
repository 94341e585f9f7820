"""Codex runs only hooks that its user trusts, and asks on its screen; a run's own hooks are trusted beforehand.

Only hooks of the run's own configuration file are trusted; a repository's hooks stay as they are.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

from workers.contract.fields import Fields, format_line, get_object, get_objects, get_text, parse_object
from workers.contract.spec import RunSpec

from .program import build_options

TIMEOUT_SECONDS = 20.0


def trust_hooks(spec: RunSpec, env: Mapping[str, str]) -> None:
    """Ask the program for the hooks it knows and mark ours as trusted. Raises OSError when it cannot be started.

    One that does not answer leaves its hooks untrusted: the screen asks, and the state stays unknown until then.
    """
    argv = [spec.binary or "codex", "app-server", *build_options(spec)]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    server = subprocess.Popen(argv, env=dict(env), cwd=spec.workspace, stdin=pipe, stdout=pipe, stderr=null)
    watchdog = threading.Timer(TIMEOUT_SECONDS, server.kill)
    watchdog.start()
    try:
        _converse(server, spec)
    finally:
        watchdog.cancel()


def _converse(server: subprocess.Popen[bytes], spec: RunSpec) -> None:
    """Speak with the server until it has ended; one that ends or hangs up early leaves what was not written behind."""
    assert server.stdin
    assert server.stdout
    with suppress(BrokenPipeError), server:  # closing a pipe writes once more what could not be written
        try:
            _send_requests(server.stdin, _read_replies(server.stdout), spec)
        except (BrokenPipeError, StopIteration):
            server.kill()


def _send_requests(requests: IO[bytes], replies: Iterator[Fields], spec: RunSpec) -> None:
    """initialize, hooks/list, config/batchWrite; each request waits for the reply to the one before."""

    def ask(number: int, method: str, params: Fields) -> Fields:
        requests.write(format_line({"id": number, "method": method, "params": params}))
        requests.flush()
        return next(reply for reply in replies if reply.get("id") == number)

    ask(1, "initialize", {"clientInfo": {"name": "mission_control", "title": "Mission Control", "version": "1"}})
    requests.write(format_line({"method": "initialized"}))
    listed = get_objects(get_object(ask(2, "hooks/list", {"cwds": [spec.workspace]}), "result"), "data")
    own = str(Path(spec.config_dir) / "config.toml")
    own_hooks = [
        hook for folder in listed for hook in get_objects(folder, "hooks") if get_text(hook, "sourcePath") == own
    ]
    trusted = {get_text(hook, "key"): {"trusted_hash": get_text(hook, "currentHash")} for hook in own_hooks}
    edit = {"keyPath": "hooks.state", "mergeStrategy": "upsert", "value": trusted}
    ask(3, "config/batchWrite", {"edits": [edit]})
    requests.close()


def _read_replies(stream: IO[bytes]) -> Iterator[Fields]:
    for line in stream:
        yield parse_object(line)
