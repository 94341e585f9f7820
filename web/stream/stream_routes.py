"""Routes of the server-sent event streams: the event log of the board or of one ticket, and the pane log of a run.

Every stream occupies a thread, so their number is limited in each process. A page that is refused reconnects by itself
after `RETRY_SECONDS`. `stop()` ends all streams of the process when the server reloads or stops.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import asdict
from typing import Any, Literal

from flask import Response, current_app, request
from pydantic import Field

import auth
from auth import Right
from database import Engine, reading
from settings import Settings
from tickets.runs import claims
from tickets.shared import lookup
from tickets.shared.errors import Invalid, NotFound
from tickets.shared.inputs import Body
from web.api.request_body import EVENTS
from web.api.resource import ANYBODY, Resource
from web.site.connection_limit import ConnectionLimit
from web.site.metrics import OPEN
from web.site.stream_response import Connection, Source, Terms

from . import log_tail
from .event_poller import EventPoller
from .event_stream import EventStream
from .hub import Hub, Interest

RETRY_SECONDS = 30
MAX_TICKETS = 50
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

blueprint = Resource("streams", __name__)


class Resumed(Body):
    """Cursor at which a stream resumes. The header `Last-Event-ID` takes precedence."""

    last_event_id: str | None = None


class WatchedTickets(Resumed):
    """Comma-separated tickets whose events are all sent."""

    tickets: str | None = Field(None, description=f"at most {MAX_TICKETS}, as in `MC-1,MC-2`")


class Tailed(Resumed):
    """Number of lines of a log, and `follow=1` to follow it as a stream."""

    follow: Literal["0", "1"] | None = None
    lines: int | None = Field(None, ge=1, le=log_tail.MAX_LINES)


class Streams:
    """State of the streams of one server process."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.hub = Hub()
        self.tailer = EventPoller(engine, self.hub)
        self.events = ConnectionLimit(settings.sse_max_total_clients, OPEN["events"].set)
        self.tails = ConnectionLimit(settings.sse_max_tail_clients, OPEN["tails"].set)


_open: set[Connection] = set()
_stopping = threading.Event()
_creating = threading.Lock()


def stop() -> None:
    """End every stream of this process within a second, for good. Safe in a signal handler."""
    _stopping.set()
    for connection in tuple(_open):
        connection.stop()


def count_connections() -> dict[str, Any]:
    """Count the open streams and their limit by kind, with the state of the event poller."""
    streams = _get_streams()
    buckets = {"events": streams.events, "tails": streams.tails}
    connections = {name: {"open": slots.taken, "limit": slots.limit} for name, slots in buckets.items()}
    return {**connections, "tailer": asdict(streams.tailer.state())}


@blueprint.handles("GET", "/stream", rights=ANYBODY, query=WatchedTickets, media=(EVENTS,), errors=(404,))
def everything() -> Response:
    """Stream the events of the board, and all that runs report on the tickets named (`?tickets=MC-1,MC-2`)."""
    return _follow_events(Interest(_find_tickets(), board=True))


@blueprint.handles("GET", "/tickets/<ticket>/stream", rights=ANYBODY | {Right.RUN}, query=Resumed, media=(EVENTS,))
def one_ticket(ticket: str) -> Response:
    """Stream all events of one ticket."""
    return _follow_events(Interest(frozenset({_find_ticket_id(ticket)}), board=False))


@blueprint.handles(
    "GET", "/tickets/<ticket>/tail", rights=ANYBODY | {Right.RUN}, query=Tailed, media=("text/plain", EVENTS)
)
def pane(ticket: str) -> Response:
    """Read the pane log of the ticket's newest run: its last `lines` as text, or a stream with `follow=1`."""
    ticket_id, lines = _find_ticket_id(ticket), _read_line_count()
    if request.args.get("follow") == "1":
        newest = _build_log_finder(ticket_id)
        return _serve_stream(_get_streams().tails, lambda: log_tail.TailStream(newest, _read_cursor(), lines))
    log = _build_log_finder(ticket_id)()
    text = log.read_end(lines) if log else None
    if text is None:
        raise NotFound("The newest run of this ticket has no log on this machine.")
    return Response(text, mimetype="text/plain", headers=HEADERS)


