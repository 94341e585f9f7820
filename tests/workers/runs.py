"""Runs for tests: specs with harmless defaults, and real wrappers started on them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import RunLimits
from tests.waiting import wait_until
from workers.contract.spec import RunSpec
from workers.host import processes
from workers.run import launch, spool
from workers.run.launch import ROOT

from . import scripted

TIMEOUT_SECONDS = 60.0


def build_spec(folder: Path, /, **changes: Any) -> RunSpec:
    """A spec of the script agent whose places are all below `folder`; `changes` replace its fields."""
    values: dict[str, Any] = {
        "version": 1,
        "instance": "a1b2c3d4",
        "run_id": 12,
        "ticket_id": 3,
        "identifier": "MC-3",
        "title": "Say hello",
        "generation": 1,
        "api": "http://127.0.0.1:9",
        "token": "mcr_token-of-this-run",
        "board_token_file": None,
        "nonce": "0123456789abcdef0123456789abcdef",
        "socket": str(folder / "run.sock"),
        "program": "script",
        "binary": None,
        "mode": "headless",
        "attended": False,
        "model": None,
        "effort": None,
        "argv": (),
        "permissions": "workspace",
        "allowed_commands": (),
        "denied_commands": (),
        "network": False,
        "sandbox": True,
        "hidden_folders": (),
        "conversation_id": "6f1c2b0e-6f5f-4f0e-9d0a-1f5f0c7f3a11",
        "resume": False,
        "forks": None,
        "plan": False,
        "config_dir": str(folder / "config"),
        "workspace": str(folder / "workspace"),
        "repository": None,
        "branch": None,
        "base_sha": None,
        "base_branch": None,
        "env": {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8"},
        "mcp_command": None,
        "check": None,
        "setup": None,
        "teardown": None,
        "folder": None,
        "copies": (),
        "links": (),
        "limits": RunLimits(),
        "secrets": (),
        "own_home": None,
        "repository_configuration": "none",
        "repository_digest": None,
        "prices": {},
    }
    return RunSpec(**values | changes)


def notify_wrapper(spec: RunSpec) -> None:
    """Make a run's wrapper look at its orders at once, as the board does. Before it listens it looks by itself."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel, suppress(OSError):
        channel.sendto(b"look", spec.socket)


class Run:
    """One run with its directory, its workspace and, once started, its wrapper."""

    def __init__(self, folder: Path, api: str, prompt: str, /, **changes: Any) -> None:
        self.dir = folder / "run"
        limits = changes.pop("limits", {})
        spec = build_spec(folder, api=api, instance=uuid4().hex[:8], **changes)
        self.spec = replace(spec, limits=replace(RunLimits(grace_seconds=2), **limits))
        Path(self.spec.workspace).mkdir(exist_ok=True)
        launch.write_run_dir(self.dir, self.spec, prompt)
        self.wrapper: subprocess.Popen[bytes] | None = None

    def start(self) -> Run:
        env = dict(os.environ) | dict([self.spec.marker.split("=")])
        command = [sys.executable, "-m", "workers.run.wrapper", str(self.dir)]
        with (self.dir.parent / "screen.txt").open("wb") as screen:
            self.wrapper = subprocess.Popen(command, cwd=ROOT, env=env, stdout=screen, stderr=screen)
        return self

    def wait(self, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The report, once the wrapper has exited."""
        assert self.wrapper
        wait_until(lambda: self.wrapper is None or self.wrapper.poll() is not None, timeout, "the wrapper's end")
        assert self.wrapper.returncode == 0, self.screen
        return self.report

    def event(self, event_type: str, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The payload of the first event of a type, waited for."""
        return wait_until(lambda: self.events(event_type), timeout, f"an event {event_type}")[0]

    def events(self, event_type: str) -> list[dict[str, Any]]:
        return [event["payload"] for event in spool.replay_events(self.dir) if event["event_type"] == event_type]

    @property
    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.dir / "report.json").read_text())
        return report

    @property
    def screen(self) -> str:
        return (self.dir.parent / "screen.txt").read_text()

    def survivors(self) -> list[processes.Identity]:
        return processes.find_by_marker(self.spec.marker)

    def clear(self) -> None:
        if self.wrapper:
            self.wrapper.kill()
            self.wrapper.wait()
        processes.stop(processes.Identity(0, "", ""), self.spec.marker, 0)


@contextmanager
def running(folder: Path, api: str, prompt: str, /, **changes: Any) -> Iterator[Run]:
    """A started wrapper; nothing of the run is left afterwards."""
    run = Run(folder, api, prompt, **changes).start()
    try:
        yield run
    finally:
        run.clear()


def build_scripted_fields(folder: Path, **changes: Any) -> dict[str, Any]:
    """Spec fields for an agent that does what its prompt says; see `tests.workers.scripted`."""
    env = dict(build_spec(folder).env)
    env |= {"TEST_NONCE": build_spec(folder).nonce, "TEST_RUN_DIR": str(folder / "run")}
    return {"binary": sys.executable, "argv": (str(Path(scripted.__file__)),), "env": env, **changes}
