"""API of the orchestrator's inbox."""

from __future__ import annotations

from pydantic import Field

from models import InboxItem, InboxState
from tickets.lifecycle.schemas import InboxItemJson
from tickets.operations import inbox_items
from tickets.operations.inbox_items import ItemAction, MoveAction, NewItem
from tickets.runs.notify_run import stopping_run
from tickets.shared import lookup
from tickets.shared.inputs import Body, Words
from web.api.page import Page
from web.api.resource import Call, Resource

blueprint = Resource("inbox", __name__)


class InboxQuery(Body):
    """Items in one state: open ones oldest first, settled ones newest first."""

    state: InboxState = InboxState.PENDING
    cursor: int | None = Field(None, ge=1, description="`next` of the page before")


class FailureReason(Body):
    """The reason why an item cannot be worked."""

    reason: Words


@blueprint.reads("/inbox")
def list_inbox(call: Call, query: InboxQuery) -> Page[InboxItemJson]:
    """List inbox items in one state. An item whose lease has run out is pending again."""
    rows = inbox_items.list_items(call.session, query.state, query.cursor)
    last_id = rows[-1][0].id if len(rows) == inbox_items.PAGE_SIZE else None
    items = [InboxItemJson.read(item, ticket=identifier) for item, identifier in rows]
    return {"items": items, "next": str(last_id) if last_id else None}


@blueprint.writes("POST", "/inbox", status=201)
def file_item(call: Call, body: NewItem) -> InboxItemJson:
    """File an item for the orchestrator."""
    return _read(call, inbox_items.file_item(call.session, body, call.actor))


@blueprint.writes("POST", "/inbox/<number:item_id>/deliver")
def deliver_item(call: Call, item_id: int) -> InboxItemJson:
    """Lease an item for a limited time. Without an action it is pending again when the lease runs out."""
    lease_seconds = call.settings.inbox_lease_seconds
    return _read(call, inbox_items.deliver_item(call.session, item_id, call.actor, lease_seconds))


@blueprint.writes("POST", "/inbox/<number:item_id>/act")
def act_on_item(call: Call, item_id: int, body: ItemAction) -> InboxItemJson:
    """Take an action and settle the item with it, both or neither."""
    item = inbox_items.act_on_item(call.session, item_id, body.action, call.actor)
    if isinstance(body.action, MoveAction):
        call.notify_run(stopping_run(call.session, inbox_items.find_ticket(call.session, item, body.action.ticket)))
    return _read(call, item)


@blueprint.writes("POST", "/inbox/<number:item_id>/fail")
def fail_item(call: Call, item_id: int, body: FailureReason) -> InboxItemJson:
    """Settle an item that cannot be worked, with the reason."""
    return _read(call, inbox_items.fail_item(call.session, item_id, body.reason, call.actor))


def _read(call: Call, item: InboxItem) -> InboxItemJson:
    ticket = lookup.get_ticket(call.session, item.ticket_id).identifier if item.ticket_id else None
    return InboxItemJson.read(item, ticket=ticket)
