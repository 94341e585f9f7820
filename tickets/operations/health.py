"""The health report: one verdict (working, degraded or not working), its causes, and every check.

The job `health-check` evaluates the checks of the store and of its host every few seconds and stores the results
(`store_results`). Every reader loads them (`load_report`), so that all pages, the API and the doctor agree, and adds what
only its own process can see. A check that has become right is reported as wrong until it has been right for a while, so
that the verdict does not flicker.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from models import HealthResult, HealthStatus, now

from . import root_causes
from .health_check import HealthCheck, format_span

CHECK_AGE = "check-age"
"""The check that the other checks have been made recently."""
LOOK_SECONDS = 20.0
"""How often the scheduler looks. Timers of systemd look once a minute."""
LOOK_LIMIT = timedelta(seconds=100)
"""Age of the newest look above which its results prove nothing."""
SUSPICIOUS_AGE = timedelta(seconds=45)
"""Age of the newest look from which a reader looks for what may prevent the next one."""
RIGHT_BEFORE_OK = timedelta(seconds=30)
"""How long a check must be right before it is no longer reported as wrong."""
GONE_HOST_AGE = timedelta(days=1)
"""Age of a host's newest look after which the host no longer counts."""
RESULTS = select(HealthResult)


@dataclass(frozen=True, slots=True)
class RootCause:
    """A check that is wrong, with the wrong checks that it explains."""

    check: HealthCheck
    explains: tuple[HealthCheck, ...] = ()

    @property
    def sentence(self) -> str:
        """The check's detail and remedy."""
        return f"{self.check.detail} {self.check.remedy}".strip()


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks with a verdict. `causes` are the root causes of what is wrong, the worst first."""

    verdict: str
    causes: tuple[RootCause, ...]
    checks: tuple[HealthCheck, ...]

    @property
    def reasons(self) -> list[str]:
        return [cause.sentence for cause in self.causes]


def build_report(checks: Iterable[HealthCheck]) -> HealthReport:
    """Build the report of these checks."""
    all_checks = tuple(checks)
    recovering = root_causes.list_recovering(all_checks)
    wrong = sorted((check for check in (*all_checks, *recovering) if not check.ok), key=lambda check: -check.rank)
    explained = root_causes.find_explanations(wrong)
    causes = tuple(
        RootCause(check, tuple(effect for effect in wrong if explained.get(effect) == check))
        for check in wrong
        if check not in explained
    )
    return HealthReport(_choose_verdict(all_checks), causes, all_checks)


def _choose_verdict(checks: Iterable[HealthCheck]) -> str:
    return ("working", "degraded", "not working")[max((check.rank for check in checks), default=0)]


def load_results(session: Session) -> tuple[HealthCheck, ...]:
    """Load the results of the last look of every host that is not gone, with a check that these looks are recent."""
    present = (row for row in session.scalars(RESULTS) if abs(now() - row.seen) < GONE_HOST_AGE)
    rows = sorted(present, key=lambda row: (row.name, row.host))
    many_hosts = len({row.host for row in rows if row.host}) > 1
    return (*(_read_result(row, many_hosts) for row in rows), _check_look(rows))


def _read_result(row: HealthResult, many_hosts: bool) -> HealthCheck:
    detail = f"{row.host}: {row.detail}" if many_hosts and row.host else row.detail
    return HealthCheck(row.name, row.status, detail, row.remedy, row.since, row.host)


def _check_look(rows: list[HealthResult]) -> HealthCheck:
    """Check that every host looks. A look of the future counts as old, as the clock was set back."""
    newest = {row.host: row.seen for row in rows}
    for row in rows:
        newest[row.host] = max(newest[row.host], row.seen)
    ages = {host: abs(now() - look_time) for host, look_time in newest.items()}
    if not ages:
        return HealthCheck(
            CHECK_AGE,
            HealthStatus.FAILED,
            "Health checks are not running.",
            "Start the scheduler with bin/run, or the timers of docs/operations.md.",
        )
    host, age = max(ages.items(), key=lambda item: item[1])
    if age <= LOOK_LIMIT:
        return HealthCheck(CHECK_AGE, HealthStatus.OK, f"{format_span(age)} ago", since=newest[host])
    where = f" on {host}" if host and len(ages) > 2 else ""
    return HealthCheck(
        CHECK_AGE,
        HealthStatus.FAILED,
        f"The health checks{where} last ran {format_span(age)} ago, so these results may be outdated.",
        "See the scheduler's log on the Logs page.",
        newest[host],
    )


def measure_age(session: Session, host: str) -> timedelta | None:
    """Measure the age of the newest look of a host. None when it has never looked."""
    newest = session.scalar(select(func.max(HealthResult.seen)).where(HealthResult.host == host))
    return abs(now() - newest) if newest else None


def is_overdue(check_age: HealthCheck) -> bool:
    """Return whether the next look is late, by the check of their age."""
    return not check_age.ok or (check_age.since is not None and now() - check_age.since > SUSPICIOUS_AGE)


def store_results(session: Session, host: str, checks: Iterable[HealthCheck]) -> list[HealthResult]:
    """Replace the results of a host (of the store: without a name), and return the rows.

    A check that was wrong and is right stays as it was reported until it has been right for `RIGHT_BEFORE_OK`.
    """
    earlier = {row.name: row for row in session.scalars(RESULTS.where(HealthResult.host == host))}
    rows = []
    for check in checks:
        row = earlier.pop(check.name, None)
        if row is None:
            row = HealthResult(host=host, name=check.name, status=check.status, detail=check.detail)
            session.add(row)
        _update_result(row, check)
        rows.append(row)
    if earlier:
        session.execute(delete(HealthResult).where(HealthResult.host == host, HealthResult.name.in_(earlier)))
    return rows


def _update_result(row: HealthResult, check: HealthCheck) -> None:
    row.seen = now()
    if check.ok and row.status is not HealthStatus.OK:
        row.right_since = row.right_since or row.seen
        if row.seen - row.right_since < RIGHT_BEFORE_OK:
            return
    if row.status is not check.status:
        row.since = row.seen
    row.status, row.detail, row.remedy, row.right_since = check.status, check.detail, check.remedy, None


def replace_check(checks: Iterable[HealthCheck], better: HealthCheck) -> tuple[HealthCheck, ...]:
    """Replace the check of the same name, or add it."""
    return (*(check for check in checks if check.name != better.name), better)
