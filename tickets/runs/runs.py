"""Runs: claim a ticket, follow the attempt that holds it, and end it in one transaction with the ticket's move.

Every write by a worker proves that its run still holds the ticket; what comes too late is quarantined, never applied.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from pydantic import Field
from sqlalchemy import bindparam, exists, func, select, update
from sqlalchemy.orm import Session

from models import (
    Agent,
    AgentSession,
    Failure,
    Outcome,
    Profile,
    RequestState,
    Run,
    RunRequest,
    RunState,
    Ticket,
    TicketEvent,
    TicketStatus,
    now,
)
from tickets.conversation import conversation, messages
from tickets.lifecycle import comments
from tickets.lifecycle.comments import MISSION_CONTROL
from tickets.lifecycle.lifecycle import require_source, transition
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost, Conflict, Invalid, NoSuchTicket
from tickets.shared.facts import Body, Line, Moment, Prose
from tickets.shared.lookup import get, get_run
from tickets.team import team
from tickets.workflow import evidence, quarantine

from . import forks, retries, sessions, terminal, usage, verdicts
from .usage import Usage

PICKUP = Actor.system("pickup")
UNANSWERED = "timeout"
"""Stop code of a run whose question waited too long; its report may still ask that question."""
TOO_LATE = "Its question was not answered in time."


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently a ticket is tried again; `limit` counts attempts, the first included."""

    limit: int = 3
    backoff_seconds: float = 30.0


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


# -------------------------------------------------------------------------------------------------------------- claim


@dataclass(frozen=True, slots=True)
class Claim:
    """A ticket won: the run that now holds it, and its token, which is shown only here.

    `source`: the conversation that the run begins with a copy of, unless it goes on with one.
    """

    ticket: Ticket
    run: Run
    profile: Profile
    source: AgentSession | None
    token: str = field(repr=False)


class _Owner(NamedTuple):
    """A ticket's owner and how it was worked so far: all that decides how its next run begins."""

    identifier: str
    name: str | None
    agent: Agent | None
    profile: Profile | None
    resume: bool
    generation: int | None
    fork: bool


OWNER = (
    select(
        Ticket.identifier,
        Ticket.assigned_to,
        Agent,
        Profile,
        Ticket.resume,
        select(func.max(Run.generation)).where(Run.ticket_id == Ticket.id).scalar_subquery(),
        forks.is_fork(Ticket.id),
    )
    .select_from(Ticket)
    .outerjoin(Agent, Agent.name == Ticket.assigned_to)
    .outerjoin(Profile, Profile.name == Agent.profile)
    .where(Ticket.id == bindparam("ticket"))
)


def require_claimable(session: Session, ticket_id: int) -> None:
    """Raise `IllegalMove` when a claim is lost already: for `writing` to ask before it takes the write lock."""
    require_source(session, ticket_id, "claim")


def claim(session: Session, ticket_id: int, host: str) -> Claim:
    """Move a ticket to `in_progress` and open its run, in one transaction.

    Raises `IllegalMove` when somebody else was faster, `Invalid` when its owner is not runnable.
    """
    row = session.execute(OWNER, {"ticket": ticket_id}).first()
    if row is None:
        raise NoSuchTicket(ticket=str(ticket_id))
    owner = _Owner._make(row)
    agent, profile = owner.agent, owner.profile
    if agent is None or profile is None or not agent.runnable:
        raise Invalid(f"{owner.identifier} is not owned by a runnable agent", owner=owner.name)
    resumed = sessions.to_resume(session, ticket_id, agent.name, profile.program) if owner.resume else None
    source = forks.to_copy(session, ticket_id, profile.program, held=resumed is not None) if owner.fork else None
    ticket = transition(session, ticket_id, "claim", PICKUP)
    token = "mcr_" + secrets.token_urlsafe(32)
    run = Run(
        ticket_id=ticket.id,
        generation=(owner.generation or 0) + 1,
        agent=agent.name,
        phase=ticket.phase,
        profile=profile.name,
        program=profile.program,
        mode=ticket.next_mode or profile.mode,
        host=host,
        token_hash=hashed(token),
        nonce=secrets.token_hex(16),
        resumes=resumed is not None,
        conversation_id=resumed.id if resumed else None,
        config_dir=resumed.config_dir if resumed else None,
    )
    ticket.next_mode = None
    _open(session, run)
    return Claim(ticket, run, profile, source, token)


