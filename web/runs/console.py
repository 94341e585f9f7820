"""The console of a run in the browser: its live pane through a tmux client, or the log of the pane after its end.

The page is embedded as an iframe because xterm.js writes inline styles, which only this route allows.

The WebSocket sends the screen as binary frames, and text frames {"type": "ended" | "resync"}; it takes
{"type": "resize", "columns": n, "lines": n} and, from an operator who asked for it with ?write=1,
{"type": "input", "data": "…"}.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, make_response, render_template, request
from pydantic import Field, TypeAdapter, ValidationError
from simple_websocket import ConnectionClosed

import auth
from database import reading
from models import Run, RunMode, RunState
from tickets.shared import lookup, rights
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body
from tickets.shared.rights import Act
from web.site import headers
from web.stream import sockets
from web.stream.log_tail import PaneLog
from web.stream.sockets import GOING_AWAY, WebSocketConnection
from workers.host.tmux import Tmux
from workers.run.console_client import ConsoleClient, find_pane

MAX_LOG_LINES = 2000
DEFAULT_SIZE = (120, 36)
UNSUPPORTED_DATA = 1003

blueprint = Blueprint("console", __name__)
sockets.install_slots(blueprint)


class Resize(Body):
    type: Literal["resize"]
    columns: int = Field(ge=1, le=500)
    lines: int = Field(ge=1, le=500)


class Input(Body):
    type: Literal["input"]
    data: str = Field(max_length=64 << 10)


CLIENT_MESSAGE = TypeAdapter[Resize | Input](Annotated[Resize | Input, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class ConsoleView:
    """The console of a run.

    `state` is "live", "kept" (`log` is the log of the pane), or the reason why there is nothing to show: "starting",
    "elsewhere", "external", "gone".
    """

    run: Run
    identifier: str
    state: str
    log: str = ""

    @property
    def session(self) -> str:
        return f"mc-{self.identifier}"


@blueprint.get("/runs/<number:run>/console")
def show(run: int) -> Response:
    """Render the console page, which the Console tab embeds."""
    view = _load_console(run)
    may_write = rights.may(auth.get_actor(), Act.TYPE)
    writes = may_write and _is_write_requested()
    response = make_response(
        render_template("runs/console.html", shown=view, may_write=may_write, writes=writes and view.state == "live")
    )
    response.headers["Content-Security-Policy"] = headers.build_policy(
        style_src="'self' 'unsafe-inline'", frame_ancestors="'self'"
    )
    return response


@sockets.route_socket(blueprint, "/ws/runs/<number:run>/console")
def attach(connection: WebSocketConnection, run: int) -> None:
    """Connect the client to the pane of a live run."""
    view, writes = _load_console(run), _is_write_requested()
    if writes:
        rights.require(auth.get_actor(), Act.TYPE)
    if view.state != "live":
        raise NotFound("This run has no live terminal on this machine.")
    console = ConsoleClient(_build_tmux(), view.session, DEFAULT_SIZE, write=writes)
    screen = threading.Thread(target=_send_screen, args=(connection, console), name="console screen", daemon=True)
    screen.start()
    try:
        while (message := connection.receive()) is None or _apply_message(console, message):
            continue
        connection.close(UNSUPPORTED_DATA, "invalid message")
    finally:
        console.close()
        screen.join()


def _send_screen(connection: WebSocketConnection, console: ConsoleClient) -> None:
    """Send the screen until the tmux client ends or the WebSocket closes."""
    try:
        while connection.open and (data := console.read(sockets.SLICE_SECONDS)) is not None:
            if data:
                connection.send(data)
        connection.send(json.dumps({"type": "ended"}))
    except (ConnectionClosed, OSError):
        return
    finally:
        connection.close(GOING_AWAY, "the terminal has ended")


def _apply_message(console: ConsoleClient, message: str | bytes) -> bool:
    """Apply a message of the page, and return False if it is invalid or not allowed."""
    try:
        command = CLIENT_MESSAGE.validate_json(message)
    except ValidationError:
        return False
    if isinstance(command, Resize):
        console.resize(command.columns, command.lines)
        return True
    if console.write_allowed:
        console.type(command.data.encode())
    return console.write_allowed


def _is_write_requested() -> bool:
    return request.args.get("write") == "1"


def _build_tmux() -> Tmux:
    settings = auth.get_instance().settings
    return Tmux(f"mc-{settings.instance}", settings.sockets_dir)


def _load_console(run_id: int) -> ConsoleView:
    with reading(auth.get_instance().engine) as session:
        run = lookup.get_run(session, run_id)
        identifier = lookup.get_ticket(session, run.ticket_id).identifier
    obstacle = _find_obstacle(run, identifier)
    log = _read_log(run, identifier) if obstacle else ""
    return ConsoleView(run, identifier, "kept" if log else obstacle or "live", log)


def _find_obstacle(run: Run, identifier: str) -> str | None:
    if run.mode is RunMode.EXTERNAL:
        return "external"
    if run.host != auth.get_instance().settings.machine_name:
        return "elsewhere"
    if run.state is RunState.ENDED:
        return "gone"
    if find_pane(_build_tmux(), f"mc-{identifier}", run.tmux_target) is None:
        return "starting" if run.state is RunState.STARTING else "gone"
    return None


def _read_log(run: Run, identifier: str) -> str:
    """Read the end of the pane's log, or "" if there is none."""
    return PaneLog.for_run(auth.get_instance().settings, run.id, identifier).read_end(MAX_LOG_LINES) or ""
