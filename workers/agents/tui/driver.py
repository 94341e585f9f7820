"""The driver between a wrapper and an agent's own screen: `python -m workers.agents.tui.driver <run directory>`.

Uses the script agent's line protocol: orders on stdin, events on stdout. It opens the screen's window,
reports events from hooks, transcript and state, types messages one at a time into an idle screen, and
counts a message as accepted only when the program's own hook repeats it. It ends with the program's exit code, and
ends the program when its stdin is closed.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from workers.agents.descriptor import load_descriptor
from workers.contract import spec as specs
from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, get_object, get_text, parse_object
from workers.contract.spec import RunSpec
from workers.host.line_splitter import LineSplitter
from workers.host.tmux import TmuxError

from .file_tail import FileTail
from .hooks import Hook, Hooks
from .model_change import ModelChange
from .permissions import PermissionRequests
from .screen import ScreenState, format_typed_text
from .tools_watch import ToolsWatch
from .turns import Turns
from .window import ScreenWindow

TICK_SECONDS = 0.1
CONFIRM_SECONDS = 15.0
"""How long the program may take to confirm a typed text, which is never typed twice."""
UNKNOWN_SECONDS = 20.0
"""How long a message waits while the state of the screen is unknown."""
LEAVE_SECONDS = 0.5
"""The pause between two C-c: the first may interrupt a turn, empty the input or ask for the second."""
CONFIRM_SECONDS = 3.0
"""How long a program that has just drawn a dialog may take to read a key."""
SILENT_SECONDS = 10.0
STDIN = 0


@dataclass(slots=True)
class ScreenMessage:
    """A text to be typed. `deadline` is when its present stage fails, None while it may wait."""

    uuid: str
    body: str
    deadline: float | None = None


class ScreenDriver:
    """One screen, from the opening of its window to its end."""

    def __init__(self, spec: RunSpec, run_dir: Path) -> None:
        self._spec = spec
        descriptor = load_descriptor(spec.program)
        self._screen = descriptor.create_screen()
        self._screen.prepare(spec, run_dir)
        self._sizes = {path: path.stat().st_size for path in self._screen.transcripts(spec)}
        self._hooks = Hooks(run_dir)
        self._permissions = PermissionRequests(spec, self._hooks, self._screen.hides_dialog, self._screen.plan_exit)
        self._tools = ToolsWatch(run_dir, spec.mcp_command is not None, self._screen.reconnect_command)
        self._model_change = ModelChange(self._screen)
        self._turns = Turns(spec.attended and spec.resume, descriptor.wordings)
        self._orders = LineSplitter(spec.limits.line_bytes)
        self._tail: FileTail | None = None
        self._waiting: deque[ScreenMessage] = deque()
        self._typed: ScreenMessage | None = None
        self._interrupted = False
        self._told: ScreenState | None = None
        self._leave_at: float | None = None
        self._listens = True
        self._window = ScreenWindow(spec, run_dir, self._screen)
        self._opened = time.monotonic()
        self._opening_dialog = self._screen.opening_dialog(spec)
        self._confirm_at = 0.0

    def run(self) -> int:
        """Run until the program has ended, and return its exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._window.terminate())
        while not self._window.is_over:
            self._listen()
            self._tick(time.monotonic())
        self._observe(time.monotonic())
        return self._window.exit_code

    def _tick(self, now: float) -> None:
        self._observe(now)
        screen_state = self._window.state()
        self._tell(self._turns.tick(screen_state, now))
        self._tell(self._permissions.look(screen_state, self._turns.open, now))
        self._tell(self._tools.look(self._turns.begun, now))
        self._tell(self._model_change.give_up(now))
        self._tell_state(
            self._turns.state(screen_state, self._permissions.asks) or self._detect_silence(screen_state, now)
        )
        try:
            self._confirm_opening(now)
            self._model_change.confirm_dialog(self._window)
            self._type(screen_state, now)
            self._leave(now)
        except TmuxError as error:
            self._tell([make_event("notice", level="warning", text=f"The screen could not be typed into: {error}")])

    def _detect_silence(self, screen_state: ScreenState, now: float) -> ScreenState | None:
        """Report a screen that has shown no state for a while as unknown, not as starting."""
        return "unknown" if screen_state == "unknown" and now - self._opened > SILENT_SECONDS else None

    # Orders

    def _listen(self) -> None:
        """Read orders, waiting at most a tick."""
        ready, _, _ = select.select([STDIN] if self._listens else [], [], [], TICK_SECONDS)
        if not ready:
            return
        chunk = os.read(STDIN, 65536)
        for line, _ in self._orders.feed(chunk):
            self._obey(parse_object(line))
        if not chunk:
            self._listens = False
            self._leave_at = self._leave_at or time.monotonic()

    def _obey(self, order: Fields) -> None:
        match get_text(order, "type"):
            case "message":
                self._waiting.append(ScreenMessage(get_text(order, "uuid"), format_typed_text(get_text(order, "text"))))
            case "answer":
                self._permissions.answer(get_object(order, "answer"))
            case "interrupt":
                self._interrupt()
            case "model":
                self._model_change.order(order)
            case "end":
                self._leave_at = self._leave_at or time.monotonic()

    def _interrupt(self) -> None:
        """Interrupt with Escape, which stops a turn and refuses an open dialog."""
        if self._window.state(refresh=True) not in ("running", "waiting"):
            return
        self._tell(self._permissions.withdraw())
        self._interrupted = True
        self._window.press("Escape")

    # Observation of the program

    def _observe(self, now: float) -> None:
        """Record new events. Hooks come first: a prompt's hook ends before the answer is in the transcript."""
        for hook in self._hooks.read():
            self._follow(get_text(hook.fields, "transcript_path"))
            self._tell(self._handle_hook(hook))
            self._tell(self._turns.hook(hook, now))
        for line in self._tail.read() if self._tail else ():
            for agent_event in self._screen.read(line):
                self._tell(self._turns.transcript(self._model_change.match(agent_event)))
                self._tell(self._tools.take_result(agent_event))

    def _handle_hook(self, hook: Hook) -> list[AgentEvent]:
        match hook.name:
            case "SessionStart":
                self._opening_dialog = ""
                session = {
                    "conversation_id": get_text(hook.fields, "session_id"),
                    "model": get_text(hook.fields, "model") or None,
                }
                return [make_event("session", program=self._spec.program, version="", **session)]
            case "UserPromptSubmit":
                return self._confirm(get_text(hook.fields, "prompt"))
            case "PermissionRequest":
                return self._permissions.take(hook)
            case "Notification" if get_text(hook.fields, "message"):
                return [make_event("notice", level="info", text=get_text(hook.fields, "message"))]
            case _:
                return []

    def _follow(self, path: str) -> None:
        """Follow this transcript from its size at the opening of the screen."""
        if path and (self._tail is None or self._tail.path != Path(path)):
            self._tail = FileTail(Path(path), self._sizes.get(Path(path), 0))

    def _confirm(self, prompt: str) -> list[AgentEvent]:
        """Record a prompt that the program has accepted: the first one, the text just typed, or a person's own."""
        message = self._typed
        if message and _is_same_text(message.body, prompt):
            self._typed = None
            return [
                make_event("input", uuid=message.uuid, text=message.body, source="echo"),
                make_event("receipt", uuid=message.uuid, state="accepted"),
            ]
        return [make_event("input", text=prompt, source="echo" if self._turns.begun else "prompt")]

    # Typing

    def _confirm_opening(self, now: float) -> None:
        """Confirm the dialog that the program shows before its session, and again while it stays, as keys may be lost."""
        if self._opening_dialog and now >= self._confirm_at and self._window.shows(self._opening_dialog):
            self._confirm_at = now + CONFIRM_SECONDS
            self._window.press("Enter")

    def _type(self, screen_state: ScreenState, now: float) -> None:
        """Type the next message if the screen is idle at this moment, not only at the last check."""
        self._give_up(screen_state, now)
        has_input = bool(self._waiting) or self._tools.needs_command or self._model_change.needs_command
        if self._typed or self._model_change.is_unanswered or not has_input or self._leave_at or self._told != "idle":
            return
        if self._window.state(refresh=True) != "idle":
            return
        if command := self._tools.take_command(now) or self._model_change.take_command(now):
            self._window.submit(command)
            return
        if self._interrupted:
            self._interrupted = False
            self._window.clear()
        self._typed = self._waiting.popleft()
        self._typed.deadline = now + CONFIRM_SECONDS
        self._window.submit(self._typed.body)

    def _give_up(self, screen_state: ScreenState, now: float) -> None:
        """Report the messages that were not delivered."""
        if self._typed and self._typed.deadline and now > self._typed.deadline:
            self._fail(self._typed, "It was typed, but the program did not confirm it.")
            self._typed = None
        if not self._waiting:
            return
        first = self._waiting[0]
        first.deadline = (first.deadline or now + UNKNOWN_SECONDS) if screen_state == "unknown" else None
        if first.deadline and now > first.deadline:
            self._fail(self._waiting.popleft(), "Nothing is typed into a screen whose state is unknown.")

    def _fail(self, message: ScreenMessage, why: str) -> None:
        self._tell([make_event("receipt", uuid=message.uuid, state="failed", detail=f"[failed_to_inject] {why}")])

    def _leave(self, now: float) -> None:
        """End the program: refuse its pending requests, then send C-c until it is gone."""
        if self._leave_at is None or now < self._leave_at:
            return
        self._tell(self._permissions.withdraw())
        self._leave_at = now + LEAVE_SECONDS
        self._window.press("C-c")

    # Output

    def _tell_state(self, state: ScreenState | None) -> None:
        if state and state != self._told:
            self._told = state
            self._tell([make_event("state", state=state)])

    def _tell(self, events: list[AgentEvent]) -> None:
        for agent_event in events:
            print(json.dumps({"kind": agent_event.kind, "payload": agent_event.payload}), flush=True)


def _is_same_text(typed_text: str, prompt: str) -> bool:
    """Return True when a prompt equals the typed text. The program may trim it or wrap its lines."""
    return "".join(typed_text.split()) == "".join(prompt.split())


def main(argv: list[str]) -> int:
    os.umask(0o077)
    run_dir = Path(argv[0])
    return ScreenDriver(specs.read_spec(run_dir), run_dir).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
