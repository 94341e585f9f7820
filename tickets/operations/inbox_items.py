"""The orchestrator's inbox: items are leased to one who works them, and end with the action that was taken or a failure.

An item counts as acted only with an action that was written in the same transaction.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field
from sqlalchemy import ColumnElement, and_, func, or_, select, true, update
from sqlalchemy.orm import Session

from models import ActorKind, InboxItem, InboxState, Ticket, now
from tickets.conversation import timeline
from tickets.lifecycle import moves, transitions
from tickets.shared import events, lookup, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Invalid, NotFound
from tickets.shared.inputs import Body, Line, NewTicket, Prose, Reference, Title, Words
from tickets.shared.rights import Act

PAGE_SIZE = 100
MAX_OPEN_ITEMS = 1000
"""Open items beyond which none is filed. A move opens its item all the same."""
MAX_REASON_LENGTH = 4000
IS_OPEN = InboxItem.state.in_((InboxState.PENDING, InboxState.DELIVERED))


class MoveAction(Body):
    """A move of a ticket, by default the item's own. `facts` are the input of the move."""

    type: Literal["move"]
    move: Line
    ticket: Reference | None = None
    version: int | None = Field(None, ge=1)
    facts: dict[str, Any] = Field(default={})


class CommentAction(Body):
    """A comment on a ticket, by default the item's own."""

    type: Literal["comment"]
    body: Words
    ticket: Reference | None = None


class TicketAction(Body):
    """A new ticket."""

    type: Literal["ticket"]
    ticket: NewTicket


class NoAction(Body):
    """A decision to do nothing, with its reason."""

    type: Literal["none"]
    reason: Words


Action = Annotated[MoveAction | CommentAction | TicketAction | NoAction, Field(discriminator="type")]


class ItemAction(Body):
    """The action that settles an item."""

    action: Action


