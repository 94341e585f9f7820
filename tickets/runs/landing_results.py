"""Results of landings, reported by jobs and applied only while the ticket waits for that landing."""

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
from tickets.workflow.landing import LandingPlan

from . import verdicts

MAX_FILES = 30


def list_pending(session: Session, host: str) -> list[Ticket]:
    """List the tickets that wait to be landed on this host, oldest first."""
    pending = session.scalars(select(Ticket).where(Ticket.landing == LandingState.PENDING).order_by(Ticket.id))
    return [ticket for ticket in pending if (ticket.landing_plan or {}).get("host") == host]


def is_awaited(session: Session, ticket_id: int, plan: LandingPlan) -> bool:
    """Return whether a ticket still waits for this landing."""
    ticket = lookup.get_ticket(session, ticket_id)
    return landing.is_pending(ticket) and (ticket.landing_plan or {}).get("key") == plan.key


def record_success(session: Session, ticket_id: int, plan: LandingPlan, text: str, data: dict[str, Any]) -> bool:
    """Record a landing and complete the ticket. Returns False when the ticket was moved meanwhile.

    `data` holds `commit`, `remote`, `address` and `check`, as far as known.
    """
    facts = {"policy": plan.policy.value, "branch": plan.branch, "base": plan.base, **data}
    evidence.record_fact(session, ticket_id, plan.run, ("landing", EvidenceStatus.OK, text, facts))
    address = data.get("address")
    if is_awaited(session, ticket_id, plan):
        transitions.transition(session, ticket_id, "land", MISSION_CONTROL, body=text, address=address)
        return True
    late = f"{text} The ticket was moved while that was done."
    events.append(session, ticket_id, "ticket_landed_late", {"body": late}, MISSION_CONTROL)
    comments.write(session, ticket_id, late, data={"level": "warning", "address": address})
    return False


def record_failure(session: Session, ticket_id: int, plan: LandingPlan, reason: str) -> bool:
    """Leave a failed landing to a person, with the reason and the next action."""
    if not is_awaited(session, ticket_id, plan):
        return False
    transitions.transition(session, ticket_id, "fail_landing", MISSION_CONTROL, body=reason)
    return True


def send_back_conflicts(session: Session, ticket_id: int, plan: LandingPlan, files: Sequence[str]) -> bool:
    """Send the work back to its agent to resolve conflicts with the base branch."""
    file_names = ", ".join(f"`{file}`" for file in files[:MAX_FILES])
    file_names += f" and {len(files) - MAX_FILES} more" if len(files) > MAX_FILES else ""
    return _send_back(session, ticket_id, plan, f"It conflicts with {plan.base} in {file_names}.")


def send_back_failed_check(
    session: Session, ticket_id: int, plan: LandingPlan, command: str, ending: str, tail: str
) -> bool:
    """Send the work back because the check command fails on the merged result, though it passes on the branch alone."""
    problem = f"Together with {plan.base} the check command `{command}` does not pass ({ending})."
    return _send_back(
        session,
        ticket_id,
        plan,
        problem,
        f"The end of its output:\n\n{display_names.format_code_block(tail)}" if tail else "",
    )


def _send_back(session: Session, ticket_id: int, plan: LandingPlan, problem: str, details: str = "") -> bool:
    if not is_awaited(session, ticket_id, plan):
        return False
    if not plan.approved and comments.count_send_backs(session, ticket_id, ActorKind.SYSTEM) >= verdicts.MAX_SEND_BACKS:
        reason = (
            f"{problem} It has been sent back {verdicts.MAX_SEND_BACKS} times already: approve it or request changes."
        )
        return record_failure(session, ticket_id, plan, reason)
    order = (
        f"The work was {'approved' if plan.approved else 'complete'}, but {plan.failure_text}. {problem}\n\n"
        f"Bring {plan.base} into your branch (`git merge {plan.base}`, or rebase onto it), resolve this, and submit the work"
        " in again."
    )
    transitions.transition(session, ticket_id, "request_changes", MISSION_CONTROL, body=f"{order}\n\n{details}".strip())
    return True
