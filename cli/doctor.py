"""The findings of `mc doctor`: the checks of the health report, made now, and those that only matter when it is set up."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass

from pysqlite3 import sqlite_version

import database
import migrations
import models
from jobs import job_context, program_probes
from jobs.health import host_checks, look
from settings import Settings
from tickets.operations import local_checks
from tickets.operations.health_check import HealthCheck
from tickets.team import installed_programs
from workers.host import loopback


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. `remedy` says what to do and is empty when all is well."""

    subject: str
    detail: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        return not self.remedy

    def as_row(self) -> dict[str, str]:
        return {"": "ok" if self.ok else "!!", "subject": self.subject, "detail": self.detail, "remedy": self.remedy}


def run_checks(settings: Settings) -> list[Finding]:
    """Run all checks. A check that fails to run is itself a finding."""
    findings = [
        _build_finding(installed_programs.assess_program(program)) for program in program_probes.find_programs(settings)
    ]
    for check in CHECKS:
        try:
            findings.append(check(settings))
        except Exception as error:  # one broken check must not stop the others
            name = check.__name__.strip("_").replace("_", " ")
            findings.append(
                Finding(name, f"{type(error).__name__}: {str(error).splitlines()[0]}", "investigate this error")
            )
    findings_by_subject = {finding.subject: finding for finding in findings}
    return [
        *findings,
        *(
            new
            for new in _check_health(settings)
            if new.subject not in findings_by_subject or (findings_by_subject[new.subject].ok and not new.ok)
        ),
    ]


def _build_finding(status: installed_programs.ProgramStatus) -> Finding:
    """Convert a program's status, with the texts of the team page."""
    return Finding(status.name, status.detail, status.remedy)


def _check_health(settings: Settings) -> list[Finding]:
    """Make the checks of the health report, unless the store is missing or of another version."""
    engine = database.open_engine(settings.database_url)
    try:
        if migrations.read_revision(engine) is None or migrations.explain_mismatch(engine):
            return []
        context = job_context.build_context(settings, engine)
        checks = [*host_checks.run_host_checks(context), local_checks.probe_write(engine)]
        checks += look.examine_store(context)
        return [_convert(check) for check in checks]
    except database.StoreError:
        return []  # the finding about the store tells of it
    finally:
        engine.dispose()


def _convert(check: HealthCheck) -> Finding:
    return Finding(check.name.replace("-", " "), check.detail, check.remedy if not check.ok else "")


def _python(_: Settings) -> Finding:
    return Finding("Python", sys.version.split()[0])


def _sqlite(_: Settings) -> Finding:
    version = sqlite_version
    try:
        database.check_sqlite()
    except database.UnsafeSQLite as error:
        return Finding("SQLite", version, str(error))
    return Finding("SQLite", version)


def _folders(settings: Settings) -> Finding:
    settings.ensure_home()
    open_to_others = [
        str(path)
        for path in (settings.home, settings.secrets_dir, settings.sockets_dir)
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    if open_to_others:
        return Finding("folders", f"open to others: {', '.join(open_to_others)}", "chmod 700 them")
    return Finding("folders", f"{settings.home}, sockets in {settings.sockets_dir}")


def _store(settings: Settings) -> Finding:
    engine = database.open_engine(settings.database_url)
    try:
        current, trouble = migrations.read_revision(engine), migrations.explain_mismatch(engine)
    except database.StoreError as error:
        return Finding("store", str(error.orig), "restore a copy of it: bin/mc restore FILE")
    finally:
        engine.dispose()
    return Finding("store", f"{engine.dialect.name}, schema {current}", trouble or "")


def _time(settings: Settings) -> Finding:
    return Finding("time", f"{models.now().astimezone(settings.zone):%Y-%m-%d %H:%M:%S} {settings.timezone}")


def _addresses(_: Settings) -> Finding:
    return Finding("addresses", "127.0.0.1 and ::1" if loopback.has_ipv6() else loopback.NO_IPV6)


def _user(_: Settings) -> Finding:
    if os.getuid() == 0:
        return Finding("user", "root: some agents refuse to work unattended as root; another user is better")
    return Finding("user", f"uid {os.getuid()}")


CHECKS: tuple[Callable[[Settings], Finding], ...] = (_python, _sqlite, _user, _addresses, _folders, _time, _store)
