"""The terminal of a run in the browser: its pane through a tmux client, or what it showed, kept after its end.

The page stands in a frame of its own because xterm.js writes inline styles: this route alone allows them.

The WebSocket sends the screen as binary frames, and text frames {"type": "ended" | "resync"}; it takes
{"type": "resize", "columns": n, "lines": n} and, from an operator who asked for it with ?write=1,
{"type": "input", "data": "…"}.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass
from typing import Annotated, Literal

from flask import Blueprint, Response, make_response, render_template, request
from pydantic import Field, TypeAdapter, ValidationError
from simple_websocket import ConnectionClosed

import auth
from auth import Right
from database import reading
from models import Run, RunMode, RunState
from tickets.shared import lookup
from tickets.shared.errors import Forbidden, NotFound
from tickets.shared.inputs import Body
from web.site import headers
from web.stream import sockets
from web.stream.log_tail import PaneLog, last_lines
from web.stream.sockets import GOING_AWAY, WebSocketConnection
from workers.host.tmux import Tmux
from workers.run.console_client import Console, pane_of

SHOWN_LINES = 2000
FIRST_SIZE = (120, 36)
UNREADABLE = 1003

blueprint = Blueprint("console", __name__)
sockets.serves(blueprint)


class Resize(Body):
    type: Literal["resize"]
    columns: int = Field(ge=1, le=500)
    lines: int = Field(ge=1, le=500)


class Input(Body):
    type: Literal["input"]
    data: str = Field(max_length=64 << 10)


Said = TypeAdapter[Resize | Input](Annotated[Resize | Input, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class Shown:
    """What there is to see of a run. `state` is live, kept (`log` holds what the pane showed), or why there is nothing:
    starting, elsewhere, external, gone."""

    run: Run
    identifier: str
    state: str
    log: str = ""

    @property
    def session(self) -> str:
        return f"mc-{self.identifier}"


@blueprint.get("/runs/<number:run>/console")
def show(run: int) -> Response:
    """The page of the frame."""
    shown = _look(run)
    may_write = auth.caller().right is Right.OPERATOR
    writes = may_write and _write_asked()
    response = make_response(
        render_template("console.html", shown=shown, may_write=may_write, writes=writes and shown.state == "live")
    )
    response.headers["Content-Security-Policy"] = headers.policy(
        style_src="'self' 'unsafe-inline'", frame_ancestors="'self'"
    )
    return response


@sockets.route(blueprint, "/ws/runs/<number:run>/console")
def attach(line: WebSocketConnection, run: int) -> None:
    """Show the pane of a live run."""
    shown, writes = _look(run), _write_asked()
    if writes and auth.caller().right is not Right.OPERATOR:
        raise Forbidden("Only an operator types into a terminal.")
    if shown.state != "live":
        raise NotFound("This run has no terminal here.")
    console = Console(_tmux(), shown.session, FIRST_SIZE, write=writes)
    screen = threading.Thread(target=_show, args=(line, console), name="console screen", daemon=True)
    screen.start()
    try:
        while (said := line.receive()) is None or _obey(console, said):
            continue
        line.close(UNREADABLE, "that cannot be understood")
    finally:
        console.close()
        screen.join()


def _show(line: WebSocketConnection, console: Console) -> None:
    """Send the screen until the client of tmux, or the one at the other end, is gone."""
    try:
        while line.open and (data := console.read(sockets.SLICE_SECONDS)) is not None:
            if data:
                line.send(data)
        line.send(json.dumps({"type": "ended"}))
    except (ConnectionClosed, OSError):
        return
    finally:
        line.close(GOING_AWAY, "the terminal has ended")


def _obey(console: Console, said: str | bytes) -> bool:
    """Carry out what the page asks; False for what is not understood or not allowed."""
    try:
        order = Said.validate_json(said)
    except ValidationError:
        return False
    if isinstance(order, Resize):
        console.resize(order.columns, order.lines)
        return True
    if console.write_allowed:
        console.type(order.data.encode())
    return console.write_allowed


def _write_asked() -> bool:
    return request.args.get("write") == "1"


def _tmux() -> Tmux:
    settings = auth.instance().settings
    return Tmux(f"mc-{settings.instance}", settings.sockets_dir)


def _look(run_id: int) -> Shown:
    with reading(auth.instance().engine) as session:
        run = lookup.get_run(session, run_id)
        identifier = lookup.get(session, run.ticket_id).identifier
    why = _why_not_live(run, identifier)
    log = _log(run, identifier) if why else ""
    return Shown(run, identifier, "kept" if log else why or "live", log)


def _why_not_live(run: Run, identifier: str) -> str | None:
    if run.mode is RunMode.EXTERNAL:
        return "external"
    if run.host != socket.gethostname():
        return "elsewhere"
    if run.state is RunState.ENDED:
        return "gone"
    if pane_of(_tmux(), f"mc-{identifier}", run.tmux_target) is None:
        return "starting" if run.state is RunState.STARTING else "gone"
    return None


def _log(run: Run, identifier: str) -> str:
    """What the pane showed, as far as it was kept."""
    file = PaneLog.of(auth.instance().settings, run.id, identifier).open()
    if file is None:
        return ""
    with file:
        return last_lines(file, SHOWN_LINES).decode(errors="replace")
