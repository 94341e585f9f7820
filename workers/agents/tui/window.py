"""The tmux window in which an agent's program shows its screen."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from workers.contract.fields import Fields, parse_object
from workers.contract.spec import RunSpec
from workers.host import isolated_python, processes
from workers.host.tmux import Tmux, TmuxError

from .screen import Screen, ScreenState
from .screen_process import RECORD_FILE

SCREEN_LINES = 60
LOOK_SECONDS = 0.4
"""How long a reading of the screen's state may be reported. Before typing it is always read again."""
KILLED_EXIT_CODE = 128 + signal.SIGKILL


class ScreenWindow:
    """A started screen. Raises `TmuxError` when it cannot be opened."""

    def __init__(self, spec: RunSpec, run_dir: Path, screen: Screen) -> None:
        self._spec = spec
        self._screen = screen
        self._record = run_dir / RECORD_FILE
        self._tmux = Tmux(f"mc-{spec.instance}", Path(spec.socket).parent)
        name, _, value = spec.marker.partition("=")
        argv = isolated_python.build_argv("workers.agents.tui.screen_process", str(run_dir))
        pane = self._tmux.new_window(f"mc-{spec.identifier}", spec.program, argv, Path(spec.workspace), {name: value})
        self._pane = pane.id
        self._keeper = processes.identify(pane.pid)
        self._looked: tuple[float, ScreenState] = (0.0, "unknown")

    @property
    def is_over(self) -> bool:
        """True when the program's process and its parent have ended."""
        return self._keeper is None or not processes.is_alive(self._keeper)

    @property
    def exit_code(self) -> int:
        """The exit code of an ended screen. 137 when its parent process was killed."""
        code = self._facts.get("exit_code")
        return code if isinstance(code, int) else KILLED_EXIT_CODE

    def state(self, refresh: bool = False) -> ScreenState:
        """Return the program's state, at most `LOOK_SECONDS` old, or new with `refresh`."""
        now = time.monotonic()
        if refresh or now - self._looked[0] > LOOK_SECONDS:
            self._looked = (now, self._read_state())
        return self._looked[1]

    def submit(self, text: str) -> None:
        self._screen.submit(self._tmux, self._pane, text)

    def clear(self) -> None:
        self._screen.clear(self._tmux, self._pane)

    def shows(self, text: str) -> bool:
        return text in self._tmux.capture(self._pane, SCREEN_LINES)

    def press(self, key: str) -> None:
        self._tmux.send_keys(self._pane, key)

    def terminate(self) -> None:
        """Send TERM to the parent process, which passes it on to the program."""
        if self._keeper:
            processes.send_signal(self._keeper, signal.SIGTERM)

    @property
    def _facts(self) -> Fields:
        try:
            return parse_object(self._record.read_bytes())
        except OSError:
            return {}

    def _read_state(self) -> ScreenState:
        pid = self._facts.get("pid")
        if not isinstance(pid, int):
            return "unknown"
        try:
            return self._screen.state(self._spec, pid, self._tmux.title(self._pane))
        except TmuxError:
            return "unknown"
