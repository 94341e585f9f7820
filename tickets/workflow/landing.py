"""Landing of a ticket's branch with the approval that completes it: decided here, executed by a job.

While a landing is pending the ticket stays in review. Any other move cancels it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select
from sqlalchemy.orm import Session

from database import in_ids
from models import (
    ActorKind,
    Evidence,
    EvidenceSource,
    EvidenceStatus,
    Landing,
    LandingState,
    Project,
    Run,
    Ticket,
    TicketStatus,
    now,
)
from tickets.shared import rights
from tickets.shared.actors import Actor
from tickets.shared.errors import CannotLand
from tickets.shared.inputs import Body
from tickets.shared.rights import Act
from tickets.shared.ticket_row import AnyTicket
from tickets.team import installed_programs

from . import ticket_phases

OPTION_LABELS = {
    Landing.LEAVE: "Do not merge",
    Landing.MERGE: "Merge",
    Landing.SQUASH: "Squash and merge",
    Landing.PUSH: "Push the branch",
    Landing.PULL_REQUEST: "Open a pull request",
}
APPROVE_LABELS = {
    Landing.LEAVE: "Approve (no merge)",
    Landing.MERGE: "Approve and merge",
    Landing.SQUASH: "Approve and squash",
    Landing.PUSH: "Approve and push",
    Landing.PULL_REQUEST: "Approve and open a pull request",
}
"""Labels of the approve buttons."""
PROGRESS_TEXTS = {
    Landing.MERGE: "merging into {base}",
    Landing.SQUASH: "squashing onto {base}",
    Landing.PUSH: "pushing the branch",
    Landing.PULL_REQUEST: "opening a pull request",
}
FAILURE_TEXTS = {
    Landing.MERGE: "not merged into {base}",
    Landing.SQUASH: "not squashed onto {base}",
    Landing.PUSH: "the branch was not pushed",
    Landing.PULL_REQUEST: "no pull request was opened",
}
NOTHING_TO_LAND = (
    "{ticket} has nothing to land: another phase follows, or Mission Control has seen no commit of it. Approve it"
    " without landing it."
)
NO_FORGE = (
    "A pull request is opened by gh or glab, and neither is installed on {host}. Install one and log in (Mission Control"
    " looks every ten minutes, and at once with bin/mc run-task probe-agents), or approve another way."
)


class LandableWork(Body):
    """Work that can be landed: the last observed commit of the ticket's newest run, and the project's policy."""

    run: int
    host: str
    repository: str
    branch: str
    commit: str
    base: str
    policy: Landing


class LandingPlan(LandableWork):
    """A landing decision stored with its ticket.

    `key` distinguishes it from every other landing of that ticket.

    `approved` is false when the run itself completed the ticket. `waived` is the reason for completing it with missing or
    failed evidence. The check command is then skipped. `reason` says why it failed and what to do.
    """

    key: int
    by: str
    approved: bool
    waived: str | None
    since: datetime
    reason: str | None = None

    @property
    def progress_text(self) -> str:
        return PROGRESS_TEXTS[self.policy].format(base=self.base)

    @property
    def failure_text(self) -> str:
        return FAILURE_TEXTS[self.policy].format(base=self.base)


IN_REPOSITORY = (
    in_ids(Run.ticket_id, "tickets"),
    Run.repository.is_not(None),
    Run.branch.is_not(None),
)
OBSERVED_COMMIT = (
    Evidence.kind == "commit",
    Evidence.source == EvidenceSource.FACT,
    Evidence.status == EvidenceStatus.OK,
)
LANDABLE_RUNS = (
    select(Run, Evidence.data, Project)
    .join(Ticket, Ticket.id == Run.ticket_id)
    .join(Project, Project.id == Ticket.project_id)
    .join(Evidence, (Evidence.ticket_id == Run.ticket_id) & (Evidence.run_id == Run.id))
    .where(Run.id.in_(select(func.max(Run.id)).where(*IN_REPOSITORY).group_by(Run.ticket_id)), *OBSERVED_COMMIT)
)


def find_landable_work(session: Session, tickets: Iterable[AnyTicket]) -> dict[int, LandableWork]:
    """Find the work to land of each of these tickets once it is complete, without tickets that have another phase."""
    ids = [ticket.id for ticket in tickets if ticket.project_id]
    if not ids:
        return {}
    work_by_ticket = {
        run.ticket_id: _build_work(run, data, project)
        for run, data, project in session.execute(LANDABLE_RUNS, {"tickets": ids})
        if data
    }
    return {
        ticket_id: work_by_ticket[ticket_id]
        for ticket_id in work_by_ticket.keys() - ticket_phases.find_with_later(session, ids)
    }


def _build_work(run: Run, observed: dict[str, Any], project: Project) -> LandableWork:
    return LandableWork(
        run=run.id,
        host=run.host,
        repository=run.repository or "",
        branch=run.branch or "",
        commit=observed["head_sha"],
        base=project.base_branch,
        policy=project.landing,
    )


def find_landing_options(session: Session, tickets: Iterable[AnyTicket]) -> dict[int, tuple[Landing, ...]]:
    """Find the landing options of each ticket in review, its project's own first, without tickets that have no work to land."""
    reviewed = [ticket for ticket in tickets if ticket.status is TicketStatus.IN_REVIEW and not is_pending(ticket)]
    work_by_ticket = find_landable_work(session, reviewed)
    hosts_without_forge = (
        installed_programs.find_hosts_without(session, installed_programs.FORGE_CLIENTS) if work_by_ticket else set()
    )
    return {ticket_id: _list_options(work, hosts_without_forge) for ticket_id, work in work_by_ticket.items()}


