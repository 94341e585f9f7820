"""Plans of tickets: versions that an agent proposes and people edit, approve or send back.

An agent that plans first changes nothing until a person has approved its plan. The decision goes to its process where
that waits for it, else the ticket goes back to work and the next run continues the conversation with it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from models import (
    ActorKind,
    Planning,
    PlanState,
    Profile,
    RequestState,
    Run,
    RunRequest,
    Ticket,
    TicketPlan,
    TicketStatus,
    now,
)
from tickets.conversation import requests
from tickets.conversation.requests import PLAN_REQUEST, Reply
from tickets.lifecycle.transitions import transition
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError
from tickets.shared.inputs import Body, Words
from tickets.shared.lookup import find_live_run
from tickets.shared.rights import Act


class EditPlan(Body):
    """A new text of the plan whose newest version is `version`."""

    version: int = Field(ge=1)
    body: Words


class ApprovePlan(Body):
    """The approval of `version`, as edited in `body` if that is given."""

    version: int = Field(ge=1)
    body: Words | None = None


class ReturnPlan(Body):
    """Comment of a person who returns `version` of a plan to the agent."""

    version: int = Field(ge=1)
    comment: Words


def must_plan(session: Session, ticket: Ticket, profile: Profile) -> bool:
    """Return whether the ticket's next run makes a plan: one is asked for, and none is approved."""
    is_asked = ticket.planning is Planning.FIRST or (ticket.planning is None and profile.plan_first)
    return is_asked and find_approved(session, ticket.id) is None


def find_approved(session: Session, ticket_id: int) -> TicketPlan | None:
    """Find the plan that was approved last."""
    approved = (TicketPlan.ticket_id == ticket_id, TicketPlan.state == PlanState.APPROVED)
    return session.scalar(select(TicketPlan).where(*approved).order_by(TicketPlan.version.desc()).limit(1))


def list_plans(session: Session, ticket_id: int, limit: int | None = None) -> list[TicketPlan]:
    """List the versions of a ticket's plan, newest first."""
    query = select(TicketPlan).where(TicketPlan.ticket_id == ticket_id).order_by(TicketPlan.version.desc())
    return list(session.scalars(query.limit(limit)))


def propose_plan(session: Session, run: Run, body: str, request: str | None = None) -> TicketPlan:
    """Store a plan that an agent has made, in the place of one that still waited."""
    actor = Actor(ActorKind.RUN, run.agent, run.id, run.ticket_id)
    plan = _add_version(session, run.ticket_id, body, actor, run.id, request)
    events.append(session, run.ticket_id, "plan_proposed", {"version": plan.version}, actor, run.id)
    return plan


def edit_plan(session: Session, ticket: Ticket, body: EditPlan, actor: Actor) -> TicketPlan:
    """Store a plan as a person has edited it. Raises `Forbidden`, `ConflictError`."""
    rights.require(actor, Act.DECIDE_PLAN)
    plan = _edit(session, _require_open(session, ticket, body.version), body.body, actor)
    events.append(session, ticket.id, "plan_edited", {"version": plan.version}, actor)
    return plan


def approve_plan(session: Session, ticket: Ticket, body: ApprovePlan, actor: Actor) -> int | None:
    """Approve a plan, as edited, and return the live run that waits for it. Raises `Forbidden`, `ConflictError`."""
    rights.require(actor, Act.DECIDE_PLAN)
    plan = _require_open(session, ticket, body.version)
    if body.body is not None:
        plan = _edit(session, plan, body.body, actor)
    _decide(session, plan, PlanState.APPROVED, actor)
    events.append(session, ticket.id, "plan_approved", {"version": plan.version}, actor)
    answer = f"The plan is approved (version {plan.version})."
    return _tell(session, ticket, plan, "allow", plan.body, answer, actor)


