"""What people and the wrapper say to a running agent, and the receipts for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

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
FINAL_STATES = frozenset({ReceiptState.ACCEPTED, ReceiptState.CANCELLED, ReceiptState.FAILED})


class MessageDelivery:
    """Takes each message, answer and interrupt once, however often the server repeats it."""

    def __init__(self, agent: AgentAdapter, child: AgentProcess, recorder: Recorder) -> None:
        self._agent = agent
        self._child = child
        self._recorder = recorder
        self._sources: dict[str, str] = {}
        self._taken: set[str] = set()
        self._answered: set[str] = set()
        self._unwritten: list[str] = []
        self._interrupts: list[str] = []
        self.nudged = False
        self.awaits_person = False
        self.last_message = 0.0

    def take(self, orders: Orders) -> None:
        """Carry out what is new in a heartbeat's answer."""
        if orders.interrupt and orders.interrupt not in self._taken:
            self._taken.add(orders.interrupt)
            self._interrupt(orders.interrupt)
        for answer in orders.answers:
            self._answer(answer)
        for message in orders.messages:
            if message["uuid"] not in self._taken:
                self._deliver(message)

    def nudge(self) -> None:
        """Ask the agent, once, for the verdict it owes."""
        self.nudged = True
        uuid = str(uuid4())
        self._sources[uuid] = "nudge"
        self._child.write(self._agent.send(uuid, NUDGE_TEXT))

    def restore_source(self, agent_event: AgentEvent) -> AgentEvent:
        """An echo of what was sent, with its true source."""
        source = self._sources.get(str(agent_event.payload.get("uuid"))) if agent_event.kind == "input" else None
        return AgentEvent(agent_event.kind, {**agent_event.payload, "source": source}) if source else agent_event

    def record_deliveries(self) -> None:
        """Say which messages the program has been given by now."""
        if self._unwritten and not self._child.has_unwritten:
            uuids, self._unwritten = self._unwritten, []
            for uuid in uuids:
                if self._recorder.facts.receipts.get(uuid) not in FINAL_STATES:
                    self._record_receipt(uuid, ReceiptState.DELIVERED)

    def end_turn(self, interrupted: bool) -> None:
        """A turn has ended, and with it every interrupt has had its effect; who interrupted it has something to say."""
        self.awaits_person = self.awaits_person or interrupted
        interrupts, self._interrupts = self._interrupts, []
        for uuid in interrupts:
            self._record_receipt(uuid, ReceiptState.ACCEPTED)

    @property
    def has_pending_messages(self) -> bool:
        """Whether a message has not been taken up by the agent yet."""
        return any(self._recorder.facts.receipts.get(uuid) not in FINAL_STATES for uuid in self._sources)

    def give_up(self) -> None:
        """The conversation is over: say which messages may be lost. Those still queued wait for the next run."""
        for uuid in self._sources:
            if self._recorder.facts.receipts.get(uuid) == ReceiptState.DELIVERED:
                self._record_receipt(uuid, ReceiptState.FAILED, "The conversation ended before the agent took it up.")

    def _deliver(self, message: Mapping[str, Any]) -> None:
        uuid = str(message["uuid"])
        self._taken.add(uuid)
        self._sources[uuid] = "message"
        self.awaits_person = self.nudged = False
        self.last_message = time.time()
        if message.get("mode") == DeliveryMode.INTERRUPT and self._agent.state in ("running", "waiting"):
            self._child.write(self._agent.interrupt())
        lines = self._agent.send(uuid, str(message.get("body", "")))
        self._child.write(lines)
        self._record_receipt(uuid, ReceiptState.QUEUED)
        if lines:
            self._unwritten.append(uuid)

    def _interrupt(self, uuid: str) -> None:
        lines = self._agent.interrupt() if self._agent.state in ("running", "waiting") else []
        if not lines:
            self._record_receipt(uuid, ReceiptState.FAILED, "There was no turn to interrupt.")
            return
        self.awaits_person = True
        self._child.write(lines)
        self._interrupts.append(uuid)
        self._unwritten.append(uuid)

    def _answer(self, answer: Mapping[str, Any]) -> None:
        request = str(answer["request"])
        if request in self._answered:
            return
        self._answered.add(request)
        self._child.write(self._agent.answer(answer))
        self._record_receipt(request, ReceiptState.DELIVERED)

    def _record_receipt(self, uuid: str, state: ReceiptState, detail: str | None = None) -> None:
        self._recorder.record_event(make_event("receipt", uuid=uuid, state=state.value, detail=detail))
