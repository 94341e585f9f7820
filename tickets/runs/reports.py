"""Reports of runs: end a run and make the move of its ticket in one transaction.

Each write of a worker process proves that its run still claims the ticket. Late writes are quarantined, never applied.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import exists, or_, select, update
from sqlalchemy.orm import Session

from models import Failure, Outcome, RequestState, Run, RunRequest, RunState, Ticket, TicketEvent, TicketStatus, now
from protocol import AGENT_VERDICTS, MAX_CLAIMS, ProofKind, StopCode
from settings import Settings
from tickets.conversation import messages, timeline
from tickets.lifecycle.comments import MISSION_CONTROL
from tickets.lifecycle.transitions import transition
from tickets.planning import code_reviews as review_results
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import ClaimLost, ConflictError
from tickets.shared.inputs import Line, Moment, Prose, WrapperBody
from tickets.shared.lookup import get_run, get_ticket
from tickets.team import agents
from tickets.workflow import code_reviews, evidence, item_evidence, quarantine

from . import failure_record, retry_policy, runtime, sessions, usage, verdicts
from .claims import record_workspace
from .usage import Usage

UNANSWERED_TEXT = "Its question was not answered in time."


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Limits of repetitions: `limit` counts attempts including the first, `review_rounds` what reviewers request in a row."""

    limit: int = 3
    backoff_seconds: float = 30.0
    review_rounds: int = 3

    @classmethod
    def from_settings(cls, settings: Settings) -> RetryPolicy:
        return cls(settings.retry_limit, settings.retry_backoff_seconds, settings.review_rounds)


def record_start_failure(session: Session, run_id: int, failure: Failure, message: str, policy: RetryPolicy) -> None:
    """End a claimed run that is proven not to have started, and apply the retry policy to its ticket."""
    run = get_run(session, run_id)
    if run.state is not RunState.ENDED:
        fail_run(session, run, Outcome.FAILED, failure, message, policy)


class ReportedFailure(WrapperBody):
    """Report of a run, as `protocol.ReportMessage`. A class of another version counts as the one that goes with the verdict."""

    class_: Annotated[Failure | Line, Field(alias="class", union_mode="left_to_right")]
    message: Prose = ""
    retry_at: Moment | None = None


class ReportedProof(WrapperBody):
    """The proof of a claim. A kind of another version is stored, and proves nothing here."""

    kind: ProofKind | Line = Field(union_mode="left_to_right")
    ref: Prose = ""


class ReportedClaim(WrapperBody):
    """Statement of the agent, as `protocol.ClaimMessage`."""

    kind: Line = "claim"
    text: Prose
    item: int | None = Field(None, ge=0)
    proof: ReportedProof | None = None


