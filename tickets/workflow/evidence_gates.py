"""Evidence that a project's policy requires of a ticket: which of it there is, what is missing, and what a person waived.

A kind is met only by evidence of that kind, and only as long as the files are those that it was given for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Evidence, EvidenceSource, EvidenceStatus, Project, Ticket, TicketStatus, TicketTag
from protocol import ProofKind
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid
from tickets.shared.inputs import Body, Prose
from tickets.shared.rights import Act
from tickets.team import evidence_policy
from tickets.team.evidence_policy import KIND_LABELS, STAGES, EvidenceKind, EvidenceRule, Stage

from . import branch_states, item_evidence, live_routes

DECISIONS = item_evidence.DECISIONS_ON_FILES | {item_evidence.WAIVER}
"""The kinds of evidence that are decisions of people, and no claims."""

AGELESS_KINDS = frozenset({EvidenceKind.COMMIT, EvidenceKind.DIFF})
"""Kinds that say that there is a change, which stays true when further ones follow."""

INSTRUCTIONS: Mapping[EvidenceKind, str] = MappingProxyType(
    {
        EvidenceKind.COMMIT: "commit the work on the ticket's branch",
        EvidenceKind.DIFF: "commit a change of files on the ticket's branch",
        EvidenceKind.CHECK: "the project's check command must pass, so the project needs one",
        EvidenceKind.TESTS: "report a claim of kind tests whose proof is the check command or a test command of the run",
        EvidenceKind.SCREENSHOT: "upload an image of the result as evidence (agents: mc_add_evidence)",
        EvidenceKind.ARTIFACT: "upload a file of the result as evidence (agents: mc_add_evidence)",
        EvidenceKind.LIVE_ROUTE: "have Mission Control fetch an address of the running result (agents: mc_check_route)",
        EvidenceKind.SIGN_OFF: "a person signs off on the Evidence tab",
    }
)
"""How each kind of evidence is provided."""


class GateState(StrEnum):
    """State of an evidence gate."""

    MET = "met"
    MISSING = "missing"
    WAIVED = "waived"


@dataclass(frozen=True, slots=True)
class EvidenceGate:
    """One rule of the policy, as it stands for a ticket. `detail` names the evidence, or the reason and the way out."""

    kind: EvidenceKind
    before: Stage
    runbook: str | None
    state: GateState
    detail: str
    by: str | None = None

    @property
    def label(self) -> str:
        return KIND_LABELS[self.kind]

    def blocks(self, stage: Stage, *, is_last: bool) -> bool:
        """Return whether the gate prevents a move. What is required of the finished ticket counts in its last phase."""
        is_due = STAGES.index(self.before) <= STAGES.index(stage) and (is_last or self.before is Stage.SUBMIT)
        return is_due and self.state is GateState.MISSING


class WaiveGate(Body):
    """A person's decision that a kind of evidence is not applicable. Without a reason it is required again."""

    kind: EvidenceKind
    reason: Annotated[Prose, Field(max_length=2000)] = ""


class SignOff(Body):
    """A person's sign-off of the work as it is now."""

    note: Annotated[Prose, Field(max_length=2000)] = ""


# ------------------------------------------------------------------------------------------------------------- deciding


def waive_gate(session: Session, ticket: Ticket, body: WaiveGate, actor: Actor) -> None:
    """Waive a gate as not applicable, or require its evidence again. Raises `Forbidden` for programs."""
    rights.require(actor, Act.WAIVE_EVIDENCE)
    if body.kind not in {rule.kind for rule in list_rules(session, ticket)}:
        raise Invalid(f"{ticket.identifier} needs no evidence of this kind: {KIND_LABELS[body.kind]}.", field="kind")
    reason = body.reason.strip()
    status = EvidenceStatus.OK if reason else EvidenceStatus.MISSING
    _add_decision(session, ticket, item_evidence.WAIVER, status, reason, {"gate": body.kind.value}, actor)
    payload = {"gate": KIND_LABELS[body.kind].lower(), "reason": reason}
    events.append(session, ticket.id, "evidence_gate_waived" if reason else "evidence_gate_restored", payload, actor)


def sign_off(session: Session, ticket: Ticket, body: SignOff, actor: Actor) -> None:
    """Record a person's sign-off, which holds for the present files. Raises `Forbidden` for programs."""
    rights.require(actor, Act.WAIVE_EVIDENCE)
    version = item_evidence.read_version(session, ticket.id)
    _add_decision(session, ticket, item_evidence.SIGN_OFF, EvidenceStatus.OK, body.note.strip(), version, actor)
    events.append(session, ticket.id, "ticket_signed_off", {"note": body.note.strip()}, actor)


def _add_decision(
    session: Session,
    ticket: Ticket,
    kind: str,
    status: EvidenceStatus,
    summary: str,
    data: dict[str, Any],
    actor: Actor,
) -> None:
    facts = {"kind": kind, "status": status, "summary": summary, "data": data, "author": actor.name}
    session.add(Evidence(ticket_id=ticket.id, source=EvidenceSource.CLAIM, **facts))
    session.flush()


def require_kept_rules(session: Session, ticket: Ticket, former_rules: Sequence[EvidenceRule], actor: Actor) -> None:
    """Raise `Forbidden` when an edit of project or tags frees work from evidence, on behalf of a program.

    In the inbox nothing has been worked, and triage chooses both.
    """
    if ticket.status is TicketStatus.INBOX or not former_rules:
        return
    stages = {rule.kind: STAGES.index(rule.before) for rule in list_rules(session, ticket)}
    lifted = [rule for rule in former_rules if stages.get(rule.kind, len(STAGES)) > STAGES.index(rule.before)]
    if lifted:
        rights.require(actor, Act.WAIVE_EVIDENCE, evidence=[rule.kind.value for rule in lifted])


