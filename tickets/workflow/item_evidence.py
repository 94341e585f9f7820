"""Evidence of acceptance items: what an agent points to, what a person decided, and the state that follows from both.

Evidence holds for the files that it was given for: it is stale as soon as the branch has other ones. The state is computed
from the rows when it is read, so nothing has to be rewritten when the branch moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import (
    BranchState,
    Evidence,
    EvidenceSource,
    EvidenceStatus,
    MessageKind,
    Run,
    Ticket,
    TicketEvent,
    TicketMessage,
)
from protocol import ProofKind
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.rights import Act

from . import branch_states, live_routes

JUDGEMENT = "judgement"
"""The kind of evidence that is a person's decision on an item."""
SIGN_OFF = "sign_off"
"""The kind of evidence that is a person's sign-off of the whole work."""
WAIVER = "waiver"
"""The kind of evidence that is a person's waiver of required evidence."""
ATTACHMENT = "attachment"
"""The kind of evidence that is an uploaded file."""
DECISIONS_ON_FILES = frozenset({JUDGEMENT, SIGN_OFF})
"""Decisions that do not hold for a branch which came into being after them."""
RESERVED_KINDS = frozenset({JUDGEMENT, SIGN_OFF, WAIVER, ATTACHMENT, live_routes.KIND})
"""Kinds that Mission Control gives to people's decisions and to its own records: an agent's statement has none of them."""
PLAIN_CLAIM = "claim"
PROOFS_BY_CLAIM: Mapping[str, tuple[ProofKind, ...]] = MappingProxyType(
    {"tests": (ProofKind.CHECK, ProofKind.EVENT), "route": (ProofKind.ROUTE,)}
)
"""Kinds of claims that only a proof of certain kinds proves."""
MAX_CALLS = 1000
"""Tool calls of a run among which a command is searched, the newest first."""
LINE_REFERENCE = re.compile(r"(?P<path>[^\x00-\x1f]+?)(?::(?P<first>[1-9]\d{0,8})(?:-(?P<last>[1-9]\d{0,8}))?)?")


class ItemState(StrEnum):
    """State of an acceptance item by its evidence."""

    VERIFIED = "verified"
    GAPS = "gaps"
    UNVERIFIED = "not_verified"


STATUS_BY_STATE = {
    ItemState.VERIFIED: EvidenceStatus.OK,
    ItemState.GAPS: EvidenceStatus.UNKNOWN,
    ItemState.UNVERIFIED: EvidenceStatus.FAILED,
}
STATE_BY_STATUS = {status: state for state, status in STATUS_BY_STATE.items()}
STATE_LABELS = {ItemState.VERIFIED: "Verified", ItemState.GAPS: "With gaps", ItemState.UNVERIFIED: "Not verified"}


@dataclass(frozen=True, slots=True)
class ItemProof:
    """One proof of an item: where it is, whether it holds, and for which commit. `problem` says why it does not hold.

    `claim_id` is the evidence that names it.
    """

    claim_id: int
    label: str
    href: str
    by: str
    run_id: int | None
    commit: str | None
    is_stale: bool = False
    problem: str = ""

    @property
    def holds(self) -> bool:
        return not self.is_stale and not self.problem


@dataclass(frozen=True, slots=True)
class ItemEvidence:
    """The state of an acceptance item with its proofs, the newest first. `reason` explains the state."""

    state: ItemState
    reason: str
    is_stale: bool = False
    proofs: tuple[ItemProof, ...] = ()
    judge: str | None = None
    since: datetime | None = None

    @property
    def label(self) -> str:
        return STATE_LABELS[self.state]


# ----------------------------------------------------------------------------------------------------------- recording


def record_claims(session: Session, run: Run, claims: Sequence[Mapping[str, Any]]) -> None:
    """Record the worker's statements as claims, with the files that they hold for and what they point to."""
    ticket, version = session.get_one(Ticket, run.ticket_id), read_version(session, run.ticket_id)
    calls = _load_calls(session, run, claims)
    for claim in claims:
        proof = _resolve_proof(session, run, claim["proof"], calls) if claim.get("proof") else None
        session.add(
            Evidence(
                ticket_id=run.ticket_id,
                run_id=run.id,
                kind=_choose_kind(claim.get("kind")),
                source=EvidenceSource.CLAIM,
                status=EvidenceStatus.UNKNOWN,
                summary=claim["text"],
                item=claim.get("item"),
                data=version | _name_item(ticket, claim.get("item")) | ({"proof": proof} if proof else {}) or None,
                author=run.agent,
            )
        )


