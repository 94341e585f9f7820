"""`mc ticket`: the board from a terminal, by the same domain calls as the pages."""

from __future__ import annotations

import json
import socket
import sys
from typing import Any

import click
from sqlalchemy import select

from models import Priority, Tag, Ticket, TicketStatus
from settings import load
from tickets.conversation import timeline
from tickets.lifecycle import moves, transitions
from tickets.runs import reports
from tickets.shared.errors import Invalid
from tickets.shared.inputs import NewTicket
from tickets.shared.lookup import get, live_run
from tickets.workflow import landing

from .common import as_json, checked, operator, print_one, print_rows, reading, writing


@click.group()
def ticket() -> None:
    """Tickets."""


@ticket.command()
@click.argument("title")
@click.option("--description", default="", help="What is wanted, in Markdown; - reads it from standard input.")
@click.option("--status", type=click.Choice(["inbox", "todo", "waiting"]), default="todo", show_default=True)
@click.option("--priority", type=click.Choice([rank.label for rank in Priority]), default="normal", show_default=True)
@click.option("--assign", "assigned_to", metavar="NAME", help="Who works it.")
@click.option("--project", metavar="SLUG")
@click.option("--tag", "tags", multiple=True, type=click.Choice([tag.value for tag in Tag]))
@click.option("--accept", "acceptance", multiple=True, metavar="TEXT", help="One criterion of acceptance; repeatable.")
@click.option("--fork-of", metavar="TICKET", help="Begin with a copy of the conversation about another ticket.")
@click.option("--wake", multiple=True, metavar="KIND|FACT=VALUE", help="When a waiting ticket comes back; repeatable.")
@as_json
def create(
    description: str,
    acceptance: tuple[str, ...],
    fork_of: str | None,
    wake: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> None:
    """Create a ticket.

    A waiting one needs a wake condition: --wake manual, --wake time --wake at=2026-12-01T09:00:00Z,
    --wake ticket --wake ticket=MC-3, --wake agent_idle --wake agent=codex --wake minutes=30,
    or --wake probe --wake 'probe=["test", "-e", "/tmp/ready"]'.
    """
    settings, actor = operator()
    criteria = [{"text": criterion} for criterion in acceptance]
    links = [{"kind": "fork_of", "ticket": fork_of}] if fork_of else []
    fields |= {"acceptance": criteria, "relationships": links, "wake": _wake(wake)}
    body = checked(NewTicket, description=_text(description), **fields)
    with writing(settings) as session:
        made = _row(transitions.create(session, body, actor))
    print_one(made, as_json=as_json)


@ticket.command("list")
@click.option("--status", type=click.Choice([status.value for status in TicketStatus]), multiple=True)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@as_json
def list_tickets(status: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List tickets, newest first; without --status those that are not closed."""
    closed = (TicketStatus.DONE, TicketStatus.CANCELLED)
    chosen = Ticket.status.in_([TicketStatus(name) for name in status]) if status else Ticket.status.not_in(closed)
    with reading(load()) as session:
        found = session.scalars(select(Ticket).where(chosen).order_by(Ticket.id.desc()).limit(limit))
        print_rows([_row(each) for each in found], as_json=as_json)


@ticket.command()
@click.argument("reference")
@as_json
def show(reference: str, as_json: bool) -> None:
    """Show the ticket REFERENCE (MC-12 or 12) with its comments and the moves open to you."""
    settings, actor = operator()
    with reading(settings) as session:
        found = get(session, reference)
        standing = transitions.load_actor_contexts(session, [found], actor)[found.id]
        comments = timeline.comments_of(session, found.id, limit=20)
        facts = _row(found) | {
            "landing": landing.told(found),
            "moves": [move.name for move in transitions.moves_from(transitions.build_move_context(found, standing))],
            "description": found.description,
            "comments": [f"{comment.author}: {comment.body}" for comment in reversed(comments)],
        }
    print_one(facts, as_json=as_json)


@ticket.command()
@click.argument("reference")
@click.argument("name", metavar="MOVE")
@click.argument("facts", nargs=-1, metavar="[FACT=VALUE]...")
@as_json
def move(reference: str, name: str, facts: tuple[str, ...], as_json: bool) -> None:
    """Make MOVE with the ticket REFERENCE, as in `mc ticket move MC-3 answer body="Use PostgreSQL"`.

    A VALUE that is a JSON object or array is read as such: wake='{"kind": "manual"}'.
    """
    settings, actor = operator()
    given = _known(name, dict(_fact(fact) for fact in facts))
    with writing(settings) as session:
        moved = _row(transitions.transition(session, get(session, reference).id, name, actor, **given))
    print_one(moved, as_json=as_json)


def _known(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The facts as the move takes them. Raises `Invalid` for one that it does not know."""
    law = moves.MOVES.get(name)
    known = {"version", *law.facts.model_fields} if law else given.keys()
    if stray := sorted(given.keys() - known):
        raise Invalid(f"{name} knows no {' and no '.join(stray)}; it may be told {', '.join(sorted(known))}.")
    return given | ({"version": int(given["version"])} if str(given.get("version")).isdecimal() else {})


@ticket.command()
@click.argument("reference")
@click.argument("body")
def comment(reference: str, body: str) -> None:
    """Comment on the ticket REFERENCE, in Markdown; BODY - is read from standard input."""
    settings, actor = operator()
    written = checked(timeline.NewComment, body=_text(body))
    with writing(settings) as session:
        timeline.comment(session, get(session, reference).id, written, actor)


@ticket.command("declare-dead")
@click.argument("reference")
def declare_dead(reference: str) -> None:
    """Say that the run of ticket REFERENCE is dead, where its machine is gone or has another name now.

    Runs of this machine are settled by bin/mc pickup, which looks before it says so.
    """
    settings, actor = operator()
    with writing(settings) as session:
        found = get(session, reference)
        run = live_run(session, found.id)
        if run is None or run.host == socket.gethostname():
            why = "has no live run" if run is None else "is worked on this machine: run bin/mc pickup"
            raise click.ClickException(f"{found.identifier} {why}.")
        patience = reports.RetryPolicy(settings.retry_limit, settings.retry_backoff_seconds)
        reports.mark_lost(session, run.id, f"{actor.name} declared the run on {run.host} dead.", patience)
    click.echo(f"The run of {found.identifier} on {run.host} is recorded as lost; its ticket goes on by its retries.")


def _wake(facts: tuple[str, ...]) -> dict[str, Any] | None:
    """A wake condition of facts, of which a bare word is the kind; None without any."""
    return dict(_fact(fact if "=" in fact else f"kind={fact}") for fact in facts) or None


def _text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


def _fact(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not of the form fact=value", param_hint="FACT")
    if not value.startswith(("{", "[")):
        return name, value
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"{name} is not valid JSON: {error}", param_hint="FACT") from error


def _row(each: Ticket) -> dict[str, Any]:
    return {
        "identifier": each.identifier,
        "status": each.status.value,
        "priority": each.priority.label,
        "assigned_to": each.assigned_to,
        "updated": each.updated,
        "title": each.title,
    }


COMMANDS: tuple[click.Command, ...] = (ticket,)
