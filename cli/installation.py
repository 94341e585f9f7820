"""Bringing an installation up to date: folders, schema, and the team of what this machine has."""

from __future__ import annotations

import shutil

import migrations
import models
from settings import Settings
from tickets import team


def prepare(settings: Settings) -> bool:
    """Make the home folder and the store ready for this version; True where the schema changed.

    Raises SettingsError for a home that cannot be used, UnsafeSQLite, ForeignKeyViolation.
    """
    settings.ensure_home()
    changed = migrations.upgrade(settings.database_url, settings.home)
    engine = models.open_engine(settings.database_url)
    try:
        with models.writing(engine) as session:
            team.seed(
                session, {"script": True, **{name: bool(path) for name, path in agent_programs(settings).items()}}
            )
    finally:
        engine.dispose()
    return changed


def agent_programs(settings: Settings) -> dict[str, str | None]:
    """Where each agent program is on this machine; None where it is not."""
    path = settings.ambient.environment["PATH"]
    set_by_hand = {"claude": settings.claude_binary, "codex": settings.codex_binary}
    return {name: shutil.which(str(binary or name), path=path) for name, binary in set_by_hand.items()}
