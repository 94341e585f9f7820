"""An order to go on with another model, carried out by the command of the program's own screen."""

from __future__ import annotations

from workers.contract.agent_events import AgentEvent, make_event
from workers.contract.fields import Fields, get_text

from .screen import Screen
from .window import ScreenWindow

CONFIRM_SECONDS = 15.0
"""How long the program may take to answer the command."""
NO_ANSWER = "The command was typed, but the screen did not answer it. Look at the console."


class ModelChange:
    """The newest order. It is typed once, into an idle screen, as a dialog would take it for an answer."""

    def __init__(self, screen: Screen) -> None:
        self._command = screen.model_command
        self._dialog = screen.model_dialog
        self._uuid = ""
        self._model = ""
        self._deadline: float | None = None

    @property
    def needs_command(self) -> bool:
        """True while `take_command` has something to type."""
        return bool(self._uuid) and self._deadline is None

    @property
    def is_unanswered(self) -> bool:
        """True from the command to its answer, while nothing else may be typed."""
        return self._deadline is not None

    def order(self, order: Fields) -> None:
        """Take an order, in place of an earlier one."""
        self._uuid, self._model, self._deadline = get_text(order, "uuid"), get_text(order, "model"), None

    def take_command(self, now: float) -> str:
        """Return what to type into the idle screen, once. Empty when there is nothing to do."""
        if not self.needs_command:
            return ""
        self._deadline = now + CONFIRM_SECONDS
        return self._command.format(self._model)

    def confirm_dialog(self, window: ScreenWindow) -> None:
        """Confirm the dialog in which the program asks whether the whole conversation may be read again."""
        if self.is_unanswered and self._dialog and window.shows(self._dialog):
            self._dialog = ""
            window.press("Enter")

    def match(self, agent_event: AgentEvent) -> AgentEvent:
        """Return the program's answer with the order that it answers. Other events stay as they are."""
        if agent_event.kind != "model" or self._deadline is None:
            return agent_event
        answer = {**agent_event.payload, "uuid": self._uuid, "model": self._model}
        self._uuid, self._deadline = "", None
        return AgentEvent("model", answer)

    def give_up(self, now: float) -> list[AgentEvent]:
        """Report an order that the program has not answered in time."""
        if self._deadline is None or now < self._deadline:
            return []
        return [self.match(make_event("model", ok=False, detail=NO_ANSWER))]