def _choose_kind(kind: str | None) -> str:
    """Return the kind of an agent's statement, a plain claim for one that would be taken for a decision or a record."""
    return kind if kind and kind not in RESERVED_KINDS else PLAIN_CLAIM


def read_version(session: Session, ticket_id: int) -> dict[str, Any]:
    """Return commit and tree of the ticket's branch as evidence holds for them, or nothing without a branch."""
    state = branch_states.find_state(session, ticket_id)
    return {"commit": state.head_sha, "tree": state.tree_sha} if state else {}


def _name_item(ticket: Ticket, place: int | None) -> dict[str, Any]:
    """Return the item's text, so that evidence does not count for another text at the same place."""
    return {"of": ticket.acceptance[place]["text"]} if place is not None and place < len(ticket.acceptance) else {}


Calls = Sequence[tuple[str, TicketMessage]]
"""Tool calls of a run with the text of each in which a command is searched, the newest first."""


def _load_calls(session: Session, run: Run, claims: Iterable[Mapping[str, Any]]) -> Calls:
    """Load the calls of a run once for all claims, if one of these refers to an event."""
    if not any(claim.get("proof") and claim["proof"]["kind"] == ProofKind.EVENT for claim in claims):
        return []
    own = TicketMessage.run_id == run.id, TicketMessage.kind == MessageKind.TOOL_CALL
    calls = session.scalars(select(TicketMessage).where(*own).order_by(TicketMessage.seq.desc()).limit(MAX_CALLS))
    return [(get_command(call), call) for call in calls]


def _resolve_proof(session: Session, run: Run, proof: Mapping[str, Any], calls: Calls) -> dict[str, Any]:
    """Resolve a reference while its run is known. A command becomes the number of the event that ran it."""
    stored = {"kind": str(proof["kind"]), "ref": proof["ref"].strip()}
    if stored["kind"] == ProofKind.ROUTE:
        route = live_routes.find_newest(session, run.ticket_id, stored["ref"])
        return stored | {"fact": route.id if route else None}
    return stored | _resolve_event(session, run, stored["ref"], calls) if stored["kind"] == ProofKind.EVENT else stored


def _resolve_event(session: Session, run: Run, ref: str, calls: Calls) -> dict[str, Any]:
    """Find the event with this number, or the newest command of the run that contains the reference."""
    number = ref.removeprefix("#")
    if number.isascii() and number.isdigit() and len(number) < 10:
        own = TicketEvent.ticket_id == run.ticket_id, TicketEvent.seq == int(number)
        seq = session.scalar(select(TicketEvent.seq).where(*own))
        own_calls = TicketMessage.run_id == run.id, TicketMessage.kind == MessageKind.TOOL_CALL
        numbered = TicketMessage.ticket_id == run.ticket_id, TicketMessage.seq == int(number)
        call = session.scalar(select(TicketMessage).where(*own_calls, *numbered))
    else:
        call = next((call for command, call in calls if ref and ref in command), None)
        seq = call.seq if call else None
    facts = {"failed": _has_failed(call), "is_command": bool(_get_input(call))} if call else {}
    return {"seq": seq, "entry": call.id if call else None, **facts}


def _has_failed(call: TicketMessage) -> bool:
    data = call.data or {}
    return bool(data.get("error") or data.get("exit_code"))


def get_command(call: TicketMessage) -> str:
    return f"{call.text}\n{_get_input(call)}"


def _get_input(call: TicketMessage) -> str:
    """Return the command line of a tool call, empty for a tool that runs none."""
    tool_input = (call.data or {}).get("input")
    return str(tool_input.get("command") or "") if isinstance(tool_input, dict) else ""


def record_marks(
    session: Session,
    ticket: Ticket,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    actor: Actor,
) -> None:
    """Record the marks that an edit of the acceptance list has changed as the decisions of its author."""
    marks = {item["text"]: bool(item.get("met")) for item in before}
    for place, item in enumerate(after):
        if bool(item.get("met")) != marks.get(item["text"], False):
            status = EvidenceStatus.OK if item["met"] else EvidenceStatus.MISSING
            _add_judgement(session, ticket, place, item["text"], status, "", actor)


