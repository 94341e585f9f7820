"""What came of landings: a door tells it here, and it counts only for the landing that the ticket still waits for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import ActorKind, EvidenceStatus, LandingState, Ticket
from tickets.lifecycle import comments, transitions
from tickets.lifecycle.comments import MISSION_CONTROL
from tickets.shared import display_names, events, lookup
from tickets.workflow import evidence, landing
from tickets.workflow.landing import Plan

from . import verdicts

FILES = 30


def wanted(session: Session, host: str) -> list[Ticket]:
    """The tickets that wait to be landed on this machine, in the order of their age."""
    pending = session.scalars(select(Ticket).where(Ticket.landing == LandingState.PENDING).order_by(Ticket.id))
    return [ticket for ticket in pending if (ticket.landing_plan or {}).get("host") == host]


def is_wanted(session: Session, ticket_id: int, plan: Plan) -> bool:
    """Whether a ticket still waits for this very landing."""
    ticket = lookup.get(session, ticket_id)
    return landing.is_pending(ticket) and (ticket.landing_plan or {}).get("key") == plan.key


def succeed(session: Session, ticket_id: int, plan: Plan, said: str, data: dict[str, Any]) -> bool:
    """Record what was landed and complete the ticket; False where somebody has moved it in that very moment.

    `data` holds what there is of `commit`, `remote`, `address` and `check`.
    """
    facts = {"policy": plan.policy.value, "branch": plan.branch, "base": plan.base, **data}
    evidence.record(session, ticket_id, plan.run, ("landing", EvidenceStatus.OK, said, facts))
    address = data.get("address")
    if is_wanted(session, ticket_id, plan):
        transitions.transition(session, ticket_id, "land", MISSION_CONTROL, body=said, address=address)
        return True
    late = f"{said} The ticket was moved while that was done."
    events.append(session, ticket_id, "ticket_landed_late", {"body": late}, MISSION_CONTROL)
    comments.write(session, ticket_id, late, data={"level": "warning", "address": address})
    return False


def fail(session: Session, ticket_id: int, plan: Plan, reason: str) -> bool:
    """Leave the landing to a person, with what went wrong and what to do."""
    if not is_wanted(session, ticket_id, plan):
        return False
    transitions.transition(session, ticket_id, "fail_landing", MISSION_CONTROL, body=reason)
    return True


def conflicts(session: Session, ticket_id: int, plan: Plan, files: Sequence[str]) -> bool:
    """Send the work back to its agent, which brings the base branch in and hands it in again."""
    named = ", ".join(f"`{file}`" for file in files[:FILES])
    named += f" and {len(files) - FILES} more" if len(files) > FILES else ""
    return _send_back(session, ticket_id, plan, f"It conflicts with {plan.base} in {named}.")


def check_failed(session: Session, ticket_id: int, plan: Plan, command: str, ending: str, tail: str) -> bool:
    """Likewise where the check command does not pass on the result, though it has passed on the branch alone."""
    what = f"Together with {plan.base} the check command `{command}` does not pass ({ending})."
    return _send_back(
        session, ticket_id, plan, what, f"The end of its output:\n\n{display_names.fenced(tail)}" if tail else ""
    )


def _send_back(session: Session, ticket_id: int, plan: Plan, what: str, more: str = "") -> bool:
    if not is_wanted(session, ticket_id, plan):
        return False
    if not plan.approved and verdicts.sent_back(session, ticket_id, ActorKind.SYSTEM) >= verdicts.SENT_BACK_MOST:
        reason = f"{what} It has come back {verdicts.SENT_BACK_MOST} times already: look at it, then approve it or request changes."
        return fail(session, ticket_id, plan, reason)
    order = (
        f"The work was {'approved' if plan.approved else 'complete'}, but {plan.undone}. {what}\n\n"
        f"Bring {plan.base} into your branch (`git merge {plan.base}`, or rebase onto it), settle this, and hand the work"
        " in again."
    )
    transitions.transition(session, ticket_id, "request_changes", MISSION_CONTROL, body=f"{order}\n\n{more}".strip())
    return True
