"""A conversation with a real program through its agent: what the wrapper does, as small as it can be."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from workers.agents import create_agent
from workers.contract.agent_events import AgentEvent
from workers.contract.spec import RunSpec, write_spec


class Conversation:
    """Starts the program of a spec and reads it until an awaited event; ends it with the `with` block."""

    def __init__(self, spec: RunSpec, run_dir: Path) -> None:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            write_spec(run_dir, spec)
        self.agent = create_agent(spec.program)
        self.agent.prepare(spec, run_dir)
        self.events: list[AgentEvent] = []
        self._read = 0
        self._rest = b""
        self._stderr = run_dir / "stderr.log"
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                self.agent.command(spec),
                cwd=spec.workspace,
                env={**spec.env, **self.agent.environment(spec)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )

    def __enter__(self) -> Conversation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Politely first: the bridge to Codex takes its server along, and a killed one leaves it behind."""
        for signum, seconds in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
            if self._process.poll() is None:
                os.killpg(self._process.pid, signum)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)

    def say(self, lines: Iterable[bytes]) -> None:
        """Write to the program."""
        assert self._process.stdin is not None
        for line in lines:
            self._process.stdin.write(line)
        self._process.stdin.flush()

    def until(self, kind: str, timeout: float = 40, **fields: object) -> AgentEvent:
        """The next event of this kind whose payload has these fields."""
        deadline = time.monotonic() + timeout
        while True:
            while self._read < len(self.events):
                event = self.events[self._read]
                self._read += 1
                if event.kind == kind and fields.items() <= event.payload.items():
                    return event
            assert self._more(deadline), f"no {kind} {fields}\n{self.describe_events()}"

    def finish(self) -> int:
        """End the conversation and give the exit code."""
        self.say(self.agent.end())
        assert self._process.stdin is not None
        self._process.stdin.close()
        while self._more(time.monotonic() + 20):
            pass
        return self._process.wait(timeout=20)

    def list_events(self, kind: str) -> list[AgentEvent]:
        """All events of a kind so far."""
        return [event for event in self.events if event.kind == kind]

    def describe_events(self) -> str:
        """Everything that was seen, for a failing test."""
        lines = "\n".join(f"{event.kind} {dict(event.payload)}" for event in self.events)
        return f"{lines}\nstderr: {self.stderr}"

    @property
    def stderr(self) -> str:
        return self._stderr.read_text(errors="replace")

    def _more(self, deadline: float) -> bool:
        """Read what comes next; False at the end of the output or at the deadline."""
        assert self._process.stdout is not None
        handle = self._process.stdout.fileno()
        ready, _, _ = select.select([handle], [], [], max(0.0, deadline - time.monotonic()))
        chunk = os.read(handle, 65536) if ready else b""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.events += self.agent.parse(line)
            if replies := self.agent.take_replies():
                self.say(replies)
        return bool(chunk)
