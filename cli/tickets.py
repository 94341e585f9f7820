"""`mc ticket`: the board in a terminal, with the same domain functions as the pages."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Ticket, TicketStatus
from settings import load
from tickets.board import receipt
from tickets.conversation import timeline
from tickets.lifecycle import editing, moves, transitions
from tickets.planning import attempts
from tickets.planning.attempts import StartAttempts
from tickets.runs import reports
from tickets.runs.notify_run import notify_run, stopping_run
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.shared.lookup import find_live_run, get_ticket
from tickets.team.evidence_policy import EvidenceKind
from tickets.workflow import evidence, evidence_gates, landing
from tickets.workflow.evidence_gates import SignOff, WaiveGate

from .common import as_json, escape_controls, print_one, print_rows, reading, require_operator, validate_fields, writing
from .field_options import add_field_options, read_field_values


@click.group()
def ticket() -> None:
    """Create, show and move tickets."""


@ticket.command()
@click.argument("title")
@add_field_options
@click.option("--status", type=click.Choice(["inbox", "todo", "waiting"]), default="todo", show_default=True)
@click.option("--fork-of", metavar="TICKET", help="Start with a copy of the conversation on another ticket.")
@click.option("--wake", multiple=True, metavar="KIND|FACT=VALUE", help="When a waiting ticket comes back; repeatable.")
@as_json
def create(
    description: str,
    acceptance: tuple[str, ...],
    tags: tuple[str, ...],
    fork_of: str | None,
    wake: tuple[str, ...],
    as_json: bool,
    **fields: Any,
) -> None:
    """Create a ticket. Without --tag it is tagged by the rules of the Help page.

    A waiting one needs a wake condition: --wake manual, --wake time --wake at=2026-12-01T09:00:00Z,
    --wake ticket --wake ticket=MC-3, --wake agent_idle --wake agent=codex --wake minutes=30,
    or --wake probe --wake 'probe=["test", "-e", "/tmp/ready"]'.
    """
    settings, actor = require_operator()
    criteria = [{"text": criterion} for criterion in acceptance]
    links = [{"kind": "fork_of", "ticket": fork_of}] if fork_of else []
    fields |= {"acceptance": criteria, "relationships": links, "wake": _parse_wake(wake)}
    fields |= {"tags": list(tags)} if tags else {}
    body = validate_fields(NewTicket, description=_read_text(description), **fields)
    with writing(settings) as session:
        row = _build_row(transitions.create_ticket(session, body, actor))
    print_one(row, as_json=as_json)


@ticket.command("list")
@click.option("--status", type=click.Choice([status.value for status in TicketStatus]), multiple=True)
@click.option("--limit", type=click.IntRange(1, 500), default=50, show_default=True)
@as_json
def list_tickets(status: tuple[str, ...], limit: int, as_json: bool) -> None:
    """List tickets, newest first. Without --status, only those that are not closed."""
    closed_states = (TicketStatus.DONE, TicketStatus.CANCELLED)
    condition = (
        Ticket.status.in_([TicketStatus(name) for name in status]) if status else Ticket.status.not_in(closed_states)
    )
    with reading(load()) as session:
        tickets = session.scalars(select(Ticket).where(condition).order_by(Ticket.id.desc()).limit(limit))
        print_rows([_build_row(entry) for entry in tickets], as_json=as_json)


@ticket.command(short_help="Show a ticket with its comments and runs.")
@click.argument("reference")
@as_json
def show(reference: str, as_json: bool) -> None:
    """Show the ticket REFERENCE (MC-12 or 12) with its comments and the moves available to you."""
    settings, actor = require_operator()
    with reading(settings) as session:
        target = get_ticket(session, reference)
        context = transitions.load_actor_contexts(session, [target], actor)[target.id]
        comments = timeline.list_comments(session, target.id, limit=20)
        facts = _build_row(target) | read_field_values(session, target)
        facts |= {
            "landing": landing.describe_landing(target),
            "moves": [move.name for move in transitions.list_moves(transitions.build_move_context(target, context))],
            "comments": [f"{comment.author}: {comment.body}" for comment in reversed(comments)],
        }
    print_one(facts, as_json=as_json)


@ticket.command(short_help="Move a ticket, as in `mc ticket move MC-3 approve`.")
@click.argument("reference")
@click.argument("name", metavar="MOVE")
@click.argument("facts", nargs=-1, metavar="[FACT=VALUE]...")
@as_json
def move(reference: str, name: str, facts: tuple[str, ...], as_json: bool) -> None:
    """Make the move MOVE with the ticket REFERENCE, as in `mc ticket move MC-3 answer body="Use PostgreSQL"`.

    A VALUE that is a JSON object or array is parsed as JSON: wake='{"kind": "manual"}'.
    """
    settings, actor = require_operator()
    arguments = _check_arguments(name, dict(_parse_fact(fact) for fact in facts))
    with writing(settings) as session:
        row = transitions.transition(session, get_ticket(session, reference).id, name, actor, **arguments)
        stopping, values = stopping_run(session, row.id), _build_row(row)
    notify_run(settings, stopping)
    print_one(values, as_json=as_json)


def _check_arguments(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Convert the arguments of a move. `Invalid` for one that the move does not have."""
    version = {"version": arguments.pop("version")} if "version" in arguments else {}
    moves.find_move(name).parse_facts(arguments)
    return arguments | {key: int(value) if str(value).isdecimal() else value for key, value in version.items()}


