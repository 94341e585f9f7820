"""The delivery of messages, answers and interrupts to a running agent, and their receipts."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import failpoints
from failpoints import Failpoint
from protocol import DeliveryMode, ReceiptState
from workers.contract.agent import AgentAdapter
from workers.contract.agent_events import AgentEvent, make_event

from .agent_process import AgentProcess
from .control import Orders
from .recorder import Recorder

NUDGE_TEXT = (
    "Your turn has ended, but Mission Control has no verdict for this ticket yet. Report now: call mc_report_done, "
    "mc_report_review or mc_ask_question, or answer with a line that begins with DONE:, REVIEW: or QUESTION: and "
    "says what you did, what is to be reviewed, or what you need to know."
)
HELD_TEXT = "It waits for the end of the turn."
NO_MODEL_TEXT = "This program does not change its model during a run."
FINAL_STATES = frozenset({ReceiptState.ACCEPTED, ReceiptState.CANCELLED, ReceiptState.FAILED, ReceiptState.REFUSED})


class MessageDelivery:
    """Delivers each message, answer and interrupt once, however often the server repeats it.

    `on_message` is called before each message is delivered.
    """

    def __init__(
        self, agent: AgentAdapter, child: AgentProcess, recorder: Recorder, on_message: Callable[[], None]
    ) -> None:
        self._agent = agent
        self._child = child
        self._recorder = recorder
        self._on_message = on_message
        self._sources: dict[str, str] = {}
        self._taken: set[str] = set()
        self._answered: set[str] = set()
        self._unwritten: list[str] = []
        self._interrupts: list[str] = []
        self._held: deque[Mapping[str, Any]] = deque()
        self.nudged = False
        self.awaits_person = False
        self.has_approved_plan = False

    def take(self, orders: Orders) -> None:
        """Carry out the new orders of a heartbeat's response."""
        if orders.interrupt and orders.interrupt not in self._taken:
            self._taken.add(orders.interrupt)
            self._interrupt(orders.interrupt)
        if orders.model and orders.model["uuid"] not in self._taken:
            self._change_model(orders.model)
        for answer in orders.answers:
            self._answer(answer)
        for message in orders.messages:
            if message["uuid"] not in self._taken:
                self._take_message(message)

    def nudge(self) -> None:
        """Ask the agent, once, for the missing verdict."""
        self.nudged = True
        uuid = str(uuid4())
        self._sources[uuid] = "nudge"
        self._child.write(self._agent.send(uuid, NUDGE_TEXT))

    def release_held(self) -> None:
        """Deliver the oldest message that was held, once the turn has ended. Each begins a turn of its own."""
        if self._held and self._is_free:
            self._deliver(self._held.popleft())

    def restore_source(self, agent_event: AgentEvent) -> AgentEvent:
        """Return an echo of a delivered message with its true source."""
        source = self._sources.get(str(agent_event.payload.get("uuid"))) if agent_event.kind == "input" else None
        return AgentEvent(agent_event.kind, {**agent_event.payload, "source": source}) if source else agent_event

    def record_deliveries(self) -> None:
        """Record a `delivered` receipt for each message whose lines the program has read."""
        if self._unwritten and not self._child.has_unwritten:
            uuids, self._unwritten = self._unwritten, []
            for uuid in uuids:
                if self._is_open(uuid):
                    self._record_receipt(uuid, ReceiptState.DELIVERED)

    def end_turn(self, interrupted: bool) -> None:
        """Record that the turn has ended: its interrupts took effect, and whoever interrupted it is expected to send a message."""
        self.awaits_person = self.awaits_person or interrupted
        interrupts, self._interrupts = self._interrupts, []
        for uuid in interrupts:
            self._record_receipt(uuid, ReceiptState.ACCEPTED)

    @property
    def has_pending_messages(self) -> bool:
        """True while the agent has not accepted a message yet."""
        return any(map(self._is_open, self._sources))

    def give_up(self) -> None:
        """Mark delivered messages as failed when the conversation is over. Queued ones wait for the next run."""
        for uuid in self._sources:
            if self._recorder.facts.receipts.get(uuid) == ReceiptState.DELIVERED:
                self._record_receipt(uuid, ReceiptState.FAILED, "The conversation ended before the agent took it up.")

    def _take_message(self, message: Mapping[str, Any]) -> None:
        """Deliver a new message, or hold one that would join the running turn although it is to wait for its end."""
        uuid = str(message["uuid"])
        self._taken.add(uuid)
        self._sources[uuid] = "message"
        self.awaits_person = self.nudged = False
        if message.get("mode") == DeliveryMode.INTERRUPT:
            if self._agent.state in ("running", "waiting"):
                self._child.write(self._agent.interrupt())
        elif self._agent.joins_turn and not self._is_free:
            self._held.append(message)
            self._record_receipt(uuid, ReceiptState.QUEUED, HELD_TEXT)
            return
        self._deliver(message)

    def _deliver(self, message: Mapping[str, Any]) -> None:
        uuid = str(message["uuid"])
        self._on_message()
        lines = self._agent.send(uuid, str(message.get("body", "")))
        self._child.write(lines)
        failpoints.kill_at(Failpoint.MESSAGE_TAKEN)
        self._record_receipt(uuid, ReceiptState.QUEUED)
        if lines:
            self._unwritten.append(uuid)

    @property
    def _is_free(self) -> bool:
        """True when a message would begin a turn: the agent is idle, and has taken up all that was written to it."""
        waiting_messages = {message["uuid"] for message in self._held}
        return self._agent.state == "idle" and not any(
            self._is_open(uuid) for uuid in self._sources.keys() - waiting_messages
        )

    def _is_open(self, uuid: str) -> bool:
        return self._recorder.facts.receipts.get(uuid) not in FINAL_STATES

    def _interrupt(self, uuid: str) -> None:
        lines = self._agent.interrupt() if self._agent.state in ("running", "waiting") else []
        if not lines:
            self._record_receipt(uuid, ReceiptState.FAILED, "There was no turn to interrupt.")
            return
        self.awaits_person = True
        self._child.write(lines)
        self._interrupts.append(uuid)
        self._unwritten.append(uuid)

    def _change_model(self, order: Mapping[str, Any]) -> None:
        uuid, model = str(order["uuid"]), str(order.get("model", ""))
        self._taken.add(uuid)
        lines = self._agent.set_model(uuid, model)
        if lines is None:
            self._recorder.record_event(make_event("model", uuid=uuid, model=model, ok=False, detail=NO_MODEL_TEXT))
        else:
            self._child.write(lines)

    def _answer(self, answer: Mapping[str, Any]) -> None:
        request = str(answer["request"])
        if request in self._answered:
            return
        self._answered.add(request)
        if request == self._recorder.facts.plan_request and answer.get("behavior") == "allow":
            self.has_approved_plan = True
        self._child.write(self._agent.answer(answer))
        self._record_receipt(request, ReceiptState.DELIVERED)

    def _record_receipt(self, uuid: str, state: ReceiptState, detail: str | None = None) -> None:
        self._recorder.record_event(make_event("receipt", uuid=uuid, state=state.value, detail=detail))
