"""Bringing an installation up to date: folders, schema, and the team of what this machine has."""

from __future__ import annotations

import migrations
import models
from jobs import probing
from settings import Settings
from tickets.team import team


def prepare(settings: Settings) -> bool:
    """Make the home folder and the store ready for this version; True where the schema changed.

    Raises SettingsError for a home that cannot be used, UnsafeSQLite, ForeignKeyViolation.
    """
    settings.ensure_home()
    changed = migrations.upgrade(settings.database_url, settings.home)
    engine = models.open_engine(settings.database_url)
    try:
        found = {program.name: program.found for program in probing.probe_programs(settings, engine)}
        with models.writing(engine) as session:
            team.seed(session, {"script": True} | found)
    finally:
        engine.dispose()
    return changed
