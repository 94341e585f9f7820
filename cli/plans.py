"""`mc plan`: the plan of a ticket, and a person's decision about it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click
from sqlalchemy.orm import Session

from models import Ticket, TicketPlan
from tickets.lifecycle.schemas import PlanJson
from tickets.planning import plans
from tickets.planning.plans import ApprovePlan, ReturnPlan
from tickets.runs.notify_run import notify_run
from tickets.shared.actors import Actor
from tickets.shared.errors import NotFound
from tickets.shared.lookup import get_ticket

from .common import as_json, print_one, reading, require_operator, validate_fields, writing


@click.group()
def plan() -> None:
    """Show, approve and send back the plans that agents make."""


@plan.command()
@click.argument("reference")
@as_json
def show(reference: str, as_json: bool) -> None:
    """Show the newest plan of the ticket REFERENCE."""
    settings, _ = require_operator()
    with reading(settings) as session:
        facts = PlanJson.read(_find_newest(session, get_ticket(session, reference))).as_json()
    print_one(facts, as_json=as_json)


@plan.command()
@click.argument("reference")
@click.option("--file", metavar="FILE", help="The plan as you have edited it; - reads it from standard input.")
def approve(reference: str, file: str | None) -> None:
    """Approve the newest plan of the ticket REFERENCE, which its agent then carries out."""
    body = None if file is None else sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")

    def decide(session: Session, ticket: Ticket, version: int, actor: Actor) -> int | None:
        return plans.approve_plan(session, ticket, validate_fields(ApprovePlan, version=version, body=body), actor)

    _decide(reference, decide, "The plan of {} is approved (version {}).")


@plan.command("return")
@click.argument("reference")
@click.argument("comment")
def send_back(reference: str, comment: str) -> None:
    """Send the newest plan of the ticket REFERENCE back to its agent, with what must change."""

    def decide(session: Session, ticket: Ticket, version: int, actor: Actor) -> int | None:
        return plans.return_plan(session, ticket, validate_fields(ReturnPlan, version=version, comment=comment), actor)

    _decide(reference, decide, "The plan of {} was sent back (version {}).")


def _decide(reference: str, decide: Callable[[Session, Ticket, int, Actor], int | None], words: str) -> None:
    settings, actor = require_operator()
    with writing(settings) as session:
        ticket = get_ticket(session, reference)
        live = decide(session, ticket, _find_newest(session, ticket).version, actor)
        text = words.format(ticket.identifier, _find_newest(session, ticket).version)
    notify_run(settings, live)
    click.echo(text)


def _find_newest(session: Session, ticket: Ticket) -> TicketPlan:
    versions = plans.list_plans(session, ticket.id)
    if not versions:
        raise NotFound(f"{ticket.identifier} has no plan.")
    return versions[0]


COMMANDS: tuple[click.Command, ...] = (plan,)
