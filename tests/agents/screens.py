"""Real runs on a real screen: the wrapper in tmux as a door starts it, and what can be seen of it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from protocol import RunLimits
from tests.waiting import wait_until
from tests.workers.fake_api import FakeApi
from tests.workers.runs import notify_wrapper
from workers.contract.spec import RunSpec
from workers.host import processes
from workers.host.processes import Identity
from workers.host.tmux import Tmux, TmuxError
from workers.run import launch, spool

TIMEOUT_SECONDS = 60.0


class ScreenRun:
    """One run with `mode = tui`."""

    def __init__(self, spec: RunSpec, folder: Path, board: FakeApi, prompt: str) -> None:
        limits = replace(RunLimits(), grace_seconds=6, startup_seconds=30)
        self.spec = replace(spec, instance=uuid4().hex[:8], api=board.base, mode="tui", limits=limits)
        self.dir = folder / f"run-{self.spec.generation}"
        self.board = board
        self.tmux = Tmux(f"mc-{self.spec.instance}", Path(self.spec.socket).parent)
        launch.write_run_dir(self.dir, self.spec, prompt)
        launch.start_wrapper(self.tmux, self.dir, self.spec)

    @property
    def screen(self) -> str:
        """What every pane shows, for a failing test."""
        try:
            return "\n".join(f"--- {pane}\n{self.tmux.capture(pane.id, 40)}" for pane in self.tmux.list_panes())
        except TmuxError as error:
            return str(error)

    @property
    def pid(self) -> int:
        """The program's own process."""
        pid: int = json.loads((self.dir / "screen.json").read_bytes())["pid"]
        return pid

    @property
    def wrapper(self) -> int:
        return int(self.board.heartbeats[-1]["pid"])

    def report(self, timeout: float = TIMEOUT_SECONDS) -> dict[str, Any]:
        """The report, once the wrapper has left it."""
        self.until(lambda: (self.dir / "exit.json").exists(), timeout)
        report: dict[str, Any] = json.loads((self.dir / "report.json").read_bytes())
        return report

    def event(self, kind: str, **fields: object) -> dict[str, Any]:
        """The payload of the first event of a kind with these fields."""
        payloads: list[dict[str, Any]] = self.until(
            lambda: self.events(kind, **fields), TIMEOUT_SECONDS, f"{kind} {fields}"
        )
        return payloads[0]

    def events(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        payloads = [
            entry["payload"] for entry in spool.replay_events(self.dir) if entry["event_type"] == f"agent.{kind}"
        ]
        return [entry for entry in payloads if fields.items() <= entry.items()]

    def say(self, body: str, **fields: object) -> str:
        """A message from the board; its uuid."""
        uuid = str(uuid4())
        self.order(messages=[{"id": 1, "uuid": uuid, "body": body, "mode": "queue", **fields}])
        return uuid

    def type(self, text: str) -> None:
        """What a person types at the screen."""
        pane = self._pane()
        self.tmux.send_text(pane, text)
        self.tmux.send_keys(pane, "Enter")

    def leave(self) -> None:
        """A person ends the program, and presses the keys again when it has not taken them."""
        program = processes.identify(self.pid)
        assert program
        for _ in range(6):
            for _ in range(2):
                self.tmux.send_keys(self._pane(), "C-c")
            with suppress(AssertionError):
                wait_until(lambda: not processes.is_alive(program), 10, "the end of the program")
                return

    def _pane(self) -> str:
        return self.tmux.list_panes()[-1].id

    def order(self, **orders: object) -> None:
        self.board.control |= orders
        notify_wrapper(self.spec)

    def until(self, look: Any, timeout: float = TIMEOUT_SECONDS, description: str = "the condition") -> Any:
        try:
            return wait_until(look, timeout, description)
        except AssertionError as error:
            lines = "\n".join(f"{event['event_type']} {event['payload']}" for event in spool.replay_events(self.dir))
            raise AssertionError(f"{error}\n{lines}\n{self.screen}") from None

    def wait_until_gone(self, also: Iterable[Identity] = (), timeout: float = TIMEOUT_SECONDS) -> None:
        """Nothing of the run is alive any more."""
        identities = list(also)
        self.until(
            lambda: not [*processes.find_by_marker(self.spec.marker), *filter(processes.is_alive, identities)], timeout
        )

    def clear(self) -> None:
        processes.stop(Identity(0, "", ""), self.spec.marker, 0)
        try:
            self.tmux._run("kill-server")
        except TmuxError:
            return
