"""Runs outside Mission Control: a service mirrors work done elsewhere, which is displayed but never started or stopped."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Outcome, Run, RunMode, RunState, now
from tickets.lifecycle import comments
from tickets.lifecycle.moves import Role
from tickets.lifecycle.transitions import transition
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, Invalid
from tickets.shared.inputs import Body, Line
from tickets.team import agents

from . import heartbeat
from .claims import find_latest, hash_token
from .reports import RetryPolicy, RunReport, apply_report, find_stop_request

PREFIX = "external."
"""Of the types of events that others than runs may post."""


MINUTE, WEEK = 60, 7 * 24 * 60 * 60


class ExternalRun(Body):
    """Work done outside Mission Control that a service mirrors.

    A heartbeat or an event is a sign of life. Without one for `silence_seconds` a person is asked to look.
    """

    agent: Line
    host: Line = "elsewhere"
    conversation_id: str | None = Field(None, max_length=100)
    silence_seconds: int = Field(10 * MINUTE, ge=MINUTE, le=WEEK)


def open_run(session: Session, ticket_id: int, body: ExternalRun, actor: Actor) -> tuple[Run, str]:
    """Open a run of mode `external` on a ticket in `todo`, and return it with its token, which is available only here.

    Raises `Invalid` for the name of a person, whose own work needs no run.
    """
    if person := agents.find_person(session, body.agent):
        raise Invalid(f"{person.name} is a person of the team. Name the program that does the work.", field="agent")
    ticket = transition(session, ticket_id, "claim", actor, role=Role.PICKUP)
    previous = find_latest(session, ticket_id)
    token = "mcr_" + secrets.token_urlsafe(32)
    run = Run(
        ticket_id=ticket.id,
        generation=previous.generation + 1 if previous else 1,
        agent=body.agent,
        phase=ticket.phase,
        mode=RunMode.EXTERNAL,
        host=body.host,
        token_hash=hash_token(token),
        nonce=secrets.token_hex(16),
        conversation_id=body.conversation_id,
        state=RunState.RUNNING,
        silence_seconds=body.silence_seconds,
    )
    run.silent_after = heartbeat.build_sign(run)["silent_after"]
    session.add(run)
    session.flush()
    events.append(
        session, ticket_id, "run_opened", {"run": run.id, "mode": "external", "agent": run.agent}, actor, run.id
    )
    text = f"{run.agent} works on this outside Mission Control, on {run.host}, as {actor.name} reports."
    comments.write(session, ticket_id, text, run_id=run.id)
    return run, token


def post_event(session: Session, ticket_id: int, event_type: str, payload: dict[str, Any], actor: Actor) -> None:
    """Append an event of somebody who is no run. Raises `Forbidden` for one that only a run reports."""
    if not event_type.startswith(PREFIX):
        raise Forbidden(f"Only a run's own token posts its events; others post events of type {PREFIX}*.")
    events.append(session, ticket_id, event_type, payload, actor)


def end_unresponsive(session: Session, seconds: float) -> int:
    """End the runs that have not confirmed their stop request within `seconds`, and return their number.

    Mission Control cannot stop them: without this their ticket would wait for ever for a service that has gone.
    """
    conditions = (Run.mode == RunMode.EXTERNAL, Run.state != RunState.ENDED, Run.stop_code.is_not(None))
    timeout = timedelta(seconds=seconds)
    overdue = [
        run
        for run in session.scalars(select(Run).where(*conditions))
        if now() - (find_stop_request(session, run.id) or run.started) > timeout
    ]
    for run in overdue:
        apply_report(
            session,
            run.id,
            RunReport(verdict=Outcome.STOPPED, summary="Mission Control has let go of it."),
            RetryPolicy(),
        )
    return len(overdue)
