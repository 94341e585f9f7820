"""Who may come in: one-time login links for people, tokens for programs."""

from __future__ import annotations

from typing import Any

import click

from models import ApiToken, Scope
from settings import Settings
from tickets.operations import tokens

from .common import as_json, checked, operator, print_one, print_rows, reading, writing


def login_link(settings: Settings) -> str:
    """The address that logs one browser in, once, within ten minutes."""
    with writing(settings) as session:
        return settings.base_url + tokens.link_path(tokens.issue_link(session))


@click.command()
@as_json
def login(as_json: bool) -> None:
    """Print a one-time login link, good for ten minutes."""
    settings, _ = operator()
    link = login_link(settings)
    print_one({"link": link}, as_json=True) if as_json else click.echo(link)


@click.group()
def token() -> None:
    """Tokens for programs."""


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice([scope.value for scope in Scope]), required=True)
@click.option("--days", type=int, default=365, show_default=True, help="Until it expires; 0 for never.")
@as_json
def create(name: str, scope: str, days: int, as_json: bool) -> None:
    """Create the token NAME and print it, this once."""
    settings, actor = operator()
    body = checked(tokens.NewToken, name=name, scope=scope, days=days or None)
    with writing(settings) as session:
        row, secret = tokens.issue(session, body, actor)
        made = {"token": secret, "name": row.name, "scope": row.scope.value, "expires": row.expires}
    print_one(made, as_json=True) if as_json else click.echo(secret)


@token.command("list")
@as_json
def list_tokens(as_json: bool) -> None:
    """List tokens; the tokens themselves are not kept."""
    settings, _ = operator()
    with reading(settings) as session:
        print_rows([_row(each) for each in tokens.all_tokens(session)], as_json=as_json)


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME; its open streams end within seconds."""
    settings, actor = operator()
    with writing(settings) as session:
        tokens.revoke(session, tokens.named(session, name).id, actor)


def _row(each: ApiToken) -> dict[str, Any]:
    return {
        "name": each.name,
        "scope": each.scope.value,
        "prefix": each.prefix,
        "created": each.created,
        "last_used": each.last_used,
        "expires": each.expires,
        "revoked": each.revoked,
    }


COMMANDS: tuple[click.Command, ...] = (login, token)
