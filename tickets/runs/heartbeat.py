"""Heartbeats of wrappers: their state every few seconds, and the instructions returned."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import ActorKind, RequestState, Run, RunRequest, RunState, now
from protocol import HeartbeatAnswer, StopOrder, WrapperState
from tickets.conversation import messages
from tickets.dispatch import budgets, slots
from tickets.dispatch.policy import DispatchLimits
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost
from tickets.shared.inputs import WrapperBody
from tickets.shared.lookup import get_run

NO_LIMITS = DispatchLimits()


class RunHeartbeat(WrapperBody):
    """What a wrapper says every few seconds, see `protocol.HeartbeatMessage`."""

    state: WrapperState
    pid: int | None = Field(None, ge=1)
    pid_started: str | None = Field(None, max_length=40)
    boot_id: str | None = Field(None, max_length=64)
    last_run_seq: int = 0
    agent_pid: int | None = None


def record_heartbeat(
    session: Session, run_id: int, body: RunHeartbeat, grace_seconds: int = 8, limits: DispatchLimits = NO_LIMITS
) -> dict[str, Any]:
    """Record a heartbeat and return the instructions for the run: stop, pending messages, answers to its requests.

    Raises `ClaimLost` when the run has ended. Budgets are not enforced after the end of a turn, so that its verdict counts.
    """
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        raise ClaimLost(run=run_id)
    if body.state not in ("idle", "stopping"):
        run = budgets.enforce_budgets(session, run, limits.budgets)
    before, state = run.state, _state(run, body)
    facts = {"pid": body.pid, "pid_started": body.pid_started, "boot_id": body.boot_id}
    values = {"state": state, "heartbeat": now(), **{k: v for k, v in facts.items() if v}, **build_sign(run)}
    if state is RunState.WAITING and before is not RunState.WAITING:
        values["waiting_since"] = now()
    session.execute(update(Run).where(Run.id == run_id).values(**values))
    if state is not before:
        actor = Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id)
        events.append(
            session,
            run.ticket_id,
            "run_state_changed",
            {"run": run.id, "from": before.value, "to": state.value},
            actor,
        )
    answers = _settle_slot(session, get_run(session, run_id), limits.total)
    stop = StopOrder(run.stop_reason or "", run.stop_code, grace_seconds) if run.stop_code else None
    return asdict(HeartbeatAnswer(stop, messages.offer_messages(session, run), answers, model=run.model_order))


def build_sign(run: Run) -> dict[str, Any]:
    """Build the column values of a sign of life of an external run, whose silence begins anew. Empty for another run."""
    if run.silence_seconds is None:
        return {}
    return {"heartbeat": now(), "silent_after": now() + timedelta(seconds=run.silence_seconds)}


def _state(run: Run, body: RunHeartbeat) -> RunState:
    if run.stop_code:
        return RunState.STOPPING
    return RunState(body.state)


def _settle_slot(session: Session, run: Run, total: int) -> list[dict[str, Any]]:
    """Give back or take the run's slot, and return the answers that it may be given."""
    if run.state is not RunState.WAITING or slots.can_take_slot(session, run, total):
        slots.take_slot(session, run)
        return _list_answers(session, run.id)
    answers = _list_answers(session, run.id, run.slot_released)
    slots.release_slot(session, run)
    return answers


def _list_answers(session: Session, run_id: int, before: datetime | None = None) -> list[dict[str, Any]]:
    """List the answers to the run's requests, up to a moment where it has no slot since then."""
    query = (
        select(RunRequest)
        .where(RunRequest.run_id == run_id, RunRequest.state == RequestState.ANSWERED)
        .order_by(RunRequest.id)
    )
    if before is not None:
        query = query.where(RunRequest.answered <= before)
    return [{"request": row.request, **(row.answer or {})} for row in session.scalars(query)]