def _open(session: Session, run: Run) -> None:
    """Insert a run and tell of it on its ticket."""
    session.add(run)
    session.flush()
    payload = {
        "run": run.id,
        "generation": run.generation,
        "agent": run.agent,
        "profile": run.profile,
        "resumes": run.resumes,
    }
    events.append(session, run.ticket_id, "run_opened", payload, PICKUP, run.id)
    comments.write(session, run.ticket_id, f"Ticket picked up by {run.agent} via MC dispatcher.", run_id=run.id)


NEWEST = select(Run).where(Run.ticket_id == bindparam("ticket")).order_by(Run.generation.desc()).limit(1)


def latest(session: Session, ticket_id: int) -> Run | None:
    """The newest attempt at a ticket, ended or not."""
    return session.scalar(NEWEST, {"ticket": ticket_id})


def prepared(session: Session, run_id: int, **facts: Any) -> None:
    """Remember where a claimed run works: workspace, branch, base_sha, conversation, config folder; then its pane.

    Where its work begins is told again by its report: it may have taken in more of the base branch.
    """
    session.execute(update(Run).where(Run.id == run_id, Run.state != RunState.ENDED).values(**facts))


def start_failed(session: Session, run_id: int, failure: Failure, message: str, policy: RetryPolicy) -> None:
    """The start of a claimed run is proven not to have happened: end the run and give the ticket its consequence."""
    run = get_run(session, run_id)
    if run.state is not RunState.ENDED:
        fail(session, run, Outcome.FAILED, failure, message, policy)


# ------------------------------------------------------------------------------------------------------------- report


class ReportedFailure(Body):
    class_: Failure = Field(alias="class")
    message: Prose = ""
    retry_at: Moment | None = None


class ReportedClaim(Body):
    kind: Line = "claim"
    text: Prose
    item: int | None = Field(None, ge=0)


