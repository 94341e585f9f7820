"""Who talks with a ticket's agent: one page at a time, with hand-over; a page that vanishes loses it after `LEASE`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from models import Controller, ago, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Conflict
from tickets.shared.rights import Act

LEASE = timedelta(seconds=20)
CHANGED = "ticket_control_changed"


class NotInControl(Conflict):
    """Somebody else talks with this agent at the moment; ask for control, or take it."""

    code = "not_in_control"


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody at one page. `caller` is the same in all windows of a log-in, `page` tells them apart."""

    actor: Actor
    caller: str
    page: str

    @property
    def place(self) -> str:
        return f"{self.caller}/{self.page}"

    def is_person_of(self, place: str) -> bool:
        return place.rpartition("/")[0] == self.caller


HOLDING = (
    select(Controller)
    .where(Controller.ticket_id == bindparam("ticket"), Controller.until > ago())
    .execution_options(populate_existing=True)
)


def holding(session: Session, ticket_id: int) -> Controller | None:
    """Who is in control now; None when nobody is, or has lapsed."""
    return session.scalar(HOLDING, {"ticket": ticket_id})


def require(session: Session, ticket_id: int, voice: Participant) -> None:
    """Refuse to speak while somebody else is in control; a person takes what nobody else holds. Raises `NotInControl`."""
    held = holding(session, ticket_id)
    if held is not None and not voice.is_person_of(held.holder):
        raise NotInControl(holder=held.name)
    if rights.may(voice.actor, Act.CONTROL) and (held is None or held.holder != voice.place):
        take(session, ticket_id, voice)


def take(session: Session, ticket_id: int, voice: Participant) -> None:
    """Take control, from whoever has it. Raises `Forbidden` for programs and viewers."""
    rights.require(voice.actor, Act.CONTROL)
    _hand_to(session, ticket_id, voice.place, voice.actor.name)
    _tell(session, ticket_id, voice.actor, "taken", voice.actor.name)


def ask(session: Session, ticket_id: int, voice: Participant) -> None:
    """Ask whoever has control for it; where nobody has it, take it. Raises `Forbidden` for programs and viewers."""
    rights.require(voice.actor, Act.CONTROL)
    held = holding(session, ticket_id)
    if held is None:
        take(session, ticket_id, voice)
    elif held.holder != voice.place:
        held.asked_by, held.asked_name = voice.place, voice.actor.name
        _tell(session, ticket_id, voice.actor, "asked", held.name)


def give(session: Session, ticket_id: int, voice: Participant) -> None:
    """Hand control to whoever asked for it; raises `Conflict` when there is nothing to give, or nobody to take it.

    Raises `Forbidden` for programs and viewers.
    """
    rights.require(voice.actor, Act.CONTROL)
    held = _own(session, ticket_id, voice)
    if held.asked_by is None or held.asked_name is None:
        raise Conflict("Nobody has asked for control.")
    name = held.asked_name
    _hand_to(session, ticket_id, held.asked_by, name)
    _tell(session, ticket_id, voice.actor, "given", name)


def release(session: Session, ticket_id: int, voice: Participant) -> None:
    """Let go of control; nothing happens where one does not have it. Raises `Forbidden` for programs and viewers."""
    rights.require(voice.actor, Act.CONTROL)
    mine = (Controller.ticket_id == ticket_id, Controller.holder == voice.place)
    if session.scalar(delete(Controller).where(*mine).returning(Controller.ticket_id)):
        _tell(session, ticket_id, voice.actor, "released", None)


def renew(session: Session, ticket_id: int, voice: Participant) -> None:
    """A sign of life of the page in control."""
    mine = (Controller.ticket_id == ticket_id, Controller.holder == voice.place, Controller.until > now())
    session.execute(update(Controller).where(*mine).values(until=now() + LEASE))


def has_lapsed(session: Session, ticket_id: int) -> bool:
    late = (Controller.ticket_id == ticket_id, Controller.until <= now())
    return session.scalar(select(Controller.ticket_id).where(*late)) is not None


def lapse(session: Session, ticket_id: int) -> None:
    """Release a controller whose page has vanished."""
    late = (Controller.ticket_id == ticket_id, Controller.until <= now())
    if session.scalar(delete(Controller).where(*late).returning(Controller.ticket_id)):
        _tell(session, ticket_id, Actor.system("mission-control"), "lapsed", None)


def _own(session: Session, ticket_id: int, voice: Participant) -> Controller:
    held = holding(session, ticket_id)
    if held is None or held.holder != voice.place:
        raise NotInControl("You are not in control.", holder=held.name if held else None)
    return held


def _hand_to(session: Session, ticket_id: int, place: str, name: str) -> None:
    session.execute(delete(Controller).where(Controller.ticket_id == ticket_id))
    session.add(Controller(ticket_id=ticket_id, holder=place, name=name, until=now() + LEASE))
    session.flush()


def _tell(session: Session, ticket_id: int, actor: Actor, how: str, holder: str | None) -> None:
    payload: dict[str, Any] = {"how": how, "holder": holder}
    events.append(session, ticket_id, CHANGED, payload, actor)
