"""The administration commands: settings, schema, backup, restore and `doctor`."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from sqlalchemy import make_url

import models
import store_files
from jobs import restore as restoration
from settings import list_keys, load

from . import doctor as examination
from .common import as_json, open_store, print_rows, require_operator
from .lifecycle_reference import render_lifecycle
from .reference import render_settings
from .setup import prepare_installation


@click.command(short_help="Show the settings in use.")
@click.option("--markdown", is_flag=True, help="Print the content of docs/settings.md.")
def settings(markdown: bool) -> None:
    """Show the settings in use, by the names of their environment variables."""
    if markdown:
        click.echo(render_settings(), nl=False)
        return
    current = load()
    print_rows([{"setting": "MC_HOME", "value": str(current.home)}, *_list_values(current.model_dump())], as_json=False)


@click.command()
def lifecycle() -> None:
    """Print docs/lifecycle.md, the states and moves of tickets."""
    click.echo(render_lifecycle(), nl=False)


def _list_values(values: dict[str, object]) -> list[dict[str, object]]:
    rows = []
    for path, variable in list_keys().items():
        value: object = values
        for name in path:
            value = value[name] if isinstance(value, dict) else None
        if path == ("database_url",):
            value = make_url(str(value)).render_as_string(hide_password=True)
        rows.append({"setting": variable, "value": value})
    return rows


@click.group()
def db() -> None:
    """Manage the store."""


@db.command()
def upgrade() -> None:
    """Upgrade the store to the schema of this version. A store with data is backed up first."""
    current, _ = require_operator()
    click.echo("The store was upgraded." if prepare_installation(current) else "The store is up to date.")


@click.command()
@click.argument("target", required=False, type=click.Path(path_type=Path, dir_okay=False))
def backup(target: Path | None) -> None:
    """Copy the store while it is in use, and verify the copy.

    TARGET is a new file. By default it is created in the backups folder.
    """
    current, _ = require_operator()
    current.ensure_home()
    target = target or current.backups_dir / f"mc-{models.now():%Y%m%dT%H%M%SZ}.db"
    if target.exists():
        raise click.ClickException(f"{target} exists already. Name a new file.")
    with open_store(current) as engine:
        try:
            store_files.backup_database(engine, target)
        except (ValueError, OSError) as error:
            raise click.ClickException(str(error)) from error
    click.echo(target)


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def restore(source: Path) -> None:
    """Replace the store by the backup SOURCE. The present store is saved in the backups folder.

    Mission Control must be stopped, and no agent may be working.
    """
    current, actor = require_operator()
    current.ensure_home()
    try:
        old_store = restoration.restore_backup(current, source.resolve(), actor)
    except (restoration.RestoreError, OSError) as error:
        raise click.ClickException(str(error)) from error
    before = f"the replaced store is saved as {old_store}" if old_store else "there was no store before"
    click.echo(f"The store was restored from {source}; {before}.")


@click.command()
@as_json
def doctor(as_json: bool) -> None:
    """Check this machine and say what to do.

    Exits with 1 when something needs to be done.
    """
    findings = examination.run_checks(load())
    print_rows([finding.as_row() for finding in findings], as_json=as_json)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


COMMANDS: tuple[click.Command, ...] = (settings, lifecycle, db, backup, restore, doctor)
