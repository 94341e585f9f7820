"""Control of the conversation with a ticket's agent: held by one page at a time, under a lease, with hand-over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session

from models import Controller, ago, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.rights import Act

LEASE_DURATION = timedelta(seconds=20)
CONTROL_CHANGED = "ticket_control_changed"


class NotInControl(ConflictError):
    """Someone else controls this conversation. Request control, or take it over."""

    code = "not_in_control"


@dataclass(frozen=True, slots=True)
class Participant:
    """A person at one page. `caller` identifies the login and is the same in all windows, `page` identifies the window."""

    actor: Actor
    caller: str
    page: str

    @property
    def place(self) -> str:
        return f"{self.caller}/{self.page}"

    def is_person_of(self, place: str) -> bool:
        return place.rpartition("/")[0] == self.caller


CURRENT_CONTROLLER = (
    select(Controller)
    .where(Controller.ticket_id == bindparam("ticket"), Controller.until > ago())
    .execution_options(populate_existing=True)
)


def find_controller(session: Session, ticket_id: int) -> Controller | None:
    """Find the current controller of the conversation, or None when there is none or its lease has expired."""
    return session.scalar(CURRENT_CONTROLLER, {"ticket": ticket_id})


def require_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Refuse a message while someone else has control, and take control for a person when nobody else has it.

    Raises `NotInControl`.
    """
    controller = find_controller(session, ticket_id)
    if controller is not None and not participant.is_person_of(controller.holder):
        raise NotInControl(holder=controller.name)
    if rights.may(participant.actor, Act.CONTROL) and (controller is None or controller.holder != participant.place):
        take_control(session, ticket_id, participant)


def take_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Take over control from its current holder. Raises `Forbidden` for programs and viewers."""
    rights.require(participant.actor, Act.CONTROL)
    _hand_to(session, ticket_id, participant.place, participant.actor.name)
    _append_event(session, ticket_id, participant.actor, "taken", participant.actor.name)


def request_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Ask the holder of control for it, or take it when nobody has it. Raises `Forbidden` for programs and viewers."""
    rights.require(participant.actor, Act.CONTROL)
    controller = find_controller(session, ticket_id)
    if controller is None:
        take_control(session, ticket_id, participant)
    elif controller.holder != participant.place:
        controller.asked_by, controller.asked_name = participant.place, participant.actor.name
        _append_event(session, ticket_id, participant.actor, "asked", controller.name)


def give_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Hand control to the participant that asked for it.

    Raises `NotInControl` without control, `ConflictError` when nobody has asked, `Forbidden` for programs and viewers.
    """
    rights.require(participant.actor, Act.CONTROL)
    controller = _require_own(session, ticket_id, participant)
    if controller.asked_by is None or controller.asked_name is None:
        raise ConflictError("Nobody has asked for control.")
    name = controller.asked_name
    _hand_to(session, ticket_id, controller.asked_by, name)
    _append_event(session, ticket_id, participant.actor, "given", name)


def release_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Release control, if the participant has it. Raises `Forbidden` for programs and viewers."""
    rights.require(participant.actor, Act.CONTROL)
    mine = (Controller.ticket_id == ticket_id, Controller.holder == participant.place)
    if session.scalar(delete(Controller).where(*mine).returning(Controller.ticket_id)):
        _append_event(session, ticket_id, participant.actor, "released", None)


def renew_control(session: Session, ticket_id: int, participant: Participant) -> None:
    """Renew the lease of the page in control."""
    mine = (Controller.ticket_id == ticket_id, Controller.holder == participant.place, Controller.until > now())
    session.execute(update(Controller).where(*mine).values(until=now() + LEASE_DURATION))


def has_lapsed(session: Session, ticket_id: int) -> bool:
    late = (Controller.ticket_id == ticket_id, Controller.until <= now())
    return session.scalar(select(Controller.ticket_id).where(*late)) is not None


def release_lapsed(session: Session, ticket_id: int) -> None:
    """Release control when the lease of its page has expired."""
    late = (Controller.ticket_id == ticket_id, Controller.until <= now())
    if session.scalar(delete(Controller).where(*late).returning(Controller.ticket_id)):
        _append_event(session, ticket_id, Actor.system("mission-control"), "lapsed", None)


def _require_own(session: Session, ticket_id: int, participant: Participant) -> Controller:
    controller = find_controller(session, ticket_id)
    if controller is None or controller.holder != participant.place:
        raise NotInControl("You are not in control.", holder=controller.name if controller else None)
    return controller


def _hand_to(session: Session, ticket_id: int, place: str, name: str) -> None:
    session.execute(delete(Controller).where(Controller.ticket_id == ticket_id))
    session.add(Controller(ticket_id=ticket_id, holder=place, name=name, until=now() + LEASE_DURATION))
    session.flush()


def _append_event(session: Session, ticket_id: int, actor: Actor, change: str, holder: str | None) -> None:
    payload: dict[str, Any] = {"how": change, "holder": holder}
    events.append(session, ticket_id, CONTROL_CHANGED, payload, actor)
