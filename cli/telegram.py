"""Telegram: pair an account with a person, list what is paired, and remove it."""

from __future__ import annotations

import click

from tickets.alerts import telegram_pairing
from tickets.alerts.telegram_pairing import PairingRequest

from .common import as_json, print_one, print_rows, reading, require_operator, validate_fields, writing


@click.group()
def telegram() -> None:
    """Manage who uses the Telegram bot."""


@telegram.command(short_help="Print the code that pairs an account.")
@click.option("--as", "person", help="The person as whom the account will act.  [default: you]")
@as_json
def pair(person: str | None, as_json: bool) -> None:
    """Print what to send to the bot from the account to pair, within ten minutes."""
    settings, actor = require_operator()
    body = validate_fields(PairingRequest, person=person or actor.name)
    with writing(settings) as session:
        code = telegram_pairing.issue_code(session, body.person, actor)
    print_one({"code": code, "person": body.person}, as_json=True) if as_json else click.echo(f"/pair {code}")


@telegram.command("list")
@as_json
def list_accounts(as_json: bool) -> None:
    """List the paired accounts."""
    settings, _ = require_operator()
    with reading(settings) as session:
        rows = [
            {"account": row.user_id, "name": row.label, "person": row.person, "paired": row.created}
            for row in telegram_pairing.list_people(session)
        ]
    print_rows(rows, as_json=as_json)


@telegram.command()
@click.argument("account", type=int)
def remove(account: int) -> None:
    """Remove the paired ACCOUNT, by its number. What it writes is ignored from then on."""
    settings, actor = require_operator()
    with writing(settings) as session:
        telegram_pairing.remove_person(session, account, actor)


COMMANDS: tuple[click.Command, ...] = (telegram,)