def return_plan(session: Session, ticket: Ticket, body: ReturnPlan, actor: Actor) -> int | None:
    """Send a plan back with a comment, and return the live run that waits. Raises `Forbidden`, `ConflictError`."""
    rights.require(actor, Act.DECIDE_PLAN)
    plan = _require_open(session, ticket, body.version)
    _decide(session, plan, PlanState.RETURNED, actor, body.comment)
    events.append(session, ticket.id, "plan_returned", {"version": plan.version, "comment": body.comment[:2000]}, actor)
    return _tell(session, ticket, plan, "deny", body.comment, body.comment, actor)


def _require_open(session: Session, ticket: Ticket, version: int) -> TicketPlan:
    """Return the newest version if it is this one and waits for a decision. Raises `ConflictError`."""
    newest = next(iter(list_plans(session, ticket.id)), None)
    if newest is None:
        raise ConflictError(f"{ticket.identifier} has no plan.", ticket=ticket.identifier)
    if newest.version != version:
        raise ConflictError(
            f"Version {version} is not the newest plan of {ticket.identifier}: read version {newest.version}.",
            version=newest.version,
        )
    if newest.state is not PlanState.PROPOSED or ticket.closed:
        state = "closed with its ticket" if ticket.closed else newest.state.value
        raise ConflictError(f"The plan of {ticket.identifier} is already {state}.", version=version)
    return newest


def _edit(session: Session, plan: TicketPlan, body: str, actor: Actor) -> TicketPlan:
    if body == plan.body:
        return plan
    return _add_version(session, plan.ticket_id, body, actor, plan.run_id, plan.request)


def _add_version(
    session: Session, ticket_id: int, body: str, actor: Actor, run_id: int | None, request: str | None
) -> TicketPlan:
    mine = TicketPlan.ticket_id == ticket_id
    last = session.scalar(select(func.max(TicketPlan.version)).where(mine)) or 0
    old_plans = update(TicketPlan).where(mine, TicketPlan.state == PlanState.PROPOSED)
    session.execute(old_plans.values(state=PlanState.REPLACED))
    author = {"author": actor.name, "author_kind": actor.kind}
    plan = TicketPlan(ticket_id=ticket_id, version=last + 1, run_id=run_id, request=request, body=body, **author)
    session.add(plan)
    session.flush()
    return plan


def _decide(session: Session, plan: TicketPlan, state: PlanState, actor: Actor, comment: str | None = None) -> None:
    decision = {"state": state, "comment": comment, "decided_by": actor.name, "decided": now()}
    open_plan = (TicketPlan.id == plan.id, TicketPlan.state == PlanState.PROPOSED)
    if session.scalar(update(TicketPlan).where(*open_plan).values(**decision).returning(TicketPlan.id)) is None:
        raise ConflictError("Somebody else has already decided on the plan.", version=plan.version)


def _tell(
    session: Session,
    ticket: Ticket,
    plan: TicketPlan,
    behavior: Literal["allow", "deny"],
    message: str,
    answer: str,
    actor: Actor,
) -> int | None:
    """Tell the process that waits for the decision, or send the ticket back to work."""
    run = find_live_run(session, ticket.id)
    if run is not None and _is_pending(session, run, plan):
        reply = Reply(request=plan.request or "", behavior=behavior, message=message)
        return requests.record_answer(session, ticket.id, reply, actor)
    if run is not None:
        raise ConflictError(
            f"The agent of {ticket.identifier} does not wait with this plan now. Decide when it does, or when its run has"
            " ended.",
            run=run.id,
        )
    if ticket.status is TicketStatus.NEEDS_INPUT:
        transition(session, ticket.id, "answer", actor, body=answer)
    return None


def _is_pending(session: Session, run: Run, plan: TicketPlan) -> bool:
    waiting = (RunRequest.run_id == run.id, RunRequest.request == plan.request)
    pending = (RunRequest.kind == PLAN_REQUEST, RunRequest.state == RequestState.PENDING)
    return run.stop_code is None and session.scalar(select(RunRequest.id).where(*waiting, *pending)) is not None