class Report(Body):
    """The one final report of a run."""

    verdict: Literal[
        "done",
        "review",
        "changes",
        "question",
        "failed",
        "timed_out",
        "stopped",
        "usage_limited",
        "protocol_violation",
        "lost",
    ]
    summary: Prose = ""
    question: dict[str, Any] | None = None
    claims: list[ReportedClaim] = Field(default=[], max_length=200)
    failure: ReportedFailure | None = None
    exit_code: int | None = None
    usage: Usage | None = None
    conversation_id: str | None = Field(None, max_length=100)
    observations: evidence.Observations | None = None
    terminal: dict[str, Any] | None = None
    transcript_tail: Prose | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Whether a report was applied; a refused one has been quarantined and must not be sent again."""

    accepted: bool
    ticket: Ticket
    reason: str | None = None


def report(session: Session, run_id: int, body: Report, policy: RetryPolicy) -> Receipt:
    """End the run and move its ticket, in one transaction; refuse and quarantine what comes from a run that lost its ticket."""
    run = usage.record(session, run_id, body.usage)
    ticket = get(session, run.ticket_id)
    reason = _stale(run, ticket, body)
    if reason is not None:
        quarantine.keep(session, run, "report", reason, body.model_dump(mode="json", by_alias=True))
        if run.state is not RunState.ENDED:
            _end_refused(session, run, ticket, body, reason, policy)
        return Receipt(False, get(session, run.ticket_id), reason)
    _remember(session, run, body)
    if body.verdict in verdicts.GIVEN:
        verdicts.follow(session, run, ticket, body.verdict, body.summary, body.question or {})
        _end(session, run, Outcome(body.verdict), body)
    elif ticket.status is not TicketStatus.IN_PROGRESS:
        _end(session, run, Outcome.STOPPED, body)
        terminal.record(session, run, body.model_dump(mode="json", by_alias=True))
    else:
        _apply_failure(session, run, body, policy)
    return Receipt(True, get(session, run.ticket_id))


def _stale(run: Run, ticket: Ticket, body: Report) -> str | None:
    if run.state is RunState.ENDED:
        return f"run {run.id} (generation {run.generation}) has already ended"
    verdict = body.verdict in verdicts.GIVEN
    if verdict and ticket.status is not TicketStatus.IN_PROGRESS:
        return f"the ticket is {ticket.status.value}, so a verdict of {body.verdict} does not apply"
    if verdict and run.stop_code and not (run.stop_code == UNANSWERED and body.verdict == "question"):
        return f"the run was told to stop ({run.stop_code})"
    return None


def _end_refused(session: Session, run: Run, ticket: Ticket, body: Report, reason: str, policy: RetryPolicy) -> None:
    """A run that may not say this is over all the same, and a ticket that it still holds goes back into the queue."""
    if ticket.status is TicketStatus.IN_PROGRESS:
        fail(session, run, Outcome.STOPPED, Failure.KILLED, reason, policy, body=body)
    else:
        _end(session, run, Outcome.STOPPED, body)


def _remember(session: Session, run: Run, body: Report) -> None:
    evidence.claim(session, run, [claim.model_dump() for claim in body.claims])
    if body.observations:
        evidence.observe(session, run, body.observations.model_dump())
        if body.observations.base_sha:
            prepared(session, run.id, base_sha=body.observations.base_sha)


FAILURE_OF = {
    "failed": Failure.AGENT_FAILED,
    "timed_out": Failure.TIMEOUT,
    "stopped": Failure.KILLED,
    "usage_limited": Failure.USAGE_LIMIT,
    "protocol_violation": Failure.PROTOCOL_VIOLATION,
    "lost": Failure.KILLED,
}


def _apply_failure(session: Session, run: Run, body: Report, policy: RetryPolicy) -> None:
    said = body.failure
    failure = said.class_ if said else FAILURE_OF[body.verdict]
    message = (said.message if said else "") or body.summary or f"The run ended as {body.verdict.replace('_', ' ')}."
    fail(
        session,
        run,
        Outcome(body.verdict),
        failure,
        message,
        policy,
        body=body,
        retry_at=said.retry_at if said else None,
    )


def fail(
    session: Session,
    run: Run,
    outcome: Outcome,
    failure: Failure,
    message: str,
    policy: RetryPolicy,
    *,
    body: Report | None = None,
    retry_at: datetime | None = None,
) -> None:
    """End a run without a verdict, leave its record, and give the ticket the one consequence of this failure."""
    ticket = get(session, run.ticket_id)
    said = body.model_dump(mode="json", by_alias=True) if body else {}
    _end(session, run, outcome, body, failure, message)
    if ticket.status is not TicketStatus.IN_PROGRESS:
        terminal.record(session, get_run(session, run.id), said)
        return
    decision = retries.decide(
        ticket,
        failure,
        message,
        limit=policy.limit,
        backoff_seconds=policy.backoff_seconds,
        retry_at=retry_at,
        resumable=ticket.conversation_id is not None,
    )
    transition(session, ticket.id, decision.move, MISSION_CONTROL, **decision.facts)
    if rest := decision.rest(failure):
        team.cool_down(session, run.agent, rest, f"{failure.value.replace('_', ' ')}: {message}", MISSION_CONTROL)
    session.execute(update(Ticket).where(Ticket.id == ticket.id).values(**decision.remember))
    if retries.CONSEQUENCES[failure].fresh:
        sessions.give_up(session, ticket.id)
    terminal.record(session, get_run(session, run.id), said, decision)


def _end(
    session: Session,
    run: Run,
    outcome: Outcome,
    body: Report | None,
    failure: Failure | None = None,
    message: str | None = None,
) -> None:
    values = {
        "state": RunState.ENDED,
        "ended": now(),
        "outcome": outcome,
        "failure": failure,
        "failure_detail": message,
        "live_line": None,
    }
    if body is not None:
        values |= {"exit_code": body.exit_code, "summary": body.summary[:2000] or None}
    ended = session.scalar(
        update(Run).where(Run.id == run.id, Run.state != RunState.ENDED).values(**values).returning(Run.id)
    )
    if ended is None:
        raise ClaimLost(run=run.id)
    session.execute(
        update(RunRequest)
        .where(RunRequest.run_id == run.id, RunRequest.state != RequestState.WITHDRAWN)
        .values(state=RequestState.WITHDRAWN)
    )
    messages.release(session, run.id)
    payload = {
        "run": run.id,
        "outcome": outcome.value,
        "failure": failure.value if failure else None,
        "message": message,
    }
    event = events.append(session, run.ticket_id, "run_ended", payload, MISSION_CONTROL, run.id)
    conversation.settled(session, run.id, event.seq or 0)
    messages.leave_unconfirmed(session, run.id, event.seq or 0)


def mark_lost(session: Session, run_id: int, detail: str, policy: RetryPolicy) -> None:
    """The wrapper is proven dead and left no verdict."""
    run = get_run(session, run_id)
    if run.state is not RunState.ENDED:
        fail(session, run, Outcome.LOST, Failure.KILLED, detail, policy)


# --------------------------------------------------------------------------------------------------------------- stop


def stop(session: Session, run_id: int, actor: Actor, reason: str = "") -> Ticket:
    """The operator's stop: the run ends and its ticket is parked until somebody wakes it, so that it is not claimed again at once."""
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        raise Conflict("that run has already ended", run=run_id)
    ticket = get(session, run.ticket_id)
    if ticket.status is not TicketStatus.IN_PROGRESS:
        return ticket
    return transition(
        session, ticket.id, "park", actor, wake={"kind": "manual"}, note=reason or "Stopped by the operator."
    )


