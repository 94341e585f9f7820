"""Several attempts at one ticket: start them with an agent each, and keep one of them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.orm import Session

from models import TERMINAL, Attempt, Gate, Run, Ticket, TicketStatus
from tickets.conversation import context
from tickets.conversation.context import NewContext
from tickets.lifecycle import transitions
from tickets.lifecycle.schemas import build_ticket_json
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid
from tickets.shared.inputs import Body, Name, NewTicket
from tickets.shared.rights import Act
from tickets.team import agents
from tickets.workflow import attempts
from tickets.workflow.attempts import AttemptGroup

MIN_ATTEMPTS, MAX_ATTEMPTS = 2, 3
STARTING_STATES = frozenset({TicketStatus.INBOX, TicketStatus.TODO, TicketStatus.WAITING})
RETRY_STATES = STARTING_STATES | {TicketStatus.BLOCKED}
"""States of a ticket whose attempts were all cancelled, from which others may be started."""
COPIED_FIELDS = ("title", "description", "priority", "project", "tags")


class StartAttempts(Body):
    """The agents that try the ticket at once, each in a ticket of its own."""

    agents: Annotated[list[Name], Field(min_length=MIN_ATTEMPTS, max_length=MAX_ATTEMPTS)]


def may_start(ticket: Ticket, live: Run | None, group: AttemptGroup | None, actor: Actor) -> bool:
    """Return whether this actor can start several attempts at a ticket. `group` is the one that it belongs to already."""
    return rights.may(actor, Act.CHOOSE_ATTEMPT) and _find_obstacle(ticket, live, group) is None


def start_attempts(session: Session, ticket: Ticket, body: StartAttempts, actor: Actor) -> list[Ticket]:
    """Create an attempt for each agent, and park the ticket until one of them is kept and done.

    Raises `Forbidden`, `Invalid` for agents that are not runnable, `ConflictError` for a ticket that cannot be tried so.
    """
    rights.require(actor, Act.CHOOSE_ATTEMPT)
    names = _resolve_agents(session, body)
    live, group = lookup.find_live_run(session, ticket.id), attempts.find_group(session, ticket.id)
    if obstacle := _find_obstacle(ticket, live, group):
        text = f"{ticket.identifier} cannot be tried with several agents: {obstacle}."
        raise ConflictError(text, field="agents")
    note = f"Tried by {', '.join(names)}, each in a ticket of its own."
    transitions.transition(session, ticket.id, "park", actor, wake={"kind": "manual"}, note=note)
    created = [_create_attempt(session, ticket, name, actor) for name in names]
    payload = {"attempts": [attempt.identifier for attempt in created], "agents": names}
    events.append(session, ticket.id, "ticket_attempts_started", payload, actor)
    return created


def _resolve_agents(session: Session, body: StartAttempts) -> list[str]:
    names = list(dict.fromkeys(agents.resolve_name(session, name) for name in body.agents))
    runnable = agents.list_runnable(session)
    if len(names) < MIN_ATTEMPTS:
        raise Invalid("Choose two or three different agents.", field="agents")
    if others := [name for name in names if name not in runnable]:
        raise Invalid(
            f"Mission Control cannot run {' and '.join(others)}. Choose agents with a profile.", field="agents"
        )
    return names


def _find_obstacle(ticket: Ticket, live: Run | None, group: AttemptGroup | None) -> str | None:
    """Return why several attempts at a ticket cannot be started, None when they can."""
    is_tried_again = group is not None and group.parent.id == ticket.id and group.is_cancelled
    if live is not None or ticket.status not in (RETRY_STATES if is_tried_again else STARTING_STATES):
        return "work on it has begun. Create a new ticket for it"
    if ticket.phase:
        return "it has phases, which have agents of their own"
    return "it has attempts already, or is one" if group and not is_tried_again else None


def _create_attempt(session: Session, parent: Ticket, agent: str, actor: Actor) -> Ticket:
    """Create an attempt with the parent's wish. A person compares it with the others, whatever the project's gate."""
    facts = build_ticket_json(session, [parent])[0]
    fields: dict[str, Any] = {name: facts[name] for name in COPIED_FIELDS}
    fields |= {"acceptance": [item["text"] for item in parent.acceptance], "planning": parent.planning}
    body = NewTicket.model_validate(
        fields | {"assigned_to": agent, "gate": Gate.PERSON, "child_of": parent.identifier, "status": "todo"}
    )
    attempt = transitions.create_ticket(session, body, actor)
    session.add(Attempt(ticket_id=attempt.id, parent_id=parent.id))
    for link in context.list_context(session, parent.id):
        copy = {"path": link.reference, "kind": link.kind, "title": link.title, "note": link.note}
        context.add_context(session, attempt.id, NewContext.model_validate(copy), actor)
    session.flush()
    return attempt


def keep_attempt(session: Session, ticket: Ticket, actor: Actor) -> list[Ticket]:
    """Keep one attempt and cancel the others, whose branches stay. Returns the cancelled ones.

    The parent is completed when the kept attempt is done. Raises `Forbidden`, `Invalid`, `ConflictError`.
    """
    rights.require(actor, Act.CHOOSE_ATTEMPT)
    group = attempts.find_group(session, ticket.id)
    if group is None or ticket.id == group.parent.id:
        raise Invalid(f"{ticket.identifier} is not one of several attempts.", field="ticket")
    if ticket.status is TicketStatus.CANCELLED:
        raise ConflictError(f"{ticket.identifier} was cancelled. Reopen it before you keep it.", field="ticket")
    for attempt in group.attempts:
        session.get_one(Attempt, attempt.id).kept = attempt.id == ticket.id
    others = group.list_open(without=ticket.id)
    for other in others:
        transitions.transition(session, other.id, "cancel", actor, note=f"{ticket.identifier} was kept instead.")
    events.append(session, group.parent.id, "ticket_attempt_kept", {"attempt": ticket.identifier}, actor)
    if ticket.status in TERMINAL:
        transitions.complete_parent(session, ticket)
    return others
