"""The health report as this web process sees it: the stored results, and what only it can check itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import cast

from flask import current_app, g

import auth
from database import Session, StoreError
from models import HealthStatus, now
from settings import Settings
from tickets.operations import health, local_checks, task_checks
from tickets.operations.health import HealthReport
from tickets.operations.health_check import HealthCheck
from tickets.operations.start_grace import StartGrace

from . import metrics

MAX_BUSY_SHARE = 0.8
"""Share of a worker's threads in use above which health warns, since few are left for further requests."""
SUSTAINED_SECONDS = 20.0
"""How long a fault of a web process must last, as a moment of load is none."""
RECENT_LOOK = timedelta(minutes=5)
"""Age of a look up to which this process waits for `SUSTAINED_SECONDS` before it reports that there is no later one."""
AGREEMENT_SECONDS = 10.0
"""How long the report of one web process that results are overdue counts for the others too, so that they say the same."""
OVERDUE = "overdue"
PROBE_SECONDS = 5.0
"""How long the result of a write probe is used, which all threads of a process share."""


def load_verdict(session: Session) -> HealthReport:
    """Load the health report, once per request."""
    if "verdict" not in g:
        g.verdict = _get_observer().build_report(session)
    return cast(HealthReport, g.verdict)


def _get_observer() -> Observer:
    """Return the observer of this process and instance."""
    if "health_observer" not in current_app.extensions:
        current_app.extensions["health_observer"] = Observer(auth.get_instance())
    return cast(Observer, current_app.extensions["health_observer"])


class Observer:
    """The checks of one web process, with what it must remember between two of them."""

    def __init__(self, instance: auth.Instance) -> None:
        self._instance = instance
        self._grace = StartGrace()
        self._since: dict[str, float] = {}
        self._probing = threading.Lock()
        self._probe_until = 0.0
        self._probe_result: HealthCheck | None = None

    @property
    def settings(self) -> Settings:
        return self._instance.settings

    def build_report(self, session: Session) -> HealthReport:
        """Build the report. While the stored results are old, this process looks for the reason itself."""
        try:
            results = health.load_results(session)
        except StoreError as error:
            return health.build_report([*self._check_self(), local_checks.report_damage(str(error.orig))])
        age = next(check for check in results if check.name == health.CHECK_AGE)
        if health.is_overdue(age):
            for check in self._explain_overdue(session, age):
                results = health.replace_check(results, check)
        else:
            self._since.pop(OVERDUE, None)
        for check in self._check_self():
            results = health.replace_check(results, check)
        return health.build_report(results)

    def _check_self(self) -> list[HealthCheck]:
        workers = metrics.list_workers()
        failing = [worker.pid for worker in workers if worker.failing]
        return [
            local_checks.check_disk(self.settings.home),
            self._require_sustained("event-log", lambda: _check_event_log(failing)),
            self._require_sustained("web", lambda: _check_threads(workers, self.settings.threads)),
        ]

    def _require_sustained(self, name: str, check: Callable[[], HealthCheck]) -> HealthCheck:
        """Report a fault only when this process has seen it for `SUSTAINED_SECONDS`."""
        result, moment = check(), time.monotonic()
        if result.ok:
            self._since.pop(name, None)
            return result
        lasts = moment - self._since.setdefault(name, moment) >= SUSTAINED_SECONDS
        return result if lasts else HealthCheck(name, HealthStatus.OK, "busy for a moment")

    def _explain_overdue(self, session: Session, age: HealthCheck) -> list[HealthCheck]:
        """Explain why the next look is late. Without a reason it may be about to be made, for a moment."""
        reasons = self._find_reasons()
        scheduler = [task_checks.check_scheduler(session)] if self.settings.scheduler else []
        if any(not check.ok for check in reasons):
            self._since.pop(OVERDUE, None)
            return [*reasons, *scheduler]
        lasts = self._lasts_overdue()
        is_recent = age.since is not None and now() - age.since < RECENT_LOOK
        if self._grace.is_starting() or (is_recent and not lasts):
            return [HealthCheck(age.name, HealthStatus.OK, "the next checks are about to run")]
        metrics.OVERDUE.set(time.monotonic())
        return [*reasons, *scheduler]

    def _lasts_overdue(self) -> bool:
        """Return whether the results have been overdue for long, as this process has seen or another one has reported."""
        moment = time.monotonic()
        has_seen = moment - self._since.setdefault(OVERDUE, moment) >= SUSTAINED_SECONDS
        return has_seen or moment - metrics.find_latest(metrics.OVERDUE) < AGREEMENT_SECONDS

    def _find_reasons(self) -> list[HealthCheck]:
        """Find out why nothing stores results: no write is possible, or no program can start."""
        home = self.settings.home
        return [self._probe_write(), local_checks.check_settings(home), local_checks.check_home(home)]

    def _probe_write(self) -> HealthCheck:
        """Probe whether the store can be written, or return the result of moments ago, as a probe may wait."""
        with self._probing:
            if self._probe_result is None or time.monotonic() >= self._probe_until:
                write = local_checks.probe_write(self._instance.engine)
                if write.ok and self._probe_result is not None and not self._probe_result.ok:
                    self._grace.restart()  # what was prevented until now is about to be done
                self._probe_result = write
                self._probe_until = time.monotonic() + PROBE_SECONDS
            return self._probe_result


def _check_event_log(failing: list[str]) -> HealthCheck:
    if not failing:
        return HealthCheck("event-log", HealthStatus.OK, "every web worker can read it")
    text = f"Web worker {', '.join(failing)} cannot read the event log, so its pages get no live updates."
    return HealthCheck("event-log", HealthStatus.FAILED, text, "See the web log on the Logs page.")


def _check_threads(workers: list[metrics.WebWorker], threads: int) -> HealthCheck:
    crowded = [worker for worker in workers if worker.busy > MAX_BUSY_SHARE * threads]
    if not crowded:
        return HealthCheck("web", HealthStatus.OK, f"{len(workers)} {'worker' if len(workers) == 1 else 'workers'}")
    details = ", ".join(f"{worker.busy} of {threads} threads of web worker {worker.pid}" for worker in crowded)
    return HealthCheck("web", HealthStatus.WARNING, f"{details} are busy.", "Increase MC_THREADS.")
