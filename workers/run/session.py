"""One agent from its start to its exit: the event loop that writes to it, reads from it and shuts it down."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocol import Outcome, StopCode, StopOrder, WrapperState
from redaction import Redaction
from workers.contract.agent import AgentAdapter
from workers.contract.agent_events import AgentEvent, make_event, make_raw_event
from workers.contract.pricing import Pricing
from workers.contract.spec import RunSpec
from workers.host import processes, subreaper
from workers.host.line_splitter import LineSplitter, mark_omission, mend_clipped_line, split_merged

from .agent_process import AgentProcess
from .control import HeartbeatThread, Mailbox, Orders
from .message_delivery import MessageDelivery
from .recorder import Recorder, StderrRecorder
from .shutdown import LimitTimers, Shutdown, find_exhausted_budget
from .signal_watch import SignalWatch
from .verdict import Cause, judge_failure, parse_message, read_signal

TICK_SECONDS = 0.25
SETTLE_SECONDS = 0.5
"""How long an idle agent must be silent before its turn counts as over."""
LOOK_SECONDS = 2.0
"""How long the last heartbeat before the end of a conversation may take."""
PENDING_SECONDS = 30.0
"""How long an idle agent may leave a message unaccepted."""
SIGNAL_SECONDS = 20.0
"""How long an agent may go on after it reported its verdict through a tool."""


@dataclass(frozen=True, slots=True)
class SessionResult:
    """End of the process. `cause` is None when the wrapper did not end it, `left` are processes that survived KILL."""

    exit_code: int
    cause: Cause | None
    left: tuple[processes.Identity, ...] = ()


class Session:
    """A started agent. Raises OSError when its program cannot be started."""

    def __init__(
        self,
        spec: RunSpec,
        run_dir: Path,
        agent: AgentAdapter,
        recorder: Recorder,
        redaction: Redaction,
        mailbox: Mailbox,
    ) -> None:
        self._spec = spec
        self._run_dir = run_dir
        self._agent = agent
        self._recorder = recorder
        self._redaction = redaction
        self._pricing = Pricing(spec.prices, spec.model)
        self._mailbox = mailbox
        self._lines = LineSplitter(spec.limits.line_bytes)
        self._stderr = StderrRecorder(run_dir / "stderr.log", recorder, redaction)
        self._selector = selectors.DefaultSelector()
        self._selector.register(mailbox, selectors.EVENT_READ, self._take_orders)
        self._ending: Shutdown | None = None
        self._over = False
        self._look: tuple[int, float] | None = None
        self._seen_state = ""
        self._control: HeartbeatThread | None = None
        self._child = self._start(agent.command(spec))
        now = time.monotonic()
        self._timers = LimitTimers(spec.limits, started=now, heard=now)
        self._signal = SignalWatch(run_dir)
        self._delivery = MessageDelivery(agent, self._child, recorder, self._signal.mark_message)

    @property
    def state(self) -> WrapperState:
        return "stopping" if self._ending else self._agent.state

    @property
    def pid(self) -> int:
        return self._child.identity.pid

    def run(self, prompt: str, control: HeartbeatThread) -> SessionResult:
        """Work on `prompt` until the process has ended, and kill everything that is left of it."""
        self._control = control
        self._child.write(self._agent.open(prompt))
        if self._agent.one_turn:
            self._child.close_stdin()
        while not self._over:
            for key, _ in self._selector.select(TICK_SECONDS):
                key.data()
            self._tick(time.monotonic())
        return self._finish()

    def _start(self, argv: Sequence[str]) -> AgentProcess:
        env = {**self._spec.environment, **self._agent.environment(self._spec)}
        workspace = Path(self._spec.workspace)
        return AgentProcess(argv, env, workspace, self._selector, self._receive, self._stderr.feed, self._mark_ended)

    def _mark_ended(self) -> None:
        self._over = True

    # Input from the agent

    def _receive(self, chunk: bytes) -> None:
        for line, is_clipped in self._lines.feed(chunk):
            self._read(line, is_clipped)

    def _read(self, line: bytes, is_clipped: bool) -> None:
        """Record the events of one output line. No line is too long, merged or garbled to continue."""
        self._look = None
        if not is_clipped:
            parts = split_merged(line) if line.strip() else []
        elif whole := mend_clipped_line(line):
            parts = [whole]
        else:
            self._take_all([make_raw_event(mark_omission(line), f"longer than {self._spec.limits.line_bytes} bytes")])
            return
        for part in parts:
            self._take_all(self._agent.parse(part))
            self._child.write(self._agent.take_replies())

    def _take_all(self, events: list[AgentEvent]) -> None:
        """Record the events of one line. Endless retries count as silence, as does noise while the agent is idle."""
        kinds = {agent_event.kind for agent_event in events}
        if "retry" not in kinds and not (kinds == {"raw"} and self._agent.state == "idle"):
            self._timers.restart_silence(time.monotonic())
        for agent_event in events:
            self._take(agent_event)

    def _take(self, agent_event: AgentEvent) -> None:
        self._recorder.record_event(self._delivery.restore_source(self._pricing.add_cost(agent_event)))
        if agent_event.kind == "result":
            self._delivery.end_turn(interrupted=agent_event.payload.get("stop_reason") == "interrupted")

    # Decisions

    def _take_orders(self) -> None:
        for orders in self._mailbox.take():
            if orders.stop:
                self._stop(orders.stop)
            elif not self._ending:
                self._delivery.take(orders)

    def _stop(self, stop: StopOrder) -> None:
        """Begin the shutdown that the server or a signal orders. It overrides one that the wrapper began itself."""
        kind: Literal["terminated", "stopped"] = "terminated" if stop.code == StopCode.SIGNAL else "stopped"
        if self._ending and self._ending.cause.kind in ("stopped", "terminated"):
            return
        self._begin_shutdown(Cause(kind, stop.reason, stop.code), interrupt=True, grace=stop.grace_seconds)

    def _begin_shutdown(self, cause: Cause, interrupt: bool, grace: float | None = None) -> None:
        seconds = self._spec.limits.grace_seconds if grace is None else grace
        self._ending = Shutdown(cause, time.monotonic(), seconds, interrupt)
        if cause.text:
            self._recorder.say(f"Ending the agent: {cause.text}", "warning")

    def _tick(self, now: float) -> None:
        subreaper.reap_orphans(self._child.identity.pid)
        self._delivery.record_deliveries()
        self._delivery.release_held()
        self._timers.track_turn(self._agent.state in ("starting", "running"), now)
        self._tell_state()
        if self._ending:
            self._proceed(self._ending, now)
        elif cause := self._timers.find_expired_limit(now) or find_exhausted_budget(
            self._spec.limits, self._recorder.facts.usage
        ):
            self._begin_shutdown(cause, interrupt=True)
        elif self._has_settled(now):
            self._judge_turn(now)
        elif self._is_late_after_signal(now):
            self._begin_shutdown(Cause("finished"), interrupt=True)

    def _tell_state(self) -> None:
        """Send a new state to the server at once, not with the next heartbeat."""
        if self.state != self._seen_state and self._control:
            self._seen_state = self.state
            self._control.look()

    def _has_settled(self, now: float) -> bool:
        """True when the agent's turn is over and no message is on its way."""
        silent_seconds = now - self._timers.heard
        if self._agent.state != "idle" or silent_seconds < SETTLE_SECONDS or self._child.has_unwritten:
            return False
        if self._recorder.facts.open_tasks and silent_seconds < self._spec.limits.silence_seconds:
            return False
        return not self._delivery.has_pending_messages or silent_seconds > PENDING_SECONDS

    def _judge_turn(self, now: float) -> None:
        """End the conversation of an idle agent when it has a verdict or failure, else ask it for one."""
        if not self._has_looked(now):
            return
        facts = self._recorder.facts
        if self._spec.attended and not self._has_fresh_signal():
            return
        if judge_failure(facts) or self._has_fresh_signal():
            self._begin_shutdown(Cause("finished"), interrupt=False)
        elif self._is_plan(facts.final_message):
            self._recorder.record_event(make_event("plan", text=facts.final_message))
            self._begin_shutdown(Cause("planned"), interrupt=False)
        elif parse_message(facts.final_message):
            self._begin_shutdown(Cause("finished"), interrupt=False)
        elif self._delivery.awaits_person and now - self._timers.heard < self._spec.limits.silence_seconds:
            return
        elif self._delivery.nudged:
            self._begin_shutdown(Cause("silent", "The agent ended its turn without a verdict, twice."), interrupt=False)
        else:
            self._delivery.nudge()
            self._timers.restart_silence(now)

    def _is_plan(self, message: str) -> bool:
        """True when the message that ends a planning turn is the plan. A question is asked first, and answered."""
        if not self._spec.plan or self._delivery.has_approved_plan or not message.strip():
            return False
        own = parse_message(message)
        return own is None or own.kind is not Outcome.QUESTION

    def _has_looked(self, now: float) -> bool:
        """True when a heartbeat has asked the server for messages since the agent became silent."""
        if not self._control:
            return True
        if self._look is None:
            self._look = (self._control.look(), now)
        ticket, since = self._look
        return self._control.answered >= ticket or now - since > LOOK_SECONDS

    def _has_fresh_signal(self) -> bool:
        """True when the agent reported through a tool, after the last message (which may have changed its verdict)."""
        return self._signal.is_fresh and bool(read_signal(self._run_dir, self._spec.nonce, self._redaction))

    def _is_late_after_signal(self, now: float) -> bool:
        is_late = self._signal.measure_age(now) > SIGNAL_SECONDS
        return is_late and not self._delivery.has_pending_messages and self._has_fresh_signal()

    # Shutdown

    def _proceed(self, ending: Shutdown, now: float) -> None:
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
        """Kill the process, its tree, its orphans and everything that carries the run's marker. Returns the survivors."""
        return tuple(processes.stop(self._child.identity, self._spec.marker, 0, os.getpid()))

    def _finish(self) -> SessionResult:
        """Kill what is left, so that nothing writes any more, then read the remaining output."""
        survivors = self._sweep()
        exit_code = self._child.settle()
        for line, is_clipped in self._lines.rest():
            self._read(line, is_clipped)
        self._stderr.close()
        cause = self._ending.cause if self._ending else None
        if exit_code and cause is None and self._recorder.facts.result is None:
            self._explain(exit_code)
        self._delivery.give_up()
        self._selector.close()
        return SessionResult(exit_code, cause, survivors)

    def _explain(self, exit_code: int) -> None:
        """Record why the process ended in the middle of a turn, as far as its last output shows."""
        if agent_event := self._agent.explain(exit_code, self._stderr.tail):
            self._recorder.record_event(agent_event)


def make_stop_orders(signum: int) -> Orders:
    """Translate a signal to the wrapper into a stop order."""
    return Orders(StopOrder(f"The wrapper received {signal.Signals(signum).name}.", StopCode.SIGNAL))
