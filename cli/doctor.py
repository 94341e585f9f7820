"""The checks of `mc doctor`, one function each, which return a finding and, if needed, a remedy."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from pysqlite3 import sqlite_version
from sqlalchemy import func, select
from sqlalchemy.exc import DatabaseError

import database
import migrations
import models
from jobs import program_probes
from settings import Settings
from tickets.team import installed_programs

MIN_FREE_BYTES = 1 << 30


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
                Finding(name, f"{type(error).__name__}: {str(error).splitlines()[0]}", "look into this error")
            )
    return findings


def _build_finding(status: installed_programs.ProgramStatus) -> Finding:
    """Convert a program's status, with the texts of the team page."""
    return Finding(status.name, status.detail, status.remedy)


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


def _disk(settings: Settings) -> Finding:
    free_bytes = shutil.disk_usage(settings.home).free
    detail = f"{free_bytes / (1 << 30):.1f} GB free"
    return Finding("disk", detail, "" if free_bytes > MIN_FREE_BYTES else "free some space: less than 1 GB is left")


def _store(settings: Settings) -> Finding:
    engine = database.open_engine(settings.database_url)
    try:
        current, trouble = migrations.read_revision(engine), migrations.explain_mismatch(engine)
    except DatabaseError as error:
        return Finding("store", str(error.orig), "restore a copy of it: bin/mc restore FILE")
    finally:
        engine.dispose()
    return Finding("store", f"{engine.dialect.name}, schema {current}", trouble or "")


def _clock(settings: Settings) -> Finding:
    """Check that no time in the store is in the future. A clock that was set back would delay retries, wakes and leases."""
    engine = database.open_engine(settings.database_url)
    try:
        with database.reading(engine) as session:
            newest_id = session.scalar(select(func.max(models.TicketEvent.id)))
            last_event = session.get(models.TicketEvent, newest_id) if newest_id else None
    finally:
        engine.dispose()
    moment = models.now()
    is_behind = last_event is not None and last_event.ts > moment + timedelta(seconds=60)
    detail = f"{moment.astimezone(settings.zone):%Y-%m-%d %H:%M:%S} {settings.timezone}"
    return Finding("clock", detail, "the store contains later times: set the clock" if is_behind else "")


def _user(_: Settings) -> Finding:
    if os.getuid() == 0:
        return Finding("user", "root: some agents refuse to work unattended as root; another user is better")
    return Finding("user", f"uid {os.getuid()}")


CHECKS: tuple[Callable[[Settings], Finding], ...] = (
    _python, _sqlite, _user, _folders, _disk, _store, _clock,
)  # fmt: skip