def stop_unanswered(session: Session, seconds: float) -> int:
    """End the live runs whose question or approval has waited too long: its report then asks it on the ticket."""
    waiting = exists().where(
        RunRequest.run_id == Run.id,
        RunRequest.state == RequestState.PENDING,
        RunRequest.created < now() - timedelta(seconds=seconds),
    )
    late = session.execute(
        update(Run)
        .where(Run.state != RunState.ENDED, Run.stop_code.is_(None), waiting)
        .values(state=RunState.STOPPING, stop_code=UNANSWERED, stop_reason=TOO_LATE)
        .returning(Run.id, Run.ticket_id)
    ).all()
    for run_id, ticket_id in late:
        payload = {"run": run_id, "code": UNANSWERED, "reason": TOO_LATE}
        events.append(session, ticket_id, "run_stop_requested", payload, MISSION_CONTROL, run_id)
    return len(late)


def stop_asked(session: Session, run_id: int) -> datetime | None:
    """When a live run was first told to end; None while nobody has."""
    query = select(TicketEvent.ts).where(
        TicketEvent.run_id == run_id, TicketEvent.run_seq.is_(None), TicketEvent.event_type == "run_stop_requested"
    )
    return session.scalar(query.order_by(TicketEvent.id).limit(1))


# ------------------------------------------------------------------------------------------------------------ reading


def by_token(session: Session, token: str) -> Run | None:
    """The run whose token this is, ended ones included: their late writes are refused, not unknown."""
    return session.scalar(select(Run).where(Run.token_hash == hashed(token)))


def of(session: Session, ticket_id: int, limit: int = 50) -> list[Run]:
    return list(
        session.scalars(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation.desc()).limit(limit))
    )


def last_placed(session: Session, ticket_id: int) -> Run | None:
    """The newest run of a ticket that worked in a repository."""
    query = select(Run).where(Run.ticket_id == ticket_id, Run.repository.is_not(None))
    return session.scalar(query.order_by(Run.generation.desc()).limit(1))


def is_live(session: Session, run_id: int) -> bool:
    return session.scalar(select(Run.id).where(Run.id == run_id, Run.state != RunState.ENDED)) is not None


def live(session: Session) -> list[Run]:
    """All runs that have not ended, oldest first; put in order here, so that their own index finds them."""
    return sorted(session.scalars(select(Run).where(Run.state != RunState.ENDED)), key=lambda run: run.id)
