"""`mc takeover` and `mc handback`: take over an agent's conversation on its own screen, and give it back."""

from __future__ import annotations

import click

from tickets.runs import takeover as conversations
from tickets.runs.notify_run import notify_run, stopping_run
from tickets.shared.lookup import get_ticket

from .common import require_operator, writing


@click.command(short_help="Stop a run, and continue it on a screen.")
@click.argument("reference")
def takeover(reference: str) -> None:
    """Stop the run of the ticket REFERENCE, and continue its conversation yourself on the agent's own screen."""
    settings, actor = require_operator()
    with writing(settings) as session:
        ticket = conversations.take_over(session, get_ticket(session, reference).id, actor)
        stopping = stopping_run(session, ticket.id)
    notify_run(settings, stopping)
    click.echo(f"You have taken over {ticket.identifier}: its screen opens in the tmux session mc-{ticket.identifier}.")


@click.command(short_help="Close the screen that you have taken over.")
@click.argument("reference")
def handback(reference: str) -> None:
    """Close the screen of the ticket REFERENCE that you have taken over, and let the agent continue alone."""
    settings, actor = require_operator()
    with writing(settings) as session:
        ticket = conversations.hand_back(session, get_ticket(session, reference).id, actor)
        stopping = stopping_run(session, ticket.id)
    notify_run(settings, stopping)
    click.echo(f"{ticket.identifier} was handed back to the agent.")


COMMANDS: tuple[click.Command, ...] = (takeover, handback)
