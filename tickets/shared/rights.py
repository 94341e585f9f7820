"""Access rights in the conversation with a ticket's agent, in one table for API, forms and WebSocket."""

from __future__ import annotations

from enum import StrEnum

from models import ActorKind

from .actors import Actor
from .errors import Forbidden


class Act(StrEnum):
    """An action in the conversation with an agent, in the words of its error message."""

    SPEAK = "writes to an agent"
    REPLY = "answers what a running agent waits for"
    CONTROL = "controls the conversation with an agent"


PEOPLE = frozenset({ActorKind.HUMAN})
ALLOWED: dict[Act, frozenset[ActorKind]] = {
    Act.SPEAK: PEOPLE | {ActorKind.ORCHESTRATOR, ActorKind.SERVICE},
    Act.REPLY: PEOPLE,
    Act.CONTROL: PEOPLE,
}
"""A program never lets an agent use a tool, and never takes control of a conversation from a person."""


def may(actor: Actor, act: Act) -> bool:
    """Return whether the actor is allowed to do this. A viewer is allowed nothing."""
    return actor.writes and actor.kind in ALLOWED[act]


def require(actor: Actor, act: Act) -> None:
    """Raise `Forbidden` unless the actor is allowed to do this."""
    if not actor.writes:
        raise Forbidden("A viewer has read access only. Log in with another token.")
    if actor.kind not in ALLOWED[act]:
        kinds = " or ".join(sorted(kind.value for kind in ALLOWED[act]))
        raise Forbidden(f"Only an actor of kind {kinds} {act}, and {actor.name} is of kind {actor.kind}.")