class RunReport(WrapperBody):
    """The one final report of a run, see `protocol.ReportMessage`."""

    verdict: Outcome
    summary: Prose = ""
    question: dict[str, Any] | None = None
    claims: list[ReportedClaim] = Field(default=[], max_length=MAX_CLAIMS)
    failure: ReportedFailure | None = None
    exit_code: int | None = None
    usage: Usage | None = None
    conversation_id: str | None = Field(None, max_length=100)
    observations: evidence.ObservationModel | None = None
    terminal: dict[str, Any] | None = None
    transcript_tail: Prose | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Result of a report. A refused report has been quarantined and must not be sent again."""

    accepted: bool
    ticket: Ticket
    reason: str | None = None


def apply_report(session: Session, run_id: int, body: RunReport, policy: RetryPolicy) -> Receipt:
    """End the run and move its ticket in one transaction, or quarantine the report of a run that lost its claim.

    A repetition of the report that ended the run is accepted and changes nothing, as its sender missed the response.
    """
    run = usage.record_usage(session, run_id, body.usage)
    ticket = get_ticket(session, run.ticket_id)
    digest = compute_digest(body)
    if run.report_sha256 == digest:
        return Receipt(True, ticket)
    reason = _find_refusal(run, ticket, body)
    if reason is not None:
        quarantine.store_payload(session, run, "report", reason, body.model_dump(mode="json", by_alias=True))
        if run.state is not RunState.ENDED:
            _end_refused_run(session, run, ticket, body, reason, policy)
        return Receipt(False, get_ticket(session, run.ticket_id), reason)
    _record_evidence(session, run, body)
    assessment = code_reviews.find_assessment(session, ticket.id) if body.verdict in AGENT_VERDICTS else None
    if assessment is not None:
        _end_run(session, run, body.verdict, body)
        review_results.settle_report(session, assessment, body.verdict, body.summary, policy.review_rounds)
    elif obstacle := verdicts.find_obstacle(session, run, ticket, body.verdict):
        fail_run(session, run, Outcome.FAILED, Failure.CHECK_FAILED, obstacle, policy, body=body)
    elif body.verdict in AGENT_VERDICTS:
        verdicts.apply_verdict(session, run, ticket, body.verdict, body.summary, body.question or {})
        _end_run(session, run, body.verdict, body)
    elif ticket.status is not TicketStatus.IN_PROGRESS:
        _end_run(session, run, Outcome.STOPPED, body)
        failure_record.write_record(session, run, body.model_dump(mode="json", by_alias=True))
    else:
        _apply_failure(session, run, body, policy)
    session.execute(update(Run).where(Run.id == run.id).values(report_sha256=digest))
    return Receipt(True, get_ticket(session, run.ticket_id))


def compute_digest(body: RunReport) -> str:
    """Compute the digest by which a repeated report is recognised."""
    return hashlib.sha256(body.model_dump_json(by_alias=True).encode()).hexdigest()


def _find_refusal(run: Run, ticket: Ticket, body: RunReport) -> str | None:
    if run.state is RunState.ENDED:
        return f"run {run.id} (generation {run.generation}) has already ended"
    verdict = body.verdict in AGENT_VERDICTS
    if verdict and ticket.status is not TicketStatus.IN_PROGRESS:
        return f"the ticket is {ticket.status.value}, so a verdict of {body.verdict} does not apply"
    if verdict and run.stop_code and not (run.stop_code == StopCode.UNANSWERED and body.verdict is Outcome.QUESTION):
        return f"the run was asked to stop ({run.stop_code})"
    return None


def _end_refused_run(
    session: Session, run: Run, ticket: Ticket, body: RunReport, reason: str, policy: RetryPolicy
) -> None:
    """End a run whose report was refused, and return a ticket that it still claims to the queue."""
    if ticket.status is TicketStatus.IN_PROGRESS:
        fail_run(session, run, Outcome.STOPPED, Failure.KILLED, reason, policy, body=body)
    else:
        _end_run(session, run, Outcome.STOPPED, body)
        failure_record.write_record(session, get_run(session, run.id), body.model_dump(mode="json", by_alias=True))


def _record_evidence(session: Session, run: Run, body: RunReport) -> None:
    if body.observations:
        evidence.record_observations(session, run, asdict(body.observations))
        if body.observations.base_sha:
            record_workspace(session, run.id, base_sha=body.observations.base_sha)
    item_evidence.record_claims(session, run, [claim.model_dump() for claim in body.claims])


FAILURE_BY_VERDICT = {
    Outcome.FAILED: Failure.AGENT_FAILED,
    Outcome.TIMED_OUT: Failure.TIMEOUT,
    Outcome.STOPPED: Failure.KILLED,
    Outcome.USAGE_LIMITED: Failure.USAGE_LIMIT,
    Outcome.PROTOCOL_VIOLATION: Failure.PROTOCOL_VIOLATION,
    Outcome.LOST: Failure.KILLED,
}


def _apply_failure(session: Session, run: Run, body: RunReport, policy: RetryPolicy) -> None:
    failure_report = body.failure
    failure = (
        failure_report.class_
        if failure_report and isinstance(failure_report.class_, Failure)
        else FAILURE_BY_VERDICT[body.verdict]
    )
    message = (
        (failure_report.message if failure_report else "")
        or body.summary
        or f"The run ended as {body.verdict.replace('_', ' ')}."
    )
    fail_run(
        session,
        run,
        body.verdict,
        failure,
        message,
        policy,
        body=body,
        retry_at=failure_report.retry_at if failure_report else None,
    )


def fail_run(
    session: Session,
    run: Run,
    outcome: Outcome,
    failure: Failure,
    message: str,
    policy: RetryPolicy,
    *,
    body: RunReport | None = None,
    retry_at: datetime | None = None,
) -> None:
    """End a run without a verdict, write its failure record, and apply the retry policy to the ticket."""
    ticket = get_ticket(session, run.ticket_id)
    report_json = body.model_dump(mode="json", by_alias=True) if body else {}
    _end_run(session, run, outcome, body, failure, message)
    if ticket.status is not TicketStatus.IN_PROGRESS:
        failure_record.write_record(session, get_run(session, run.id), report_json)
        return
    decision = retry_policy.decide_retry(
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
        agents.start_cooldown(
            session, run.agent, rest, f"{failure.value.replace('_', ' ')}: {message}", MISSION_CONTROL
        )
    session.execute(update(Ticket).where(Ticket.id == ticket.id).values(**decision.remember))
    if retry_policy.CONSEQUENCES[failure].fresh:
        sessions.abandon_conversation(session, ticket.id)
    failure_record.write_record(session, get_run(session, run.id), report_json, decision)


def _end_run(
    session: Session,
    run: Run,
    outcome: Outcome,
    body: RunReport | None,
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
    messages.release_messages(session, run.id)
    payload = {
        "run": run.id,
        "outcome": outcome.value,
        "failure": failure.value if failure else None,
        "message": message,
    }
    event = events.append(session, run.ticket_id, "run_ended", payload, MISSION_CONTROL, run.id)
    timeline.mark_requests_changed(session, run.id, event.seq or 0)
    messages.fail_unconfirmed(session, run.id, event.seq or 0)


def mark_lost(session: Session, run_id: int, detail: str, policy: RetryPolicy) -> None:
    """End a run whose wrapper is proven dead and left no verdict."""
    run = get_run(session, run_id)
    if run.state is not RunState.ENDED:
        fail_run(session, run, Outcome.LOST, Failure.KILLED, detail, policy)


def stop_run(session: Session, run_id: int, actor: Actor, reason: str = "") -> Ticket:
    """Stop a run for the operator, and park its ticket until someone wakes it, so that it is not claimed again at once."""
    run = get_run(session, run_id)
    if run.state is RunState.ENDED:
        raise ConflictError("The run has already ended.", run=run_id)
    ticket = get_ticket(session, run.ticket_id)
    if ticket.status is not TicketStatus.IN_PROGRESS:
        return ticket
    return transition(
        session, ticket.id, "park", actor, wake={"kind": "manual"}, note=reason or "Stopped by the operator."
    )


def stop_unanswered(session: Session, seconds: float) -> int:
    """Stop the live runs whose question or approval has timed out. Their report then asks it on the ticket.

    A run that has waited for so long without anything that could be answered is stopped too, and tried again.
    """
    waiting = exists().where(
        RunRequest.run_id == Run.id,
        RunRequest.state == RequestState.PENDING,
        RunRequest.created < now() - timedelta(seconds=seconds),
    )
    unanswerable = Run.id.in_(runtime.select_unanswerable(timedelta(seconds=seconds)))
    late = session.execute(
        update(Run)
        .where(Run.state != RunState.ENDED, Run.stop_code.is_(None), or_(waiting, unanswerable))
        .values(state=RunState.STOPPING, stop_code=StopCode.UNANSWERED.value, stop_reason=UNANSWERED_TEXT)
        .returning(Run.id, Run.ticket_id)
    ).all()
    for run_id, ticket_id in late:
        payload = {"run": run_id, "code": StopCode.UNANSWERED.value, "reason": UNANSWERED_TEXT}
        events.append(session, ticket_id, "run_stop_requested", payload, MISSION_CONTROL, run_id)
    return len(late)


def find_stop_request(session: Session, run_id: int) -> datetime | None:
    """Return the time of the first stop request to a run, or None without one."""
    query = select(TicketEvent.ts).where(
        TicketEvent.run_id == run_id, TicketEvent.run_seq.is_(None), TicketEvent.event_type == "run_stop_requested"
    )
    return session.scalar(query.order_by(TicketEvent.id).limit(1))
