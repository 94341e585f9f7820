"""Evidence: claims of worker processes, facts observed by Mission Control, and what is missing for completion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from database import fetch_rows, in_ids
from models import Evidence, EvidenceSource, EvidenceStatus, Project, Run, Ticket
from protocol import Observations
from tickets.shared.errors import EvidenceMissing
from tickets.team.evidence_policy import Stage

from . import branch_states, evidence_gates, live_routes, ticket_phases
from .evidence_gates import EvidenceGate

REFUSALS = {Stage.SUBMIT: "handed in", Stage.COMPLETE: "completed", Stage.APPROVE: "completed"}


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A reason why a ticket cannot be completed."""

    kind: str
    detail: str


def describe_shortfalls(shortfalls: Sequence[Shortfall]) -> str:
    """Describe how much is missing: `2 acceptance items unmet`, or `1 requirement unmet` where not only items are."""
    noun = "acceptance item" if all(shortfall.kind == "acceptance" for shortfall in shortfalls) else "requirement"
    return f"{len(shortfalls)} {noun}{'' if len(shortfalls) == 1 else 's'} unmet"


COMMIT_NAME = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


def _with_commit_name(observations: Observations) -> Observations:
    if observations.base_sha is not None and not COMMIT_NAME.fullmatch(observations.base_sha):
        raise ValueError("base_sha must be the full name of a commit")
    return observations


_OBSERVATIONS: TypeAdapter[Observations] = TypeAdapter(Annotated[Observations, AfterValidator(_with_commit_name)])


def read_observations(observations: Any) -> Observations:
    """Return observations in their shape, without the keys of another version. Raises pydantic's ValidationError."""
    return _OBSERVATIONS.validate_python(observations)


ObservationModel = Annotated[Observations, BeforeValidator(read_observations)]
"""Observations as a field of a message, which would else lend them its own way with unknown keys."""


def list_evidence(session: Session, ticket_id: int, run_id: int | None = None) -> list[Evidence]:
    """List all evidence of a ticket, or of one of its runs, oldest first."""
    query = select(Evidence).where(Evidence.ticket_id == ticket_id).order_by(Evidence.id)
    return list(session.scalars(query.where(Evidence.run_id == run_id) if run_id else query))


SUBMITTERS = select(Run.ticket_id, Run.agent).where(
    in_ids(Run.ticket_id, "tickets"), Run.outcome.in_(ticket_phases.SUBMITTED_OUTCOMES)
)


def find_submitters(session: Session, ticket_ids: list[int]) -> dict[int, set[str]]:
    """Find the agents that submitted work for each of these tickets, none of which may approve it."""
    agents_by_ticket: dict[int, set[str]] = {}
    for ticket_id, agent in fetch_rows(session, SUBMITTERS, tickets=ticket_ids):
        agents_by_ticket.setdefault(ticket_id, set()).add(agent)
    return agents_by_ticket


def record_observations(session: Session, run: Run, observations: dict[str, Any]) -> None:
    """Record Mission Control's observations of a workspace as facts: commits, diff, uncommitted files, check command.

    They have the shape of `protocol.Observations`.
    """
    facts = (
        [_describe_error(observations)]
        if observations.get("error")
        else [
            _describe_commits(observations),
            _describe_diff(observations),
            *_describe_uncommitted(observations),
            *_describe_check(observations),
        ]
    )
    for fact in facts:
        record_fact(session, run.ticket_id, run.id, fact)
    if observations.get("head_sha"):
        branch_states.record_head(session, run.ticket_id, observations["head_sha"], observations.get("tree_sha"))


Fact = tuple[str, EvidenceStatus, str, dict[str, Any] | None]


def record_fact(session: Session, ticket_id: int, run_id: int, fact: Fact) -> None:
    """Record what Mission Control itself observed or did: kind, status, summary, data."""
    kind, status, summary, data = fact
    session.add(
        Evidence(
            ticket_id=ticket_id,
            run_id=run_id,
            kind=kind,
            source=EvidenceSource.FACT,
            status=status,
            summary=summary,
            data=data,
            author="mission-control",
        )
    )
    session.flush()


def _describe_error(observations: dict[str, Any]) -> Fact:
    return "observation", EvidenceStatus.FAILED, f"The workspace could not be observed: {observations['error']}", None


def _describe_commits(observations: dict[str, Any]) -> Fact:
    commits = observations.get("commits") or []
    version = {key: observations.get(key) for key in ("head_sha", "tree_sha")}
    if not commits:
        return "commit", EvidenceStatus.MISSING, "No commit on the branch", version
    word = "commit" if len(commits) == 1 else "commits"
    return (
        "commit",
        EvidenceStatus.OK,
        f"{len(commits)} {word} on the branch",
        {**version, "commits": commits},
    )