@ticket.command()
@click.argument("reference")
@click.argument("body")
def comment(reference: str, body: str) -> None:
    """Comment on the ticket REFERENCE, in Markdown. A BODY of - is read from standard input."""
    settings, actor = require_operator()
    new_comment = validate_fields(timeline.NewComment, body=_read_text(body))
    with writing(settings) as session:
        timeline.add_comment(session, get_ticket(session, reference).id, new_comment, actor)


@ticket.command("tag", short_help="Replace the tags of a ticket.")
@click.argument("reference")
@click.argument("tags", nargs=-1, metavar="[TAG]...")
@as_json
def set_tags(reference: str, tags: tuple[str, ...], as_json: bool) -> None:
    """Give the ticket REFERENCE these TAGs in place of those that it has, or none."""
    settings, actor = require_operator()
    with writing(settings) as session:
        target = get_ticket(session, reference)
        body = validate_fields(EditTicket, version=target.version, tags=list(tags))
        row = _build_row(editing.edit_ticket(session, target, body, actor)) | {"tags": sorted(set(tags))}
    print_one(row, as_json=as_json)


@ticket.command("receipt", short_help="Show what was proven of a ticket.")
@click.argument("reference")
@as_json
def show_receipt(reference: str, as_json: bool) -> None:
    """Show what was proven of the ticket REFERENCE, as Markdown, or as JSON for `mc receipt verify`."""
    with reading(load()) as session:
        ticket_receipt = receipt.build_receipt(session, get_ticket(session, reference))
    text = escape_controls(receipt.format_receipt(ticket_receipt))
    click.echo(ticket_receipt.model_dump_json(indent=2) if as_json else text)


@ticket.command("waive", short_help="Waive required evidence of a ticket.")
@click.argument("reference")
@click.argument("kind", type=click.Choice([kind.value for kind in EvidenceKind]))
@click.argument("reason", default="")
@as_json
def waive_gate(reference: str, kind: str, reason: str, as_json: bool) -> None:
    """Waive the required evidence of this KIND, with a REASON. Without one it is required again."""
    settings, actor = require_operator()
    body = validate_fields(WaiveGate, kind=kind, reason=reason)
    with writing(settings) as session:
        target = get_ticket(session, reference)
        evidence_gates.waive_gate(session, target, body, actor)
        rows = _list_gates(session, target)
    print_rows(rows, as_json=as_json)


