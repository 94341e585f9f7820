"""Bringing an installation up to date: folders, schema, and the team of what this machine has."""

from __future__ import annotations

from pathlib import Path

import migrations
import models
from settings import Settings
from tickets import team
from workers import probe


def prepare(settings: Settings) -> bool:
    """Make the home folder and the store ready for this version; True where the schema changed.

    Raises SettingsError for a home that cannot be used, UnsafeSQLite, ForeignKeyViolation.
    """
    settings.ensure_home()
    changed = migrations.upgrade(settings.database_url, settings.home)
    found = {program.name: program.found for program in agent_programs(settings)}
    engine = models.open_engine(settings.database_url)
    try:
        with models.writing(engine) as session:
            team.seed(session, {"script": True} | found)
    finally:
        engine.dispose()
    return changed


def agent_programs(settings: Settings) -> list[probe.Program]:
    """The programs of this machine that agents are or use, with their versions and log-ins."""
    set_by_hand = {"claude": settings.claude_binary, "codex": settings.codex_binary}
    binaries = {name: str(binary) for name, binary in set_by_hand.items() if binary}
    environment = settings.ambient.environment
    return probe.programs(Path(environment.get("HOME", "/")), environment, binaries)