def _describe_diff(observations: dict[str, Any]) -> Fact:
    files, plus, minus = (
        observations.get("files_changed") or 0,
        observations.get("insertions") or 0,
        observations.get("deletions") or 0,
    )
    status = EvidenceStatus.OK if files else EvidenceStatus.MISSING
    word = "file" if files == 1 else "files"
    keys = ("files_changed", "insertions", "deletions", "diff_sha256")
    return "diff", status, f"{files} {word} changed, +{plus} −{minus}", {key: observations.get(key) for key in keys}


def _describe_uncommitted(observations: dict[str, Any]) -> list[Fact]:
    paths = observations.get("dirty") or []
    word = "file" if len(paths) == 1 else "files"
    return (
        [("uncommitted", EvidenceStatus.FAILED, f"{len(paths)} {word} not committed", {"paths": paths})]
        if paths
        else []
    )


def _describe_check(observations: dict[str, Any]) -> list[Fact]:
    check = observations.get("check")
    if not check:
        return []
    command, code = " ".join(check["argv"]), check.get("exit_code")
    status = EvidenceStatus.OK if code == 0 else EvidenceStatus.FAILED
    ending = "timed out" if check.get("timed_out") else f"exit {code}"
    base = observations.get("check_base")
    before = " — it failed before this work too" if base and base.get("exit_code") not in (0, None) else ""
    return [("check", status, f"`{command}`: {ending}{before}", {"check": check, "check_base": base})]


def find_shortfalls(session: Session, ticket: Ticket, stage: Stage) -> list[Shortfall]:
    """List what prevents a move: unmet gates of the project's policy, wrong facts of the last run, unmet acceptance items.

    Work is handed in with whatever the facts are, since a person may judge them. Acceptance applies to the whole ticket, as
    does the policy for its completion, so they count in the last phase only.
    """
    is_last = ticket_phases.is_last(session, ticket)
    run, rows = _find_last_run(session, ticket.id), list_evidence(session, ticket.id)
    facts = [] if stage is Stage.SUBMIT else _list_wrong_facts(session, ticket, run, rows)
    gates = [
        Shortfall(gate.kind.value, f"{gate.label}: {gate.detail}")
        for gate in evidence_gates.build_gates(session, ticket, rows, run.id if run else None)
        if gate.blocks(stage, is_last=is_last) and gate.kind.value not in {fact.kind for fact in facts}
    ]
    has_items = is_last and stage is not Stage.SUBMIT
    items = [Shortfall("acceptance", item["text"]) for item in ticket.acceptance if has_items and not item.get("met")]
    return facts + gates + items


def list_gates(session: Session, ticket: Ticket) -> list[EvidenceGate]:
    """List the evidence that the project requires of a ticket, with what there is of it."""
    return build_gates(session, ticket, list_evidence(session, ticket.id))


def build_gates(session: Session, ticket: Ticket, rows: Sequence[Evidence]) -> list[EvidenceGate]:
    """Build the gates of a ticket from all its evidence."""
    run = _find_last_run(session, ticket.id)
    return evidence_gates.build_gates(session, ticket, rows, run.id if run else None)


def _find_last_run(session: Session, ticket_id: int) -> Run | None:
    return session.scalar(select(Run).where(Run.ticket_id == ticket_id).order_by(Run.generation.desc()).limit(1))


def _list_wrong_facts(session: Session, ticket: Ticket, run: Run | None, rows: Sequence[Evidence]) -> list[Shortfall]:
    """List failed and missing facts of the last run. Of an address that was fetched several times the last answer counts."""
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    if run is None or project is None:
        return []
    facts = [row for row in rows if row.source is EvidenceSource.FACT and row.run_id == run.id]
    routes = {(row.data or {}).get("url"): row.id for row in facts if row.kind == live_routes.KIND}
    present = [row for row in facts if row.kind != live_routes.KIND or row.id in routes.values()]
    failed = [Shortfall(row.kind, row.summary) for row in present if row.status is not EvidenceStatus.OK]
    kinds = {row.kind for row in facts}
    required_kinds = ["commit", *(["check"] if project.check_command else [])]
    absent = [
        Shortfall(kind, f"Mission Control has not observed any {kind}")
        for kind in required_kinds
        if kind not in kinds and "observation" not in kinds
    ]
    return failed + absent


def require_evidence(session: Session, ticket: Ticket, stage: Stage) -> None:
    """Raise `EvidenceMissing` when something prevents a move."""
    missing = find_shortfalls(session, ticket, stage)
    if missing:
        details = "; ".join(shortfall.detail for shortfall in missing)
        raise EvidenceMissing(
            f"{ticket.identifier} cannot be {REFUSALS[stage]}, {describe_shortfalls(missing)}: {details}.",
            ticket=ticket.identifier,
            missing=[{"kind": s.kind, "detail": s.detail} for s in missing],
        )
