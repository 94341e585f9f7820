"""What the web's processes measure of themselves, and `/metrics`: all of it in the format of Prometheus.

Under gunicorn each worker keeps its figures in files of its own (PROMETHEUS_MULTIPROC_DIR), so that whichever of them
is asked answers for all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from flask import Blueprint, Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

import auth
from models import Session, reading
from tickets import health, store
from tickets.health import Check, Report
from tickets.store import Measured

from .api import ANYBODY

blueprint = Blueprint("vitals", __name__)

OWN = CollectorRegistry()
RUNNING = Gauge("mc_requests_running", "Views at work.", multiprocess_mode="liveall", registry=OWN)
OPEN = Gauge("mc_connections_open", "Places taken.", ["bucket"], multiprocess_mode="liveall", registry=OWN)
FAILING = Gauge("mc_tailer_failing", "1 while the log cannot be read.", multiprocess_mode="liveall", registry=OWN)
ANSWERS = Counter("mc_answers", "Requests that were answered.", ["method", "code"], registry=OWN)
SECONDS = Histogram(
    "mc_answer_seconds",
    "Time until an answer was ready; streams are left out.",
    ["endpoint"],
    buckets=(0.005, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
    registry=OWN,
)
CROWDED = 0.8
"""Of a worker's threads: above it there is little left for the next request."""


@dataclass(slots=True)
class Worker:
    """One process of the web: `open` says how many places of each bucket are taken."""

    pid: str
    running: int = 0
    failing: bool = False
    open: dict[str, int] = field(default_factory=dict)

    @property
    def busy(self) -> int:
        """Threads in use: a WebSocket is a view at work, a stream goes on after its view."""
        return self.running + self.open.get("events", 0) + self.open.get("tails", 0)


def install(app: Flask) -> None:
    """Measure every request of this application."""
    app.before_request(_begin)
    app.after_request(_measure)
    app.teardown_request(_end)


def _begin() -> None:
    g.began = time.perf_counter()
    RUNNING.inc()


def _measure(response: Response) -> Response:
    ANSWERS.labels(request.method, str(response.status_code)).inc()
    if not response.is_streamed:
        seconds = time.perf_counter() - g.began
        SECONDS.labels(request.endpoint or "none").observe(seconds)
        response.headers["Server-Timing"] = f"app;dur={1000 * seconds:.1f}"  # milliseconds, which browsers show
    return response


def _end(_error: BaseException | None) -> None:
    if g.pop("began", None) is not None:
        RUNNING.dec()


# ------------------------------------------------------------------------------------------------------ who reads them


def workers(folder: Path) -> list[Worker]:
    """The processes of the web that are alive, by their number; this one alone where they keep no files."""
    found: dict[str, Worker] = {}
    for metric in _gauges(folder):
        for sample in metric.samples:
            worker = found.setdefault(sample.labels.get("pid", "this"), Worker(sample.labels.get("pid", "this")))
            if metric.name == "mc_requests_running":
                worker.running = int(sample.value)
            elif metric.name == "mc_tailer_failing":
                worker.failing = bool(sample.value)
            elif metric.name == "mc_connections_open":
                worker.open[sample.labels["bucket"]] = int(sample.value)
    return sorted(found.values(), key=lambda worker: worker.pid)


def _gauges(folder: Path) -> Iterable[Metric]:
    files = sorted(str(file) for file in folder.glob("gauge_liveall_*.db"))
    if not files:
        return OWN.collect()
    merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=False)  # type: ignore[no-untyped-call]
    return merged


def check(folder: Path, threads: int) -> Check:
    """Whether the web itself is well: every worker reads the log, and has threads to spare."""
    alive = workers(folder)
    deaf = [worker.pid for worker in alive if worker.failing]
    crowded = [worker for worker in alive if worker.busy > CROWDED * threads]
    if deaf:
        return Check("web", "failed", f"worker {', '.join(deaf)} cannot read the event log, so its pages hear no news")
    if crowded:
        said = ", ".join(f"{worker.busy} of {threads} threads of worker {worker.pid} are busy" for worker in crowded)
        return Check("web", "warning", f"{said}; set more with MC_THREADS")
    return Check("web", "ok", f"{len(alive)} {'worker' if len(alive) == 1 else 'workers'}")


def verdict(session: Session) -> Report:
    """Is it working? What health says, and whether the web itself is well; looked at once a request."""
    if "verdict" not in g:
        settings = auth.instance().settings
        g.verdict = health.verdict(session, settings.home, check(settings.vitals_dir, settings.threads))
    return cast(Report, g.verdict)


@blueprint.get("/metrics")
@auth.allow(*ANYBODY)
def metrics() -> Response:
    """Every figure there is, for a Prometheus server with a token."""
    instance = auth.instance()
    registry = CollectorRegistry()
    if any(instance.settings.vitals_dir.glob("*.db")):
        MultiProcessCollector(registry, str(instance.settings.vitals_dir))  # type: ignore[no-untyped-call]
    else:
        registry.register(_Same())
    with reading(instance.engine) as session:
        registry.register(_Domain(verdict(session), store.last(session)))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _Same(Collector):
    """The figures of this process, where it is the only one."""

    def collect(self) -> Iterable[Metric]:
        return OWN.collect()


class _Domain(Collector):
    """What health saw just now, and what the reaper counted last."""

    def __init__(self, report: Report, measured: Measured | None) -> None:
        self._report = report
        self._measured = measured

    def collect(self) -> Iterator[Metric]:
        yield _family("mc_working", "1 working, 0.5 degraded, 0 not working.", "", {"": _grade(self._report.verdict)})
        grades = {check.name: {"ok": 1.0, "warning": 0.5}.get(check.status, 0.0) for check in self._report.checks}
        yield _family("mc_check", "1 ok, 0.5 warning, 0 failed.", "check", grades)
        if self._measured:
            yield _family("mc_rows", "Rows of a table when they were counted last.", "table", self._measured.rows)
            yield _family(
                "mc_tickets", "Tickets by state when they were counted last.", "status", self._measured.tickets
            )
            yield _family("mc_store_bytes", "Size of the store.", "part", self._measured.sizes)


def _grade(verdict: str) -> float:
    return {"working": 1.0, "degraded": 0.5}.get(verdict, 0.0)


def _family(name: str, help_text: str, label: str, values: dict[str, Any]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label] if label else [])
    for key, value in values.items():
        family.add_metric([key] if label else [], float(value))
    return family
