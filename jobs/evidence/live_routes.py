"""Live routes: fetch the addresses that tickets name as evidence, from the hosts that their projects allow.

1. Read the requested addresses of this host.
2. Fetch them, a few at once, outside of any transaction.
3. Record each answer, or the rule by which it was refused, as a fact of its ticket.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from database import reading, writing
from models import TaskOutcome
from tickets.workflow import live_routes
from tickets.workflow.live_routes import PendingRoute, RouteResult

from ..job_context import JobContext
from ..schedule.event_job import EventJob
from ..task_recorder import JobResult

TASK = "live-routes"
MAX_FETCHES = 4
"""Addresses that are fetched at once."""
FETCH_SECONDS = 10
MAX_BYTES = 5 * 1024 * 1024
MAX_REDIRECTS = 3
PAUSE_SECONDS = 60.0
"""The time for which addresses are left to the task of each minute, after a pass that failed."""


def make_pass(context: JobContext) -> JobResult:
    """Fetch every requested address of this host and record its answer."""
    with reading(context.engine) as session:
        routes = live_routes.list_pending(session, context.host)
    if not routes:
        return JobResult(TaskOutcome.NOOP)
    with ThreadPoolExecutor(MAX_FETCHES) as pool:
        results = list(pool.map(fetch_route, routes))
    with writing(context.engine) as session:
        recorded_count = sum(map(partial(live_routes.record_result, session), routes, results))
    counts = {"recorded": recorded_count, "without_answer": sum(result.status is None for result in results)}
    return JobResult(TaskOutcome.ACTED if recorded_count else TaskOutcome.NOOP, counts)


def fetch_route(route: PendingRoute) -> RouteResult:
    """Fetch an address. A host may have a private address only where the project lists it by its exact name."""
    from workers.host.fetcher import FetchError, FetchPolicy, fetch  # with TLS, which the scheduler seldom needs

    policy = FetchPolicy(
        hosts=tuple(host for host in route.live_hosts if host.startswith("*.")),
        private_hosts=tuple(host for host in route.live_hosts if not host.startswith("*.")),
        schemes=("https", "http"),
        seconds=FETCH_SECONDS,
        max_bytes=MAX_BYTES,
        max_redirects=MAX_REDIRECTS,
        shows_path=True,
    )
    try:
        response = fetch(route.url, policy=policy)
    except FetchError as error:
        return RouteResult(problem=str(error))
    return RouteResult(response.status, hashlib.sha256(response.body).hexdigest(), len(response.body))


class RouteChecker(EventJob):
    """Fetches addresses as soon as they are requested."""

    thread_name, log_label = TASK, "fetching live routes"
    _pause_end = 0.0

    def tick(self) -> bool:
        """Start a pass for requested addresses. True while there is one to wait for."""
        if self._thread.is_alive:
            return True
        if time.monotonic() < self._pause_end:
            return False
        with reading(self._context.engine) as session:
            is_pending = bool(live_routes.list_pending(session, self._context.host))
        if not is_pending or not self._enabled():
            return False
        return self._thread.start(self._work)

    def _work(self) -> None:
        self._pause_end = time.monotonic() + PAUSE_SECONDS  # if the pass fails
        self._make_pass()
        self._pause_end = 0.0