def get_hub() -> Hub:
    """Return the hub of this process, with its event poller running."""
    streams = _get_streams()
    streams.tailer.start()
    return streams.hub


def _follow_events(interest: Interest) -> Response:
    engine, event_hub = auth.get_instance().engine, get_hub()
    return _serve_stream(_get_streams().events, lambda: EventStream(engine, event_hub, interest, _read_cursor()))


def _serve_stream(bucket: ConnectionLimit, begin: Callable[[], EventStream | log_tail.TailStream]) -> Response:
    """Serve a stream in a slot of `bucket`, which is released however the response ends, started or not."""
    slot = bucket.take()
    if slot is None:
        return build_refusal()
    with ExitStack() as stack:
        stack.callback(slot.release)
        source: Source = stack.enter_context(closing(begin()))
        connection = Connection(request.environ.get("gunicorn.socket"), _build_terms())
        _open.add(connection)
        stack.callback(_open.discard, connection)
        if _stopping.is_set():
            connection.stop()
        response = Response(connection.serve(source), mimetype=EVENTS, headers=HEADERS)
        response.call_on_close(stack.pop_all().close)
    return response


def build_refusal() -> Response:
    """Build the response for a client above the limit: 503 with the time after which to retry."""
    body = f"retry: {RETRY_SECONDS * 1000}\n\n"
    headers = HEADERS | {"Retry-After": str(RETRY_SECONDS)}
    return Response(body, 503, mimetype=EVENTS, headers=headers)


def _build_terms() -> Terms:
    settings, engine, caller = auth.get_instance().settings, auth.get_instance().engine, auth.get_caller()
    return Terms(
        settings.sse_heartbeat_seconds, settings.sse_lifetime_seconds, lambda: auth.is_still_valid(engine, caller)
    )


def _get_streams() -> Streams:
    """Return the streams of this process, created at their first use, after the fork."""
    with _creating:
        streams = current_app.extensions.get("streams")
        if not isinstance(streams, Streams):
            streams = Streams(auth.get_instance().settings, auth.get_instance().engine)
            current_app.extensions["streams"] = streams
    return streams


def _read_cursor() -> str | None:
    """Read the client's cursor: the header that a reconnecting browser sends, else the query parameter of its page."""
    return request.headers.get("Last-Event-ID") or request.args.get("last_event_id")


def _find_tickets() -> frozenset[int]:
    names = [name.strip() for name in request.args.get("tickets", "").split(",") if name.strip()]
    if len(names) > MAX_TICKETS:
        raise Invalid(f"`tickets` names at most {MAX_TICKETS} tickets.")
    with reading(auth.get_instance().engine) as session:
        return frozenset(lookup.get_ticket(session, name).id for name in names)


def _find_ticket_id(name: str) -> int:
    """Return the id of the ticket, which for a run has to be its own. Raises `Forbidden`."""
    with reading(auth.get_instance().engine) as session:
        return lookup.get_for(session, name, auth.get_actor()).id


def _build_log_finder(ticket_id: int) -> Callable[[], log_tail.PaneLog | None]:
    """Build a function that returns the pane log of the run that is the newest when it is called."""
    settings, engine = auth.get_instance().settings, auth.get_instance().engine

    def find() -> log_tail.PaneLog | None:
        with reading(engine) as session:
            newest = claims.list_runs(session, ticket_id, limit=1)
            identifier = lookup.get_ticket(session, ticket_id).identifier
        return log_tail.PaneLog.for_run(settings, newest[0].id, identifier) if newest else None

    return find


def _read_line_count() -> int:
    count = request.args.get("lines", str(log_tail.DEFAULT_LINES))
    if not count.isascii() or not count.isdigit() or not 1 <= int(count) <= log_tail.MAX_LINES:
        raise Invalid(f"`lines` must be a number from 1 to {log_tail.MAX_LINES}.")
    return int(count)