def _list_options(work: LandableWork, hosts_without_forge: set[str]) -> tuple[Landing, ...]:
    """List all options that the host has a program for, and the policy in any case, as its approval explains the problem."""
    impossible = {Landing.PULL_REQUEST} if work.host in hosts_without_forge else set()
    return (
        work.policy,
        *(option for option in APPROVE_LABELS if option is not work.policy and option not in impossible),
    )


def plan_landing(
    session: Session,
    ticket: Ticket,
    actor: Actor,
    option: Landing | None = None,
    waived: str | None = None,
) -> LandingPlan | None:
    """Plan the landing of a complete ticket, or return None without one. `option` overrides the project's policy.

    Raises `CannotLand`, `Forbidden`.
    """
    work = find_landable_work(session, [ticket]).get(ticket.id)
    policy = option or (work.policy if work else Landing.LEAVE)
    if work is not None and policy is not work.policy:
        rights.require(actor, Act.CHOOSE_LANDING, landing=work.policy.value)
    if policy is Landing.LEAVE:
        return None
    if work is None:
        raise CannotLand(NOTHING_TO_LAND.format(ticket=ticket.identifier), ticket=ticket.identifier)
    if policy is Landing.PULL_REQUEST and actor.kind is not ActorKind.RUN:
        _require_forge(session, ticket, work)
    decision: dict[str, Any] = {"policy": policy, "waived": waived, "by": actor.name, "since": now()}
    decision |= {"approved": actor.kind is not ActorKind.RUN, "key": ticket.version + 1}
    return LandingPlan.model_validate(work.model_dump() | decision)


def _require_forge(session: Session, ticket: Ticket, work: LandableWork) -> None:
    """Raise `CannotLand` when the host has no forge client.

    Not called when a run completes its ticket: its report must not be refused, and the job reports the same problem.
    """
    if work.host in installed_programs.find_hosts_without(session, installed_programs.FORGE_CLIENTS):
        raise CannotLand(NO_FORGE.format(host=work.host), ticket=ticket.identifier)


# ----------------------------------------------------------------------------------------------- columns of the ticket


IS_NOT_PENDING = or_(Ticket.landing.is_(None), Ticket.landing != LandingState.PENDING)
"""Condition for a ticket whose approved work is not about to be landed, as `is_pending` returns it."""


def is_pending(ticket: AnyTicket) -> bool:
    return ticket.landing is LandingState.PENDING


def get_plan(ticket: AnyTicket) -> LandingPlan | None:
    """Return the landing decision of a ticket, pending or failed."""
    return LandingPlan.model_validate(ticket.landing_plan) if ticket.landing_plan else None


def build_pending_values(plan: LandingPlan) -> dict[str, Any]:
    """Build the column values of a ticket with a pending landing."""
    return {"landing": LandingState.PENDING, "landing_plan": plan.model_dump(mode="json")}


def build_failed_values(ticket: Ticket, reason: str) -> dict[str, Any]:
    """Build the column values of a ticket whose landing needs a person."""
    return {"landing": LandingState.FAILED, "landing_plan": {**(ticket.landing_plan or {}), "reason": reason}}


def describe_landing(ticket: AnyTicket) -> str | None:
    """Describe a landing (`Approved by alice; merging into main.`) or its failure and the next action, or None without one."""
    plan = get_plan(ticket)
    if plan is None:
        return None
    text = f"{'Approved' if plan.approved else 'Completed'} by {plan.by}"
    return f"{text}, but {plan.failure_text}. {plan.reason}" if plan.reason else f"{text}; {plan.progress_text}."


LANDED = (
    select(Evidence.summary)
    .where(
        Evidence.ticket_id == bindparam("ticket"),
        Evidence.kind == "landing",
        Evidence.source == EvidenceSource.FACT,
        Evidence.status == EvidenceStatus.OK,
    )
    .order_by(Evidence.id.desc())
    .limit(1)
)


def describe_landed(session: Session, ticket: Ticket) -> str | None:
    """Describe the landing of a done ticket (`MC-4 merged into main as 3848e86.`), or None without one."""
    if ticket.status is not TicketStatus.DONE:
        return None
    text = session.scalar(LANDED, {"ticket": ticket.id})
    return f"{ticket.identifier} {text[0].lower()}{text[1:]}" if text else None
