"""Rendering of `/metrics` in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

from prometheus_client import CONTENT_TYPE_LATEST as CONTENT_TYPE_LATEST
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from tickets.operations.health import HealthReport
from tickets.operations.store_stats import StoreStats

from . import metrics


def render(report: HealthReport, store_stats: StoreStats | None) -> bytes:
    """Render all metrics: of every web process, of the current health report, and of the latest database statistics."""
    registry = CollectorRegistry()
    registry.register(
        _Families([*_measure_processes(), *_measure_requests(), *_measure_health(report), *_measure_store(store_stats)])
    )
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _measure_processes() -> Iterator[Metric]:
    running = GaugeMetricFamily("mc_requests_running", "Views at work.", labels=["pid"])
    places = GaugeMetricFamily("mc_connections_open", "Places taken.", labels=["bucket", "pid"])
    failing = GaugeMetricFamily("mc_tailer_failing", "1 while the log cannot be read.", labels=["pid"])
    for worker in metrics.list_workers():
        running.add_metric([worker.pid], worker.running)
        failing.add_metric([worker.pid], worker.failing)
        for bucket, count in worker.open.items():
            places.add_metric([bucket, worker.pid], count)
    return iter((running, places, failing))


def _measure_requests() -> Iterator[Metric]:
    answers = CounterMetricFamily("mc_answers", "Requests that were answered.", labels=["method", "code"])
    seconds = HistogramMetricFamily(
        "mc_answer_seconds", "Time until an answer was ready; streams are left out.", labels=["endpoint"]
    )
    totals = metrics.VALUES.totals()
    for (metric, *labels), count in totals.items():
        if metric == metrics.ANSWERS:
            answers.add_metric(labels, count)
        elif metric == metrics.SECONDS_SUM:
            counts = accumulate(totals.get((metrics.SECONDS, *labels, bound), 0) for bound in metrics.BOUNDS)
            seconds.add_metric(labels, list(zip(metrics.BOUNDS, counts, strict=True)), count)
    return iter((answers, seconds))


def _measure_health(report: HealthReport) -> Iterator[Metric]:
    yield _gauge("mc_working", "1 working, 0.5 degraded, 0 not working.", "", {"": _grade(report.verdict)})
    grades = {check.name: {"ok": 1.0, "warning": 0.5}.get(check.status, 0.0) for check in report.checks}
    yield _gauge("mc_check", "1 ok, 0.5 warning, 0 failed.", "check", grades)


def _measure_store(store_stats: StoreStats | None) -> Iterator[Metric]:
    if store_stats:
        yield _gauge("mc_rows", "Rows of a table when they were counted last.", "table", store_stats.rows)
        yield _gauge("mc_tickets", "Tickets by state when they were counted last.", "status", store_stats.tickets)
        yield _gauge("mc_store_bytes", "Size of the store.", "part", store_stats.sizes)


def _grade(verdict: str) -> float:
    return {"working": 1.0, "degraded": 0.5}.get(verdict, 0.0)


def _gauge(name: str, help_text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_text, labels=[label] if label else [])
    for key, value in values.items():
        family.add_metric([key] if label else [], float(value))
    return family
