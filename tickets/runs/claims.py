"""Claim tickets for runs, and find runs by ticket, token or state."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from models import Agent, AgentKind, AgentSession, Profile, Run, RunState, Ticket
from tickets.lifecycle import comments
from tickets.lifecycle.transitions import require_source, transition
from tickets.planning import plans
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid, NoSuchTicket
from tickets.workflow import code_reviews

from . import forks, sessions

PICKUP = Actor.system("pickup")
BOARD_PREFIX = "mcb_"


def hash_token(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RunClaim:
    """A claimed ticket, its new run and the run's tokens, which are available only here.

    `source` is the conversation that the run starts with a copy of, unless it resumes one. `board_token` is given to a run
    of an orchestrator alone: it has the rights of one until the run ends.
    """

    ticket: Ticket
    run: Run
    profile: Profile
    source: AgentSession | None
    token: str = field(repr=False)
    board_token: str | None = field(default=None, repr=False)


class _Owner(NamedTuple):
    """The owner of a ticket and the history that determines how its next run begins."""

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
    """Raise `IllegalMove` when the claim cannot succeed, checked by `writing` before it takes the write lock."""
    require_source(session, ticket_id, "claim")


def claim_ticket(session: Session, ticket_id: int, host: str) -> RunClaim:
    """Move a ticket to `in_progress` and open its run, in one transaction.

    Raises `IllegalMove` when the ticket is already claimed, `Invalid` when its owner is not a runnable agent.
    """
    row = session.execute(OWNER, {"ticket": ticket_id}).first()
    if row is None:
        raise NoSuchTicket(ticket=str(ticket_id))
    owner = _Owner._make(row)
    agent, profile = owner.agent, owner.profile
    if agent is None or profile is None or not agent.runnable:
        raise Invalid(f"{owner.identifier} is not assigned to a runnable agent", owner=owner.name)
    resumed = sessions.find_resumable(session, ticket_id, agent.name, profile.program) if owner.resume else None
    source = (
        forks.find_conversation_to_copy(session, ticket_id, profile.program, has_conversation=resumed is not None)
        if owner.fork
        else None
    )
    ticket = transition(session, ticket_id, "claim", PICKUP)
    token = "mcr_" + secrets.token_urlsafe(32)
    must_plan = ticket.next_mode is None and plans.must_plan(session, ticket, profile)
    board_token = None if must_plan else _make_board_token(session, ticket, agent)
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
        board_token_hash=hash_token(board_token) if board_token else None,
        nonce=secrets.token_hex(16),
        resumes=resumed is not None,
        plans=must_plan,
        conversation_id=resumed.id if resumed else None,
        config_dir=resumed.config_dir if resumed else None,
    )
    ticket.next_mode = None
    _open_run(session, run)
    return RunClaim(ticket, run, profile, source, token, board_token)


def _make_board_token(session: Session, ticket: Ticket, agent: Agent) -> str | None:
    """Make the token with which a run works the board. Only an orchestrator gets one, and none for a plan or a review."""
    if agent.kind is not AgentKind.CONTROLLER or code_reviews.find_assessment(session, ticket.id) is not None:
        return None
    return BOARD_PREFIX + secrets.token_urlsafe(32)


def _open_run(session: Session, run: Run) -> None:
    """Insert a run and record it in the event log and comments of its ticket."""
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
    """Find the newest run of a ticket, ended or not."""
    return session.scalar(NEWEST_RUN, {"ticket": ticket_id})


def record_workspace(session: Session, run_id: int, **facts: Any) -> None:
    """Store where a claimed run works: workspace, branch, base_sha, conversation, config folder, and later its pane.

    The run's report updates `base_sha`, as the run may have merged newer commits of the base branch.
    """
    session.execute(update(Run).where(Run.id == run_id, Run.state != RunState.ENDED).values(**facts))


def find_by_token(session: Session, token: str) -> Run | None:
    """Find the run with this token, including ended runs, so that their late writes are refused as such."""
    return session.scalar(select(Run).where(Run.token_hash == hash_token(token)))


def find_by_board_token(session: Session, token: str) -> Run | None:
    """Find the live run of an orchestrator with this token, which ends with the run."""
    return session.scalar(select(Run).where(Run.board_token_hash == hash_token(token), Run.state != RunState.ENDED))


def list_runs(session: Session, ticket_id: int, limit: int = 50) -> list[Run]:
    return list(
        session.scalars(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation.desc()).limit(limit))
    )


def find_last_in_repository(session: Session, ticket_id: int) -> Run | None:
    """Find the newest run of a ticket that worked in a repository."""
    query = select(Run).where(Run.ticket_id == ticket_id, Run.repository.is_not(None))
    return session.scalar(query.order_by(Run.generation.desc()).limit(1))


def is_live(session: Session, run_id: int) -> bool:
    return session.scalar(select(Run.id).where(Run.id == run_id, Run.state != RunState.ENDED)) is not None


def list_live(session: Session) -> list[Run]:
    """List all live runs, oldest first, sorted here so that the query uses the index on the state."""
    return sorted(session.scalars(select(Run).where(Run.state != RunState.ENDED)), key=lambda run: run.id)


def list_live_identifiers(session: Session) -> set[str]:
    """Return the identifiers of all tickets with a live run."""
    query = select(Ticket.identifier).join(Run, Run.ticket_id == Ticket.id).where(Run.state != RunState.ENDED)
    return set(session.scalars(query))
