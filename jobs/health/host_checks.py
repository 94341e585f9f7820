"""Health checks of this machine, shared by the health report and `mc doctor`: disk, files, settings, tmux, git, processes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable

from sqlalchemy.exc import DatabaseError

from database import Session, reading
from jobs.job_context import JobContext
from models import Base, HealthStatus
from store_files import check_integrity
from tickets.operations import home_state, local_checks
from tickets.operations.health_check import HealthCheck
from workers.host import commands
from workers.host.tmux import NoServer, TmuxError

GIT_SECONDS = 5.0
INTEGRITY_SECONDS = 0.05
"""Time for checking pages in one look. The next look goes on with the next table."""
TABLES = tuple(sorted(Base.metadata.tables))


def run_host_checks(context: JobContext) -> list[HealthCheck]:
    """Run all checks of this machine. One that fails to run is wrong."""
    return [_run_check(name, check, context) for name, check in CHECKS.items()]


def _run_check(name: str, check: Callable[[JobContext], HealthCheck], context: JobContext) -> HealthCheck:
    try:
        return check(context)
    except Exception as error:  # one broken check must not hide the others
        text = (
            f"The check {name} cannot run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}."
        )
        return HealthCheck(name, HealthStatus.FAILED, text, "See the scheduler's log.")


def _check_disk(context: JobContext) -> HealthCheck:
    return local_checks.check_disk(context.settings.home)


def _check_settings(context: JobContext) -> HealthCheck:
    return local_checks.check_settings(context.settings.home)


def _check_tmux(context: JobContext) -> HealthCheck:
    """Check that tmux answers. Without a server it has answered too."""
    try:
        panes = context.tmux.list_panes()
    except NoServer:
        return HealthCheck("tmux", HealthStatus.OK, "no server is needed now")
    except TmuxError as error:
        text = f"tmux is not responding reliably, so no agent can start: {error}"
        return HealthCheck("tmux", HealthStatus.FAILED, f"{text.removesuffix('.')}.", _advise_on_tmux(context))
    return HealthCheck("tmux", HealthStatus.OK, f"{len(panes)} panes")


def _advise_on_tmux(context: JobContext) -> str:
    if shutil.which(context.tmux.binary, path=context.tmux.environment["PATH"]) is None:
        return "Install tmux."
    return f"Try tmux -L {context.tmux.name} list-panes -a with TMUX_TMPDIR={context.tmux.folder}."


def _check_git(context: JobContext) -> HealthCheck:
    environment = {"PATH": context.settings.ambient.environment.get("PATH", os.defpath)}
    try:
        result = commands.run(["git", "--version"], timeout=GIT_SECONDS, env=environment)
    except OSError:
        return HealthCheck("git", HealthStatus.FAILED, "git cannot be started.", "Install git, or correct PATH.")
    if result.code == 0:
        return HealthCheck("git", HealthStatus.OK, result.text.strip())
    trouble = (
        f"did not answer within {GIT_SECONDS:g} s" if result.timed_out else f"fails: {result.error_text or 'no output'}"
    )
    return HealthCheck("git", HealthStatus.FAILED, f"git {trouble}.", "Run git --version in a terminal.")


def _check_supervision(context: JobContext) -> HealthCheck:
    """Check that a process started by bin/run still has its supervisor, which would start it again."""
    if context.settings.ambient.is_served and os.getppid() == 1:
        text = "supervisord is not running, so nothing restarts programs that exit."
        return HealthCheck("supervision", HealthStatus.FAILED, text, "Start Mission Control again with bin/run.")
    return HealthCheck(
        "supervision",
        HealthStatus.OK,
        "by supervisord" if context.settings.ambient.is_served else "not supervised by Mission Control",
    )


def _check_run_folders(context: JobContext) -> HealthCheck:
    """Check that the home can be written, and that the folders of recent runs have not been deleted."""
    settings = context.settings
    if not (home := local_checks.check_home(settings.home)).ok:
        return home
    with reading(context.engine) as session:
        missing = home_state.find_runs_without_files(session, settings.runs_dir, context.host, settings.retention.runs)
    if missing:
        problem = home_state.describe_missing_files(missing, settings.runs_dir)
        return HealthCheck("run-folders", HealthStatus.WARNING, *problem)
    return home


def _check_integrity(context: JobContext) -> HealthCheck:
    return INTEGRITY.check(context)


class IntegrityChecker:
    """Checks the pages of the store, a few tables at a time, and remembers the tables with problems."""

    def __init__(self) -> None:
        self._next = 0
        self._problems: dict[str, str] = {}

    def check(self, context: JobContext) -> HealthCheck:
        """Check tables for `INTEGRITY_SECONDS`, at least one, and return the result for all."""
        end = time.monotonic() + INTEGRITY_SECONDS
        with reading(context.engine) as session:
            for _ in TABLES:
                self._check_table(session, TABLES[self._next])
                self._next = (self._next + 1) % len(TABLES)
                if time.monotonic() > end:
                    break
        if not self._problems:
            return HealthCheck("integrity", HealthStatus.OK, "no damaged pages")
        table, problem = next(iter(self._problems.items()))
        return local_checks.report_damage(f"table {table}: {problem}")

    def _check_table(self, session: Session, table: str) -> None:
        self._problems.pop(table, None)
        try:
            problem = check_integrity(session, table)
        except DatabaseError as error:
            problem = str(error.orig)
        if problem:
            self._problems[table] = problem


INTEGRITY = IntegrityChecker()

CHECKS: dict[str, Callable[[JobContext], HealthCheck]] = {
    "disk": _check_disk,
    "run-folders": _check_run_folders,
    "settings": _check_settings,
    "integrity": _check_integrity,
    "supervision": _check_supervision,
    "tmux": _check_tmux,
    "git": _check_git,
}
