"""One agent at work, from its start until its process has ended: the loop that feeds, hears and ends it."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from workers.contract.agent import Agent
from workers.contract.agent_events import Event, raw
from workers.contract.redaction import Redaction
from workers.contract.spec import RunSpec
from workers.host import processes, subreaper
from workers.host.line_splitter import Lines, unmerged

from .agent_process import Child
from .control import Control, Mailbox, Orders, Stop
from .message_delivery import Courier
from .recorder import Complaints, Recorder
from .shutdown import Ending, Patience, overspent
from .verdict import SIGNAL, Cause, from_failure, from_message, from_signal

TICK_SECONDS = 0.25
SETTLE_SECONDS = 0.5
"""How long an idle agent must have been quiet before its turn counts as over."""
LOOK_SECONDS = 2.0
"""How long a last look for messages may take before a conversation is ended."""
OWED_SECONDS = 30.0
"""How long an idle agent may leave a message untouched."""
SIGNAL_SECONDS = 20.0
"""How long an agent may go on after it has reported its verdict through a tool."""
RAW_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class End:
    """How the process ended. `cause` is None when the wrapper had no hand in it; `left` are survivors of KILL."""

    exit_code: int
    cause: Cause | None
    left: tuple[processes.Identity, ...] = ()


class Session:
    """A started agent. Raises OSError when its program cannot be started."""

    def __init__(
        self,
        spec: RunSpec,
        run_dir: Path,
        agent: Agent,
        recorder: Recorder,
        redaction: Redaction,
        mailbox: Mailbox,
    ) -> None:
        self._spec = spec
        self._run_dir = run_dir
        self._agent = agent
        self._recorder = recorder
        self._mailbox = mailbox
        self._lines = Lines(spec.limits.line_bytes)
        self._complaints = Complaints(run_dir / "stderr.log", recorder, redaction)
        self._selector = selectors.DefaultSelector()
        self._selector.register(mailbox, selectors.EVENT_READ, self._obey)
        self._ending: Ending | None = None
        self._over = False
        self._look: tuple[int, float] | None = None
        self._seen_state = ""
        self._control: Control | None = None
        self._child = self._start(agent.command(spec))
        now = time.monotonic()
        self._patience = Patience(spec.limits, started=now, heard=now)
        self._courier = Courier(agent, self._child, recorder)

    @property
    def state(self) -> str:
        return "stopping" if self._ending else self._agent.state

    @property
    def pid(self) -> int:
        return self._child.identity.pid

    def run(self, prompt: str, control: Control) -> End:
        """Work on `prompt` until the process has ended, and leave nothing of it alive."""
        self._control = control
        self._child.write(self._agent.open(prompt))
        if self._agent.one_turn:
            self._child.close_stdin()
        while not self._over:
            for key, _ in self._selector.select(TICK_SECONDS):
                key.data()
            self._tick(time.monotonic())
        return self._finish()

    def _start(self, argv: Sequence[str]) -> Child:
        env = {**self._spec.environment, **self._agent.environment(self._spec)}
        workspace = Path(self._spec.workspace)
        return Child(argv, env, workspace, self._selector, self._hear, self._complaints.feed, self._ended)

    def _ended(self) -> None:
        self._over = True

    # Hearing

    def _hear(self, chunk: bytes) -> None:
        for line, cut in self._lines.feed(chunk):
            self._read(line, cut)

    def _read(self, line: bytes, cut: bool) -> None:
        """The events of one line of the agent's; none is too long, merged or garbled to go on."""
        self._look = None
        if cut:
            self._patience.hear(time.monotonic())
            text = line[:RAW_CHARACTERS].decode("utf-8", "replace")
            self._take(raw(text, f"longer than {self._spec.limits.line_bytes} bytes"))
            return
        for part in unmerged(line) if line.strip() else ():
            events = self._agent.parse(part)
            if not any(told.kind == "retry" for told in events):  # to try for ever is to be silent
                self._patience.hear(time.monotonic())
            for told in events:
                self._take(told)
            self._child.write(self._agent.outbox())

    def _take(self, told: Event) -> None:
        self._recorder.agent(self._courier.named(told))
        if told.kind == "result":
            self._courier.turn_over(interrupted=told.payload.get("stop_reason") == "interrupted")

    # Deciding

    def _obey(self) -> None:
        for orders in self._mailbox.take():
            if orders.stop:
                self._stop(orders.stop)
            elif not self._ending:
                self._courier.take(orders)

    def _stop(self, stop: Stop) -> None:
        """The server or a signal wants the end; that overrides an ending which the wrapper began itself."""
        kind: Literal["terminated", "stopped"] = "terminated" if stop.code == "signal" else "stopped"
        if self._ending and self._ending.cause.kind in ("stopped", "terminated"):
            return
        self._begin(Cause(kind, stop.reason, stop.code), interrupt=True, grace=stop.grace_seconds)

    def _begin(self, cause: Cause, interrupt: bool, grace: float | None = None) -> None:
        seconds = self._spec.limits.grace_seconds if grace is None else grace
        self._ending = Ending(cause, time.monotonic(), seconds, interrupt)
        if cause.kind != "finished":
            self._recorder.say(f"Ending the agent: {cause.text}", "warning")

    def _tick(self, now: float) -> None:
        subreaper.bury(self._child.identity.pid)
        self._courier.keep_receipts()
        self._patience.turn_is(self._agent.state in ("starting", "running"), now)
        self._tell_state()
        if self._ending:
            self._proceed(self._ending, now)
        elif cause := self._patience.exhausted(now) or overspent(self._spec.limits, self._recorder.facts.usage):
            self._begin(cause, interrupt=True)
        elif self._has_settled(now):
            self._judge(now)
        elif self._lingers_after_signal():
            self._begin(Cause("finished"), interrupt=True)

    def _tell_state(self) -> None:
        """The server learns of a new state at once, not with the next beat."""
        if self.state != self._seen_state and self._control:
            self._seen_state = self.state
            self._control.look()

    def _has_settled(self, now: float) -> bool:
        """Whether the agent's turn is over and nothing is on its way to it."""
        quiet = now - self._patience.heard
        if self._agent.state != "idle" or quiet < SETTLE_SECONDS or self._child.has_unwritten:
            return False
        if self._recorder.facts.open_tasks and quiet < self._spec.limits.silence_seconds:
            return False
        return not self._courier.is_owed_a_turn or quiet > OWED_SECONDS

    def _judge(self, now: float) -> None:
        """The agent is idle: end the conversation for its verdict or failure, else ask for one."""
        if not self._has_looked(now):
            return
        facts = self._recorder.facts
        if self._spec.attended and not self._has_fresh_signal():
            return
        if from_failure(facts) or self._has_fresh_signal() or from_message(facts.final_message):
            self._begin(Cause("finished"), interrupt=False)
        elif self._courier.awaits_person and now - self._patience.heard < self._spec.limits.silence_seconds:
            return
        elif self._courier.nudged:
            self._begin(Cause("silent", "The agent ended its turn without a verdict, twice."), interrupt=False)
        else:
            self._courier.nudge()
            self._patience.hear(now)

    def _has_looked(self, now: float) -> bool:
        """Whether the server was asked for messages since the agent fell silent."""
        if not self._control:
            return True
        if self._look is None:
            self._look = (self._control.look(), now)
        ticket, since = self._look
        return self._control.answered >= ticket or now - since > LOOK_SECONDS

    def _has_fresh_signal(self) -> bool:
        """Whether the agent has reported through a tool, and not before a message that may have changed its mind."""
        return self._signalled_at() >= self._courier.last_message and bool(from_signal(self._run_dir, self._spec.nonce))

    def _lingers_after_signal(self) -> bool:
        told = self._signalled_at()
        late = 0 < told < time.time() - SIGNAL_SECONDS
        return late and not self._courier.is_owed_a_turn and self._has_fresh_signal()

    def _signalled_at(self) -> float:
        try:
            return (self._run_dir / SIGNAL).stat().st_mtime
        except OSError:
            return 0.0

    # Ending

    def _proceed(self, ending: Ending, now: float) -> None:
        if self._agent.state == "idle":
            ending.hurry(now)
        match ending.due(now):
            case "interrupt":
                if self._agent.state in ("running", "waiting"):
                    self._child.write(self._agent.interrupt())
            case "end":
                self._child.write(self._agent.end())
                self._child.close_stdin()
            case "terminate":
                self._child.send(signal.SIGTERM)
            case "kill":
                self._sweep()

    def _sweep(self) -> tuple[processes.Identity, ...]:
        """Kill the process, its tree, its orphans and everything that carries the run's marker."""
        return tuple(processes.stop(self._child.identity, self._spec.marker, 0, os.getpid()))

    def _finish(self) -> End:
        """Hear the last words, then see to it that nothing is left."""
        exit_code = self._child.settle()
        for line, cut in self._lines.rest():
            self._read(line, cut)
        self._complaints.close()
        cause = self._ending.cause if self._ending else None
        if exit_code and cause is None and self._recorder.facts.result is None:
            self._explain(exit_code)
        self._courier.give_up()
        self._selector.close()
        return End(exit_code, cause, self._sweep())

    def _explain(self, exit_code: int) -> None:
        """Why the process ended in the middle of a turn, as far as its last words tell."""
        if told := self._agent.explain(exit_code, self._complaints.tail):
            self._recorder.agent(told)


def stop_for(signum: int) -> Orders:
    """What a signal to the wrapper means: a polite stop."""
    return Orders(Stop(f"The wrapper received {signal.Signals(signum).name}.", "signal"))
