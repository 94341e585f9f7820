"""Bringing an installation up to date: folders, schema, and the team of what this machine has."""

from __future__ import annotations

import database
import migrations
from jobs import program_probes
from protocol import AGENT_PROGRAMS
from settings import Settings
from tickets.team import agents


def prepare_installation(settings: Settings) -> bool:
    """Make the home folder and the store ready for this version; True where the schema changed.

    Raises SettingsError for a home that cannot be used, UnsafeSQLite, ForeignKeyViolation.
    """
    settings.ensure_home()
    is_upgraded = migrations.upgrade_store(settings.database_url, settings.home)
    engine = database.open_engine(settings.database_url)
    try:
        is_installed = {name: True for name, program in AGENT_PROGRAMS.items() if program.built_in}
        is_installed |= {program.name: program.found for program in program_probes.probe_programs(settings, engine)}
        with database.writing(engine) as session:
            agents.seed_team(session, is_installed)
    finally:
        engine.dispose()
    return is_upgraded