def judge_item(session: Session, ticket: Ticket, place: int, state: ItemState | None, note: str, actor: Actor) -> None:
    """Record a person's decision on an item, or with None withdraw it, so that the agent's evidence counts again."""
    rights.require(actor, Act.SET_TERMS)
    text = ticket.acceptance[place]["text"]
    status = STATUS_BY_STATE[state] if state else EvidenceStatus.MISSING
    _add_judgement(session, ticket, place, text, status, note, actor)
    payload = {"item": place, "text": text, "state": STATE_LABELS[state].lower() if state else "undecided"}
    events.append(session, ticket.id, "ticket_item_judged", payload, actor)


def _add_judgement(
    session: Session, ticket: Ticket, place: int, text: str, status: EvidenceStatus, note: str, actor: Actor
) -> None:
    session.add(
        Evidence(
            ticket_id=ticket.id,
            kind=JUDGEMENT,
            source=EvidenceSource.CLAIM,
            status=status,
            summary=note,
            item=place,
            data={**read_version(session, ticket.id), "of": text},
            author=actor.name,
        )
    )
    session.flush()


# ------------------------------------------------------------------------------------------------------------- reading


def build_items(session: Session, ticket: Ticket, rows: Sequence[Evidence]) -> list[ItemEvidence]:
    """Build the evidence of each acceptance item from all evidence of the ticket, in the order of the items."""
    reader = _Reader(ticket, rows, branch_states.find_state(session, ticket.id))
    return [reader.build_item(place, item) for place, item in enumerate(ticket.acceptance)]


class StaleTest:
    """Test whether evidence was given for other files than those that a ticket's branch has now.

    What was uploaded or fetched during a run holds for the files that the run left.
    """

    def __init__(self, branch: BranchState | None, rows: Sequence[Evidence]) -> None:
        self._branch = branch
        commits = (row for row in rows if row.source is EvidenceSource.FACT and row.kind == "commit")
        self._versions = {row.run_id: _get_version(row.data, "head_sha", "tree_sha") for row in commits}

    def find_version(self, row: Evidence) -> tuple[str | None, str | None]:
        """Find commit and tree of the files that evidence holds for, or None for each that is not known."""
        commit, tree = _get_version(row.data, "commit", "tree")
        if commit is None and row.run_id is not None:
            return self._versions.get(row.run_id, (None, None))
        return commit, tree

    def __call__(self, row: Evidence) -> bool:
        commit, tree = self.find_version(row)
        if self._branch is None or commit == self._branch.head_sha:
            return False
        if commit is None:
            return row.run_id is None and row.kind in DECISIONS_ON_FILES
        return tree is None or tree != self._branch.tree_sha


def _get_version(data: Mapping[str, Any] | None, commit: str, tree: str) -> tuple[str | None, str | None]:
    return (data or {}).get(commit), (data or {}).get(tree)


