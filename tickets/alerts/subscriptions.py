"""Browsers that are subscribed to push notifications."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models import PushSubscription
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.shared.inputs import Body
from tickets.shared.rights import Act

MAX_SUBSCRIPTIONS = 50
MAX_AGENT_LENGTH = 200
Base64Url = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{16,200}$")]


class NewSubscription(Body):
    """A subscription as browsers describe it, with the browser's public key and secret, by which payloads are encrypted."""

    endpoint: str = Field(max_length=2000, pattern=r"^https?://[!-~]+$")
    p256dh: Base64Url
    auth: Base64Url


def add_subscription(session: Session, body: NewSubscription, agent: str, actor: Actor) -> None:
    """Store a browser's subscription, or its new keys. The caller has checked that its push service is allowed.

    A browser is sent texts also after its log-in has ended, so who subscribes it may change where alerts are sent.
    """
    rights.require(actor, Act.CHANGE_ALERTS)
    session.execute(delete(PushSubscription).where(PushSubscription.endpoint == body.endpoint))
    if len(list_subscriptions(session)) >= MAX_SUBSCRIPTIONS:
        raise Invalid(f"There are {MAX_SUBSCRIPTIONS} subscribed browsers already. Remove one first.")
    row = PushSubscription(**body.model_dump(), person=actor.name, agent=agent[:MAX_AGENT_LENGTH])
    session.add(row)
    events.append(session, None, "push_subscribed", {"browser": row.agent}, actor)


def remove_subscription(session: Session, subscription_id: int, actor: Actor) -> None:
    """Remove a subscription on behalf of a person."""
    rights.require(actor, Act.REPLY)
    prune_subscription(session, subscription_id)
    events.append(session, None, "push_unsubscribed", {"subscription": subscription_id}, actor)


def prune_subscription(session: Session, subscription_id: int) -> None:
    """Delete a subscription that its push service no longer has."""
    session.execute(delete(PushSubscription).where(PushSubscription.id == subscription_id))


def list_subscriptions(session: Session) -> list[PushSubscription]:
    return list(session.scalars(select(PushSubscription).order_by(PushSubscription.id).limit(MAX_SUBSCRIPTIONS)))