class NewItem(Body):
    """An item that somebody other than the lifecycle files."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    title: Title
    body: Prose = ""
    ticket: Reference | None = None


def list_items(
    session: Session, state: InboxState, cursor: int | None = None, limit: int = PAGE_SIZE
) -> list[tuple[InboxItem, str | None]]:
    """List the items in one state with the identifier of their ticket: open ones oldest first, settled ones newest first.

    An item whose lease has run out counts as pending. `cursor` is the id of the last item of the page before.
    """
    query = select(InboxItem, Ticket.identifier).outerjoin(Ticket, Ticket.id == InboxItem.ticket_id).limit(limit)
    if state in (InboxState.ACTED, InboxState.FAILED):
        beyond = [InboxItem.id < cursor] if cursor else []
        query = query.where(InboxItem.state == state, *beyond).order_by(InboxItem.id.desc())
    else:
        beyond = [InboxItem.id > cursor] if cursor else []
        query = query.where(_in_state(state), *beyond).order_by(InboxItem.id)
    return [(item, identifier) for item, identifier in session.execute(query)]


def count_open(session: Session) -> int:
    """Count the items that nobody has settled."""
    return session.scalar(select(func.count()).select_from(InboxItem).where(IS_OPEN)) or 0


def count_pending(session: Session, without_ticket: int | None) -> int:
    """Count the items that wait to be worked, those with a lapsed lease too, without those of one ticket."""
    other = InboxItem.ticket_id.is_distinct_from(without_ticket) if without_ticket else true()
    pending = select(func.count()).select_from(InboxItem).where(_in_state(InboxState.PENDING), other)
    return session.scalar(pending) or 0


def get_item(session: Session, item_id: int) -> InboxItem:
    """Return an item. Raises `NotFound`."""
    item = session.get(InboxItem, item_id)
    if item is None:
        raise NotFound(f"There is no inbox item {item_id}.")
    return item


def file_item(session: Session, item: NewItem, actor: Actor) -> InboxItem:
    """File an item for the orchestrator. Raises `ConflictError` when the inbox is full."""
    rights.require(actor, Act.FILE_ITEM)
    if count_open(session) >= MAX_OPEN_ITEMS:
        raise ConflictError(f"The inbox is full: {MAX_OPEN_ITEMS:,} items are open. Settle some on its page first.")
    ticket_id = lookup.get_ticket(session, item.ticket).id if item.ticket else None
    row = InboxItem(kind=item.kind, title=item.title, body=item.body, ticket_id=ticket_id)
    session.add(row)
    session.flush()
    _append_event(session, row, "inbox_filed", actor)
    return row


def deliver_item(session: Session, item_id: int, actor: Actor, lease_seconds: int) -> InboxItem:
    """Lease an item to the actor. Raises `ConflictError` when it is settled, or leased to another.

    Whoever has it already gets the lease anew. Without an action it falls back to pending when the lease runs out.
    """
    rights.require(actor, Act.WORK_INBOX)
    mine = and_(InboxItem.state == InboxState.DELIVERED, InboxItem.delivered_to == actor.name)
    values = {
        "state": InboxState.DELIVERED,
        "delivered_to": actor.name,
        "deliveries": InboxItem.deliveries + 1,
        "lease_until": now() + timedelta(seconds=lease_seconds),
    }
    return _change_state(session, item_id, or_(_in_state(InboxState.PENDING), mine), values, "inbox_delivered", actor)


def deliver_next(session: Session, actor: Actor, lease_seconds: int) -> InboxItem | None:
    """Lease the oldest pending item to the actor. None when there is none."""
    rights.require(actor, Act.WORK_INBOX)
    query = select(InboxItem.id).where(_in_state(InboxState.PENDING)).order_by(InboxItem.id).limit(1)
    item_id = session.scalar(query)
    return deliver_item(session, item_id, actor, lease_seconds) if item_id is not None else None


def act_on_item(session: Session, item_id: int, action: Action, actor: Actor) -> InboxItem:
    """Take the action, and settle the item with it in the same transaction.

    Raises `ConflictError` when the item is settled or leased to another, and what the action itself raises: then nothing
    has happened.
    """
    rights.require(actor, Act.WORK_INBOX)
    values = {"state": InboxState.ACTED, "action": action.model_dump(mode="json"), "settled": now()}
    item = _change_state(session, item_id, _is_workable(actor), values, "inbox_acted", actor)
    _perform_action(session, item, action, actor)
    return item


def dismiss_item(session: Session, item_id: int, reason: str, actor: Actor) -> InboxItem:
    """Settle an item without an action, with the reason."""
    return act_on_item(session, item_id, NoAction(type="none", reason=_require_reason(reason)), actor)


def fail_item(session: Session, item_id: int, reason: str, actor: Actor) -> InboxItem:
    """Settle an item that cannot be worked, with the reason."""
    rights.require(actor, Act.WORK_INBOX)
    values = {"state": InboxState.FAILED, "failure": _require_reason(reason), "settled": now()}
    return _change_state(session, item_id, _is_workable(actor), values, "inbox_failed", actor)


def _require_reason(reason: str) -> str:
    if not reason.strip():
        raise Invalid("Enter the reason.", field="reason")
    return reason.strip()[:MAX_REASON_LENGTH]


def _in_state(state: InboxState) -> ColumnElement[bool]:
    """Return the condition of an open state, by the lease and not by the column alone."""
    is_leased = and_(InboxItem.state == InboxState.DELIVERED, InboxItem.lease_until > now())
    if state is InboxState.DELIVERED:
        return is_leased
    lapsed = and_(InboxItem.state == InboxState.DELIVERED, InboxItem.lease_until <= now())
    return or_(InboxItem.state == InboxState.PENDING, lapsed)


def _is_workable(actor: Actor) -> ColumnElement[bool]:
    """Return the condition under which the actor may settle an item: a person any open one, others one leased to them.

    A lease that has run out counts as long as nobody else has the item.
    """
    if actor.kind is ActorKind.HUMAN:
        return IS_OPEN
    return and_(InboxItem.state == InboxState.DELIVERED, InboxItem.delivered_to == actor.name)


def _change_state(
    session: Session, item_id: int, condition: ColumnElement[bool], values: dict[str, Any], event: str, actor: Actor
) -> InboxItem:
    """Change an item by compare-and-swap. Raises `ConflictError` that says who has it or how it ended."""
    statement = update(InboxItem).where(InboxItem.id == item_id, condition).values(**values).returning(InboxItem.id)
    if session.scalar(statement) is None:
        raise _build_conflict(get_item(session, item_id))
    item = get_item(session, item_id)
    session.refresh(item)
    _append_event(session, item, event, actor)
    return item


def _build_conflict(item: InboxItem) -> ConflictError:
    if item.state is InboxState.DELIVERED:
        text = f"Inbox item {item.id} is delivered to {item.delivered_to}, until its lease ends."
    elif item.state is InboxState.PENDING:
        text = f"Inbox item {item.id} is not delivered to you. Deliver it first."
    else:
        text = f"Inbox item {item.id} has already ended as {item.state.value}."
    return ConflictError(text, item=item.id, state=item.state.value)


def _perform_action(session: Session, item: InboxItem, action: Action, actor: Actor) -> None:
    match action:
        case MoveAction():
            ticket_id = find_ticket(session, item, action.ticket)
            moves.find_move(action.move).parse_facts(action.facts)  # `transition` takes others, such as a role
            transitions.transition(session, ticket_id, action.move, actor, version=action.version, **action.facts)
        case CommentAction():
            ticket_id = find_ticket(session, item, action.ticket)
            timeline.add_comment(session, ticket_id, timeline.NewComment(body=action.body), actor)
        case TicketAction():
            ticket = transitions.create_ticket(session, action.ticket, actor)
            item.action = {**(item.action or {}), "created": ticket.identifier}
            session.flush()
        case NoAction():
            return


def find_ticket(session: Session, item: InboxItem, reference: str | None) -> int:
    """Find the ticket of an action: the one that it names, or the item's own. Raises `Invalid` without either."""
    if reference:
        return lookup.get_ticket(session, reference).id
    if item.ticket_id is None:
        raise Invalid("The item has no ticket of its own: name one.", field="action.ticket")
    return item.ticket_id


def _append_event(session: Session, item: InboxItem, event_type: str, actor: Actor) -> None:
    payload = {"item": item.id, "kind": item.kind, "title": item.title, "state": item.state.value}
    events.append(session, item.ticket_id, event_type, payload, actor)
