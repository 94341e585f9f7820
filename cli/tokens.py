"""Access: one-time login links for people, and tokens for programs."""

from __future__ import annotations

from typing import Any

import click

from models import ApiToken, Scope
from secret_files import build_browser_url
from settings import Settings
from tickets.operations import tokens

from .common import as_json, print_one, print_rows, reading, require_operator, validate_fields, writing


def create_login_link(settings: Settings) -> str:
    """Create a one-time login URL for one browser, valid for ten minutes."""
    with writing(settings) as session:
        return build_browser_url(settings) + tokens.format_link_path(tokens.issue_login_link(session))


@click.command()
@as_json
def login(as_json: bool) -> None:
    """Print a one-time login link that is valid for ten minutes."""
    settings, _ = require_operator()
    link = create_login_link(settings)
    print_one({"link": link}, as_json=True) if as_json else click.echo(link)


@click.group()
def token() -> None:
    """Manage the tokens of programs."""


@token.command()
@click.argument("name")
@click.option("--scope", type=click.Choice([scope.value for scope in Scope]), required=True)
@click.option("--days", type=int, default=365, show_default=True, help="Days until it expires; 0 for never.")
@as_json
def create(name: str, scope: str, days: int, as_json: bool) -> None:
    """Create the token NAME and print it. It is shown only once."""
    settings, actor = require_operator()
    body = validate_fields(tokens.NewToken, name=name, scope=scope, days=days or None)
    with writing(settings) as session:
        row, secret = tokens.issue_token(session, body, actor)
        values = {"token": secret, "name": row.name, "scope": row.scope.value, "expires": row.expires}
    print_one(values, as_json=True) if as_json else click.echo(secret)


@token.command("list")
@as_json
def list_tokens(as_json: bool) -> None:
    """List tokens, without the secrets, which are not stored."""
    settings, _ = require_operator()
    with reading(settings) as session:
        print_rows([_build_row(api_token) for api_token in tokens.list_tokens(session)], as_json=as_json)


@token.command()
@click.argument("name")
def revoke(name: str) -> None:
    """Revoke the token NAME. Its open streams end within seconds."""
    settings, actor = require_operator()
    with writing(settings) as session:
        tokens.revoke_token(session, tokens.get_token(session, name).id, actor)


def _build_row(api_token: ApiToken) -> dict[str, Any]:
    return {
        "name": api_token.name,
        "scope": api_token.scope.value,
        "prefix": api_token.prefix,
        "created": api_token.created,
        "last_used": api_token.last_used,
        "expires": api_token.expires,
        "revoked": api_token.revoked,
    }


COMMANDS: tuple[click.Command, ...] = (login, token)
