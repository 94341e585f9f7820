"""Metrics of the web processes, and `/metrics` in the format of Prometheus.

Any worker answers for all of them, since their metrics are in shared memory.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from dataclasses import dataclass, field
from http import HTTPMethod, HTTPStatus
from itertools import product

from flask import Blueprint, Flask, Response, g, request

import auth
from database import reading
from tickets.operations import store_stats
from web.api.resource import ANYBODY

from .shared_values import Gauge, Name, SharedValues

blueprint = Blueprint("vitals", __name__)

VALUES = SharedValues()
RUNNING = Gauge(VALUES, "mc_requests_running")
FAILING = Gauge(VALUES, "mc_tailer_failing")
OVERDUE = Gauge(VALUES, "overdue_reported")
"""When a process last reported that the results of the health checks are overdue, by the clock that never steps."""
OPEN = {bucket: Gauge(VALUES, "mc_connections_open", bucket) for bucket in ("events", "tails", "sockets")}
ANSWERS, SECONDS, SECONDS_SUM = "mc_answers", "mc_answer_seconds", "mc_answer_seconds_sum"
LIMITS = (0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Upper limits of the histogram's buckets, in seconds."""
BOUNDS = (*map(str, LIMITS), "+Inf")
OTHER = "other"


@dataclass(slots=True)
class WebWorker:
    """A web process with its gauges. `open` is the number of long-lived connections by kind."""

    pid: str
    running: int = 0
    failing: bool = False
    open: dict[str, int] = field(default_factory=dict)

    @property
    def busy(self) -> int:
        """Number of threads in use: running requests (with WebSockets), and streams, which outlive their request."""
        return self.running + self.open.get("events", 0) + self.open.get("tails", 0)


def install(app: Flask) -> None:
    """Measure every request of this application."""
    app.before_request(_begin)
    app.after_request(_measure)
    app.teardown_request(_end)
    VALUES.declare(product([ANSWERS], [*HTTPMethod, OTHER], [*(str(int(status)) for status in HTTPStatus), OTHER]))


def declare_endpoints(app: Flask) -> None:
    """Declare the duration metrics of every endpoint, after all are registered and before the fork."""
    endpoints = [*app.view_functions, "none"]
    VALUES.declare(product([SECONDS], endpoints, BOUNDS))
    VALUES.declare(product([SECONDS_SUM], endpoints))


def _begin() -> None:
    g.began = time.perf_counter()
    RUNNING.add(1)


def _measure(response: Response) -> Response:
    VALUES.add(_answer(request.method, str(response.status_code)))
    if not response.is_streamed:
        seconds = time.perf_counter() - g.began
        endpoint = request.endpoint or "none"
        VALUES.add((SECONDS, endpoint, BOUNDS[bisect_left(LIMITS, seconds)]))
        VALUES.add((SECONDS_SUM, endpoint), seconds)
        response.headers["Server-Timing"] = f"app;dur={1000 * seconds:.1f}"  # in milliseconds, shown by browsers
    return response


def _answer(method: str, code: str) -> tuple[str, str, str]:
    """Return the counter of a response, a common one for methods and statuses that HTTP does not define."""
    name = ANSWERS, method, code
    return name if name in VALUES else (ANSWERS, OTHER, OTHER)


def _end(_error: BaseException | None) -> None:
    if g.pop("began", None) is not None:
        RUNNING.add(-1)


# ------------------------------------------------------------------------------------------------- reading the metrics


def find_latest(gauge: Gauge) -> float:
    """Find the highest value of a gauge in all live web processes."""
    return max((values[gauge.name] for values in VALUES.gauges().values()), default=0.0)


def list_workers() -> list[WebWorker]:
    """List the live web processes, by process id."""
    return [_worker(str(pid), gauges) for pid, gauges in sorted(VALUES.gauges().items())]


def _worker(pid: str, gauges: dict[Name, float]) -> WebWorker:
    places = {bucket: int(gauges[gauge.name]) for bucket, gauge in OPEN.items()}
    return WebWorker(pid, int(gauges[RUNNING.name]), bool(gauges[FAILING.name]), places)


@blueprint.get("/metrics")
@auth.allow(*ANYBODY)
def metrics() -> Response:
    """Serve all metrics to a Prometheus server with a token."""
    from . import exposition, verdict  # takes 4 MB of memory, which only an instance that is scraped needs

    with reading(auth.get_instance().engine) as session:
        text = exposition.render(verdict.load_verdict(session), store_stats.load_last(session))
    return Response(text, content_type=exposition.CONTENT_TYPE_LATEST)
