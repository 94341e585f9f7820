"""Heartbeats of wrappers: their state every few seconds, and the instructions returned."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Any

from pydantic import Field
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from models import ActorKind, RequestState, Run, RunRequest, RunState, now
from protocol import HeartbeatAnswer, StopOrder, WrapperState
from tickets.conversation import messages
from tickets.dispatch import budgets
from tickets.dispatch.budgets import NO_LIMITS, Budgets
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost
from tickets.shared.inputs import WrapperBody
from tickets.shared.lookup import get_run


class RunHeartbeat(WrapperBody):
    """What a wrapper says every few seconds, see `protocol.HeartbeatMessage`."""

    state: WrapperState
    pid: int | None = Field(None, ge=1)
    pid_started: str | None = Field(None, max_length=40)
    boot_id: str | None = Field(None, max_length=64)
    last_run_seq: int = 0
    agent_pid: int | None = None


def record_heartbeat(
    session: Session, run_id: int, body: RunHeartbeat, grace_seconds: int = 8, allowed: Budgets = NO_LIMITS
) -> dict[str, Any]:
    """Record a heartbeat and return the instructions for the run: stop, pending messages, answers to its requests.

    Raises `ClaimLost` when the run has ended. Budgets are not enforced after the end of a turn, so that its verdict counts.
    """
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        raise ClaimLost(run=run_id)
    if body.state not in ("idle", "stopping"):
        run = budgets.enforce_budgets(session, run, allowed)
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
    stop = StopOrder(run.stop_reason or "", run.stop_code, grace_seconds) if run.stop_code else None
    offered, answers = messages.offer_messages(session, run), _list_answers(session, run_id)
    return asdict(HeartbeatAnswer(stop, offered, answers, model=run.model_order))


def build_sign(run: Run) -> dict[str, Any]:
    """Build the column values of a sign of life of an external run, whose silence begins anew. Empty for another run."""
    if run.silence_seconds is None:
        return {}
    return {"heartbeat": now(), "silent_after": now() + timedelta(seconds=run.silence_seconds)}


def _state(run: Run, body: RunHeartbeat) -> RunState:
    if run.stop_code:
        return RunState.STOPPING
    return RunState(body.state)


def _list_answers(session: Session, run_id: int) -> list[dict[str, Any]]:
    query = (
        select(RunRequest)
        .where(RunRequest.run_id == run_id, RunRequest.state == RequestState.ANSWERED)
        .order_by(RunRequest.id)
    )
    return [{"request": row.request, **(row.answer or {})} for row in session.scalars(query)]