# -------------------------------------------------------------------------------------------------------------- reading


def list_rules(session: Session, ticket: Ticket) -> list[EvidenceRule]:
    """List the rules that apply to a ticket by its project and tags."""
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    if project is None or not project.evidence_policy:
        return []
    tags = session.scalars(select(TicketTag.tag).where(TicketTag.ticket_id == ticket.id))
    return evidence_policy.list_rules(project, set(tags))


def build_gates(session: Session, ticket: Ticket, rows: Sequence[Evidence], run_id: int | None) -> list[EvidenceGate]:
    """Build the gates of a ticket from all its evidence. `run_id` is its last run, whose facts are the present ones."""
    rules = list_rules(session, ticket)
    if not rules:
        return []
    reader = _GateReader(rows, run_id, item_evidence.StaleTest(branch_states.find_state(session, ticket.id), rows))
    return [reader.build_gate(rule) for rule in rules]


class _GateReader:
    """The evidence of a ticket, the newest first, as the rules are applied to it."""

    def __init__(self, rows: Sequence[Evidence], run_id: int | None, is_stale: item_evidence.StaleTest) -> None:
        self._rows = list(reversed(rows))
        self._run_id, self._is_stale = run_id, is_stale
        self._checks = {row.run_id: row for row in rows if row.source is EvidenceSource.FACT and row.kind == "check"}

    def build_gate(self, rule: EvidenceRule) -> EvidenceGate:
        gate = partial(EvidenceGate, rule.kind, rule.before, rule.runbook)
        if waiver := self._find_waiver(rule.kind):
            return gate(GateState.WAIVED, waiver.summary, waiver.author)
        candidates = list(_FINDERS[rule.kind](self))
        ages = rule.kind not in AGELESS_KINDS
        present = next((row for row in candidates if _holds(row) and not (ages and self._is_stale(row))), None)
        if present:
            return gate(GateState.MET, present.summary, present.author)
        return gate(GateState.MISSING, _explain(rule, candidates))

    def _find_waiver(self, kind: EvidenceKind) -> Evidence | None:
        waivers = (
            row for row in self._rows if row.kind == item_evidence.WAIVER and (row.data or {}).get("gate") == kind
        )
        newest = next(waivers, None)
        return newest if newest and newest.status is EvidenceStatus.OK else None

    def find_facts(self, kind: str) -> Iterator[Evidence]:
        """Find the facts of the last run."""
        own = (row for row in self._rows if row.source is EvidenceSource.FACT and row.run_id == self._run_id)
        return (row for row in own if row.kind == kind)

    def find_tests(self) -> Iterator[Evidence]:
        """Find the claims of kind tests with a proof by a command that has passed."""
        return (row for row in self._rows if row.kind == EvidenceKind.TESTS and self._is_tested(row))

    def _is_tested(self, row: Evidence) -> bool:
        proof = (row.data or {}).get("proof") or {}
        if proof.get("kind") == ProofKind.CHECK:
            check = self._checks.get(row.run_id)
            return check is not None and check.status is EvidenceStatus.OK
        is_command = proof.get("kind") == ProofKind.EVENT and bool(proof.get("is_command"))
        return is_command and not proof.get("failed")

    def find_files(self, media_type: str = "") -> Iterator[Evidence]:
        """Find the files that were uploaded as evidence, whose type begins with `media_type`."""
        files = (row for row in self._rows if row.kind == item_evidence.ATTACHMENT)
        return (row for row in files if str((row.data or {}).get("media_type", "")).startswith(media_type))

    def find_kind(self, kind: str) -> Iterator[Evidence]:
        return (row for row in self._rows if row.kind == kind)

    def find_routes(self) -> Iterator[Evidence]:
        """Find the last answer of each address."""
        answers: dict[str | None, Evidence] = {}
        for row in self.find_kind(live_routes.KIND):
            if row.source is EvidenceSource.FACT:
                answers.setdefault((row.data or {}).get("url"), row)
        return iter(answers.values())


_FINDERS: Mapping[EvidenceKind, Callable[[_GateReader], Iterator[Evidence]]] = MappingProxyType(
    {
        EvidenceKind.COMMIT: lambda reader: reader.find_facts("commit"),
        EvidenceKind.DIFF: lambda reader: reader.find_facts("diff"),
        EvidenceKind.CHECK: lambda reader: reader.find_facts("check"),
        EvidenceKind.TESTS: _GateReader.find_tests,
        EvidenceKind.SCREENSHOT: lambda reader: reader.find_files("image/"),
        EvidenceKind.ARTIFACT: _GateReader.find_files,
        EvidenceKind.LIVE_ROUTE: _GateReader.find_routes,
        EvidenceKind.SIGN_OFF: lambda reader: reader.find_kind(item_evidence.SIGN_OFF),
    }
)


def _holds(row: Evidence) -> bool:
    """Return whether evidence says that it is so: a fact must be right, a claim was judged when it was chosen."""
    return row.source is EvidenceSource.CLAIM or row.status is EvidenceStatus.OK


def _explain(rule: EvidenceRule, candidates: Sequence[Evidence]) -> str:
    """Explain what is missing, and how it is provided."""
    newest = candidates[0] if candidates else None
    if newest is None:
        reason = "missing"
    elif not _holds(newest):
        reason = newest.summary
    else:
        reason = "the files have changed since"
    runbook = f" ({rule.runbook})" if rule.runbook else ""
    return f"{reason}; {INSTRUCTIONS[rule.kind]}{runbook}"