@ticket.command("sign-off")
@click.argument("reference")
@click.argument("note", default="")
@as_json
def sign_off(reference: str, note: str, as_json: bool) -> None:
    """Sign off the work of the ticket REFERENCE as it is now."""
    settings, actor = require_operator()
    body = validate_fields(SignOff, note=note)
    with writing(settings) as session:
        target = get_ticket(session, reference)
        evidence_gates.sign_off(session, target, body, actor)
        rows = _list_gates(session, target)
    print_rows(rows, as_json=as_json)


def _list_gates(session: Session, target: Ticket) -> list[dict[str, Any]]:
    """List the evidence that the project requires of a ticket, as it stands."""
    return [
        {"kind": gate.kind.value, "before": gate.before.value, "state": gate.state.value, "detail": gate.detail}
        for gate in evidence.list_gates(session, target)
    ]


@ticket.command("try", short_help="Let two or three agents try a ticket at once.")
@click.argument("reference")
@click.argument("agents", nargs=-1, required=True, metavar="AGENT AGENT [AGENT]")
@as_json
def try_with_agents(reference: str, agents: tuple[str, ...], as_json: bool) -> None:
    """Let two or three AGENTs try the ticket REFERENCE at once, each in a ticket of its own."""
    settings, actor = require_operator()
    body = validate_fields(StartAttempts, agents=list(agents))
    with writing(settings) as session:
        created = attempts.start_attempts(session, get_ticket(session, reference), body, actor)
        rows = [_build_row(attempt) for attempt in created]
    print_rows(rows, as_json=as_json)


@ticket.command()
@click.argument("reference")
@as_json
def keep(reference: str, as_json: bool) -> None:
    """Keep the attempt REFERENCE, and cancel the other attempts. Their branches stay."""
    settings, actor = require_operator()
    with writing(settings) as session:
        target = get_ticket(session, reference)
        cancelled_tickets = attempts.keep_attempt(session, target, actor)
        stopping = [stopping_run(session, other.id) for other in cancelled_tickets]
        row = _build_row(target) | {"cancelled": [other.identifier for other in cancelled_tickets]}
    for run in stopping:
        notify_run(settings, run)
    print_one(row, as_json=as_json)


@ticket.command("declare-dead", short_help="Declare the run of a ticket dead.")
@click.argument("reference")
def declare_dead(reference: str) -> None:
    """Declare the run of the ticket REFERENCE dead, when its machine is gone or was renamed.

    For runs of this machine use bin/mc pickup, which examines them first.
    """
    settings, actor = require_operator()
    with writing(settings) as session:
        target = get_ticket(session, reference)
        run = find_live_run(session, target.id)
        if run is None or run.host == settings.machine_name:
            reason = "has no live run" if run is None else "is worked on this machine: run bin/mc pickup"
            raise click.ClickException(f"{target.identifier} {reason}.")
        retry_policy = reports.RetryPolicy.from_settings(settings)
        reports.mark_lost(session, run.id, f"{actor.name} declared the run on {run.host} dead.", retry_policy)
    click.echo(
        f"The run of {target.identifier} on {run.host} is recorded as lost; the ticket continues under its retry policy."
    )


def _parse_wake(facts: tuple[str, ...]) -> dict[str, Any] | None:
    """Build a wake condition from facts, where a bare word is the kind. None without any."""
    return dict(_parse_fact(fact if "=" in fact else f"kind={fact}") for fact in facts) or None


def _read_text(argument: str) -> str:
    return sys.stdin.read() if argument == "-" else argument


def _parse_fact(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} does not have the form fact=value", param_hint="FACT")
    if not value.startswith(("{", "[")):
        return name, value
    try:
        return name, json.loads(value)
    except json.JSONDecodeError as error:
        raise click.BadParameter(f"{name} is not valid JSON: {error}", param_hint="FACT") from error


def _build_row(entry: Ticket) -> dict[str, Any]:
    return {
        "identifier": entry.identifier,
        "status": entry.status.value,
        "priority": entry.priority.label,
        "assigned_to": entry.assigned_to,
        "updated": entry.updated,
        "title": entry.title,
    }


COMMANDS: tuple[click.Command, ...] = (ticket,)