class _Reader:
    """The evidence of one ticket beside the present state of its branch."""

    def __init__(self, ticket: Ticket, rows: Sequence[Evidence], branch: BranchState | None) -> None:
        self._ticket, self._branch, self._is_stale = ticket, branch, StaleTest(branch, rows)
        self._rows = [row for row in reversed(rows) if row.source is EvidenceSource.CLAIM and row.item is not None]
        self._routes = {row.id: row for row in rows if row.kind == live_routes.KIND}
        self._checks = {row.run_id: row for row in rows if row.source is EvidenceSource.FACT and row.kind == "check"}

    def build_item(self, place: int, item: Mapping[str, Any]) -> ItemEvidence:
        own = [row for row in self._rows if _is_about(row, place, item["text"])]
        claims = [row for row in own if row.kind != JUDGEMENT]
        proofs = tuple(self._build_proof(row) for row in claims if (row.data or {}).get("proof"))
        judgement = next((row for row in own if row.kind == JUDGEMENT), None)
        if judgement is not None and judgement.status is not EvidenceStatus.MISSING:
            return self._build_judged(judgement, proofs)
        if judgement is None and item.get("met"):
            return ItemEvidence(ItemState.VERIFIED, "Marked as met", proofs=proofs)
        return _build_proven(proofs, has_claims=bool(claims))

    def _build_judged(self, row: Evidence, proofs: tuple[ItemProof, ...]) -> ItemEvidence:
        state, is_stale = STATE_BY_STATUS[row.status], self._is_stale(row)
        if is_stale and state is ItemState.VERIFIED:
            state = ItemState.GAPS
        reason = row.summary or f"{STATE_LABELS[STATE_BY_STATUS[row.status]]} by {row.author}"
        reason += ", but the files have changed since" if is_stale else ""
        return ItemEvidence(state, reason, is_stale, proofs, row.author, row.created)

    def _build_proof(self, row: Evidence) -> ItemProof:
        data = row.data or {}
        label, href, problem = self._describe(row, data["proof"])
        problem = problem or _find_mismatch(row.kind, data["proof"]["kind"])
        return ItemProof(row.id, label, href, row.author, row.run_id, data.get("commit"), self._is_stale(row), problem)

    def _describe(self, row: Evidence, proof: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the label of a proof, the address that opens it, and why it does not hold."""
        page = f"/ticket/{self._ticket.identifier}"
        match proof["kind"]:
            case ProofKind.CHECK:
                return self._describe_check(page, row)
            case ProofKind.EVENT:
                return _describe_event(page, proof)
            case ProofKind.ROUTE:
                return self._describe_route(page, proof)
            case ProofKind.DIFF:
                return self._describe_line(page, row, proof["ref"])
            case kind:
                return f"{kind}: {proof['ref']}", "", "This version does not know this kind of proof"

    def _describe_check(self, page: str, row: Evidence) -> tuple[str, str, str]:
        check = self._checks.get(row.run_id)
        if check is None:
            return "Check command", "", "Mission Control has run no check command"
        problem = "" if check.status is EvidenceStatus.OK else "The check command failed"
        return check.summary.replace("`", ""), f"{page}?tab=evidence&run={row.run_id}#fact-{check.id}", problem

    def _describe_route(self, page: str, proof: Mapping[str, Any]) -> tuple[str, str, str]:
        route = self._routes.get(proof.get("fact") or 0)
        if route is None:
            return proof["ref"] or "Live route", "", "Mission Control has not fetched this address"
        problem = "" if route.status is EvidenceStatus.OK else route.summary
        return proof["ref"], f"{page}?tab=evidence&run={route.run_id or 0}#fact-{route.id}", problem

    def _describe_line(self, page: str, row: Evidence, ref: str) -> tuple[str, str, str]:
        match = LINE_REFERENCE.fullmatch(ref)
        if match is None:
            return ref, "", "It names no file"
        path, first = match["path"], match["first"]
        href = f"{page}?tab=changes&run={row.run_id}#line={quote(path)}" + (f":{first}" if first else "")
        return ref, href, "" if self._has_changed(path, row) else f"{path} is not among the changed files"

    def _has_changed(self, path: str, row: Evidence) -> bool:
        """Return whether the change touches a file, or may do so, as the trial merge of that commit is not known."""
        branch = self._branch
        is_known = branch is not None and branch.spans and branch.tried_head == (row.data or {}).get("commit")
        return not is_known or (branch is not None and path in branch.spans)


def _find_mismatch(claim: str, proof: str) -> str:
    """Return why proofs of this kind prove no claim of that kind, or nothing."""
    kinds = PROOFS_BY_CLAIM.get(claim)
    return f"A claim of kind {claim} is proven by {' or '.join(kinds)}" if kinds and proof not in kinds else ""


def _is_about(row: Evidence, place: int, text: str) -> bool:
    """Return whether evidence is about an item: by its text, or by its place where the text was not recorded."""
    recorded_text = (row.data or {}).get("of")
    return bool(recorded_text == text if recorded_text is not None else row.item == place)


def _describe_event(page: str, proof: Mapping[str, Any]) -> tuple[str, str, str]:
    seq, entry = proof.get("seq"), proof.get("entry")
    if seq is None:
        return proof["ref"] or "Event", "", "The run's transcript has no such step"
    before = f"before={seq + 1}"
    if not entry:
        return proof["ref"], f"{page}?tab=events&{before}#event-{seq}", "This event is not a command of its run"
    return proof["ref"], f"{page}?{before}#entry-m{entry}", "The command failed" if proof.get("failed") else ""


def _build_proven(proofs: tuple[ItemProof, ...], *, has_claims: bool) -> ItemEvidence:
    """Build the state of an item that no person has decided on."""
    if proof := next((proof for proof in proofs if proof.holds), None):
        return ItemEvidence(ItemState.VERIFIED, f"Proven by {proof.by}", proofs=proofs)
    if proofs:
        is_stale = any(proof.is_stale and not proof.problem for proof in proofs)
        reason = "The files have changed since it was proven" if is_stale else proofs[0].problem
        return ItemEvidence(ItemState.GAPS, reason, is_stale, proofs)
    if has_claims:
        return ItemEvidence(ItemState.GAPS, "Claimed without a proof")
    return ItemEvidence(ItemState.UNVERIFIED, "No evidence yet")
