"""`mc hook`: inbound hooks, by which other programs create tickets or start tasks."""

from __future__ import annotations

from typing import Any

import click

from settings import Settings, load
from tickets.schedule import hooks

from .common import as_json, escape_controls, print_one, print_rows, require_operator, writing


@click.group()
def hook() -> None:
    """Manage inbound hooks."""


@hook.command(short_help="Create a hook, and print its secret once.")
@click.argument("name")
@click.option("--description", help="One line that says who calls it.")
@click.option("--task", help="Task that each request starts. Without it, each creates a ticket.")
@click.option("--title-field", "title", default="title", show_default=True, help="Field of the body with the title.")
@click.option(
    "--description-field", "text", default="description", show_default=True, help="Field with the description."
)
@click.option("--agent", "assigned_to", help="Owner of the tickets.")
@click.option("--project", help="Project of the tickets.")
@click.option(
    "--start", type=click.Choice(["inbox", "todo"]), default="inbox", show_default=True, help="State of the tickets."
)
@click.option("--prompt", default="", help="Text at the beginning of each ticket's description.")
@click.option("--per-hour", type=click.IntRange(1, 3600), default=60, show_default=True, help="Accepted requests.")
@as_json
def new(name: str, description: str | None, task: str | None, per_hour: int, as_json: bool, **fields: Any) -> None:
    """Create the hook NAME, and print its secret, which is shown only once."""
    settings, actor = require_operator()
    head: dict[str, Any] = {"description": description or f"Requests of {name}.", "per_hour": per_hour}
    prompt = fields.pop("prompt")
    if task:
        head["task"] = task
    else:
        head["ticket"] = fields | {"description": fields.pop("text")}
    with writing(settings) as session:
        secret = hooks.create_hook(session, settings, name, head, prompt, actor)
    _print_secret(settings, name, secret, as_json)


@hook.command()
@click.argument("name")
@as_json
def rotate(name: str, as_json: bool) -> None:
    """Replace the secret of the hook NAME, and print the new one. The old one is refused at once."""
    settings, actor = require_operator()
    with writing(settings) as session:
        secret = hooks.rotate_secret(session, settings, name, actor)
    _print_secret(settings, name, secret, as_json)


def _print_secret(settings: Settings, name: str, secret: str, as_json: bool) -> None:
    address = f"{settings.public_url or settings.api_url}/hooks/{name}"
    if as_json:
        print_one({"address": address, "secret": secret}, as_json=True)
        return
    click.echo(secret)
    click.echo(f"Sign requests to {address} with this secret. It is not shown again.", err=True)


@hook.command("list")
@as_json
def list_hooks(as_json: bool) -> None:
    """List the hooks, without their secrets."""
    entries, problems = hooks.list_hooks(load())
    rows = [
        {
            "name": entry.name,
            "enabled": entry.head.enabled,
            "does": f"starts {entry.head.task}" if entry.head.task else "creates a ticket",
            "per_hour": entry.head.per_hour,
            "description": entry.head.description,
        }
        for entry in entries
    ]
    print_rows(rows, as_json=as_json)
    for problem in problems:
        click.echo(escape_controls(f"hooks/{problem}"), err=True)


COMMANDS: tuple[click.Command, ...] = (hook,)
