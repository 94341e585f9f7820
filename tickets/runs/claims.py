"""Claim tickets for runs, and find runs by ticket, token or state."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from models import Agent, AgentSession, Profile, Run, RunState, Ticket
from tickets.lifecycle import comments
from tickets.lifecycle.transitions import require_source, transition
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid, NoSuchTicket

from . import forks, sessions

PICKUP = Actor.system("pickup")


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunClaim:
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


def claim_ticket(session: Session, ticket_id: int, host: str) -> RunClaim:
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
    resumed = sessions.find_resumable(session, ticket_id, agent.name, profile.program) if owner.resume else None
    source = (
        forks.find_conversation_to_copy(session, ticket_id, profile.program, has_conversation=resumed is not None)
        if owner.fork
        else None
    )
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
        token_hash=hash_token(token),
        nonce=secrets.token_hex(16),
        resumes=resumed is not None,
        conversation_id=resumed.id if resumed else None,
        config_dir=resumed.config_dir if resumed else None,
    )
    ticket.next_mode = None
    _open_run(session, run)
    return RunClaim(ticket, run, profile, source, token)


def _open_run(session: Session, run: Run) -> None:
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


NEWEST_RUN = select(Run).where(Run.ticket_id == bindparam("ticket")).order_by(Run.generation.desc()).limit(1)


def find_latest(session: Session, ticket_id: int) -> Run | None:
    """The newest attempt at a ticket, ended or not."""
    return session.scalar(NEWEST_RUN, {"ticket": ticket_id})


def record_workspace(session: Session, run_id: int, **facts: Any) -> None:
    """Remember where a claimed run works: workspace, branch, base_sha, conversation, config folder; then its pane.

    Where its work begins is told again by its report: it may have taken in more of the base branch.
    """
    session.execute(update(Run).where(Run.id == run_id, Run.state != RunState.ENDED).values(**facts))


def find_by_token(session: Session, token: str) -> Run | None:
    """The run whose token this is, ended ones included: their late writes are refused, not unknown."""
    return session.scalar(select(Run).where(Run.token_hash == hash_token(token)))


def list_runs(session: Session, ticket_id: int, limit: int = 50) -> list[Run]:
    return list(
        session.scalars(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation.desc()).limit(limit))
    )


def find_last_in_repository(session: Session, ticket_id: int) -> Run | None:
    """The newest run of a ticket that worked in a repository."""
    query = select(Run).where(Run.ticket_id == ticket_id, Run.repository.is_not(None))
    return session.scalar(query.order_by(Run.generation.desc()).limit(1))


def is_live(session: Session, run_id: int) -> bool:
    return session.scalar(select(Run.id).where(Run.id == run_id, Run.state != RunState.ENDED)) is not None


def list_live(session: Session) -> list[Run]:
    """All runs that have not ended, oldest first; put in order here, so that their own index finds them."""
    return sorted(session.scalars(select(Run).where(Run.state != RunState.ENDED)), key=lambda run: run.id)
