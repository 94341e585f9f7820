"""The change of the model during a run: ordered by a person, carried out and confirmed by the agent's program."""

from __future__ import annotations

import uuid
from typing import Annotated

from pydantic import StringConstraints
from sqlalchemy import update
from sqlalchemy.orm import Session

from models import ActorKind, Run, RunMode, RunState
from protocol import AGENT_PROGRAMS, ModelPayload
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import Body
from tickets.shared.rights import Act

ModelName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@\[\]-]{0,99}$")]


class ChangeModel(Body):
    """The model with which a live run is to go on, as its program names it."""

    model: ModelName


def find_obstacle(run: Run) -> str | None:
    """Return why the model of a run cannot be changed, or None."""
    if run.state is RunState.ENDED:
        return "The run has ended."
    program = AGENT_PROGRAMS.get(run.program or "")
    title = program.title if program else run.program or "This program"
    if program is None or not program.can_change_model:
        return f"{title} does not change its model during a run. Set it in the profile for the next run."
    is_screen = run.mode is RunMode.TUI and program.can_change_model_on_screen
    if run.mode is not RunMode.HEADLESS and not is_screen:
        return f"The model of {title}'s own screen is changed on the screen."
    return None


def order_model(session: Session, run: Run, body: ChangeModel, actor: Actor) -> None:
    """Order a live run to go on with another model. Raises `Forbidden`, `ConflictError`."""
    rights.require(actor, Act.CHANGE_MODEL)
    if obstacle := find_obstacle(run):
        raise ConflictError(obstacle, run=run.id)
    order = {"uuid": str(uuid.uuid4()), "model": body.model, "by": actor.name}
    session.execute(update(Run).where(Run.id == run.id).values(model_order=order))
    events.append(session, run.ticket_id, "run_model_ordered", {"run": run.id, "model": body.model}, actor, run.id)


def apply_answer(session: Session, run: Run, answer: ModelPayload) -> None:
    """Record the program's answer to the order of this UUID."""
    order = run.model_order
    if order is None or order["uuid"] != answer.uuid:
        return
    model = answer.model or order["model"]
    session.execute(
        update(Run).where(Run.id == run.id).values(model_order=None, model=model if answer.ok else run.model)
    )
    event_type = "run_model_changed" if answer.ok else "run_model_refused"
    payload = {"run": run.id, "model": model, "detail": answer.detail}
    events.append(
        session, run.ticket_id, event_type, payload, Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id), run.id
    )
