"""Receipt of a ticket: the facts for each acceptance item, so that somebody elsewhere can read and repeat them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Evidence, EvidenceSource, Project, Ticket, TicketMessage, now
from protocol import ProofKind, ToolResultPayload
from tickets.lifecycle.schemas import EvidenceGateJson
from tickets.shared import payloads
from tickets.shared.responses import Moment, Response
from tickets.team.evidence_policy import KIND_LABELS, EvidenceKind
from tickets.workflow import branch_states, evidence, item_evidence
from tickets.workflow.item_evidence import ItemEvidence, ItemProof

VERSION = 1
VERIFY_COMMAND = "bin/mc receipt verify {ticket}.json --repo PATH"


class ReceiptCheck(Response):
    """One run of the project's check command, with the files that it was run on."""

    argv: list[str]
    exit_code: int | None
    output_sha256: str | None
    commit: str | None
    tree: str | None
    run_id: int | None
    by: str
    at: Moment
    is_stale: bool


class ReceiptProof(Response):
    """One proof of an item. A proof by a command has its exit code and the hash of its output, as they were recorded."""

    kind: str
    label: str
    command: str | None = None
    exit_code: int | None = None
    output_sha256: str | None = None
    commit: str | None
    tree: str | None
    run_id: int | None
    by: str
    at: Moment
    is_stale: bool
    problem: str


class ReceiptItem(Response):
    """An acceptance item with its state (verified, gaps or not_verified), the reason, and its proofs, newest first."""

    text: str
    state: str
    reason: str
    is_stale: bool
    judge: str | None
    judged: Moment | None
    proofs: list[ReceiptProof]


class TicketReceipt(Response):
    """The proofs of a ticket, with the files that they are about. `verify` is the command that repeats the checks elsewhere."""

    version: int = VERSION
    ticket: str
    title: str
    status: str
    project: str | None
    setup_command: list[str] | None
    commit: str | None
    tree: str | None
    written: Moment
    items: list[ReceiptItem]
    gates: list[EvidenceGateJson]
    checks: list[ReceiptCheck]
    verify: str


def build_receipt(session: Session, ticket: Ticket) -> TicketReceipt:
    """Build the receipt of a ticket as it is now."""
    rows = evidence.list_evidence(session, ticket.id)
    branch = branch_states.find_state(session, ticket.id)
    project = session.get(Project, ticket.project_id) if ticket.project_id else None
    states = item_evidence.build_items(session, ticket, rows)
    reader = _ReceiptReader(rows, item_evidence.StaleTest(branch, rows), _load_commands(session, rows))
    return TicketReceipt(
        ticket=ticket.identifier,
        title=ticket.title,
        status=ticket.status.value,
        project=project.slug if project else None,
        setup_command=project.setup_command if project else None,
        commit=branch.head_sha if branch else None,
        tree=branch.tree_sha if branch else None,
        written=now(),
        items=[reader.build_item(item["text"], state) for item, state in zip(ticket.acceptance, states, strict=True)],
        gates=list(map(EvidenceGateJson.read, evidence.build_gates(session, ticket, rows))),
        checks=reader.list_checks(),
        verify=VERIFY_COMMAND.format(ticket=ticket.identifier),
    )


def _load_commands(session: Session, rows: Sequence[Evidence]) -> dict[int, TicketMessage]:
    """Load the commands of runs to which these rows refer."""
    entries = {((row.data or {}).get("proof") or {}).get("entry") for row in rows} - {None}
    messages = session.scalars(select(TicketMessage).where(TicketMessage.id.in_(entries))) if entries else ()
    return {message.id: message for message in messages}


class _ReceiptReader:
    """The evidence of a ticket, as a receipt describes it."""

    def __init__(
        self,
        rows: Sequence[Evidence],
        is_stale: item_evidence.StaleTest,
        commands: Mapping[int, TicketMessage],
    ) -> None:
        self._is_stale, self._commands = is_stale, commands
        self._rows = {row.id: row for row in rows}
        facts = [row for row in rows if row.source is EvidenceSource.FACT]
        self._checks = {row.run_id: row for row in facts if row.kind == "check"}

    def build_item(self, text: str, state: ItemEvidence) -> ReceiptItem:
        proofs = [self._build_proof(proof) for proof in state.proofs]
        return ReceiptItem.read(state, text=text, judged=state.since if state.judge else None, proofs=proofs)

    def list_checks(self) -> list[ReceiptCheck]:
        """List the check of each run, the newest first."""
        return [self._build_check(row) for row in reversed(self._checks.values())]

    def _build_check(self, row: Evidence) -> ReceiptCheck:
        commit, tree = self._is_stale.find_version(row)
        stale, result = self._is_stale(row), _read_check(row)
        return ReceiptCheck.read(row, **result, commit=commit, tree=tree, by=row.author, at=row.created, is_stale=stale)

    def _build_proof(self, proof: ItemProof) -> ReceiptProof:
        row = self._rows[proof.claim_id]
        commit, tree = self._is_stale.find_version(row)
        proof_data = (row.data or {})["proof"]
        values = {"kind": proof_data["kind"], "commit": commit, "tree": tree, "at": row.created}
        return ReceiptProof.read(proof, **values, **self._describe_command(row, proof_data))

    def _describe_command(self, row: Evidence, proof: Mapping[str, Any]) -> dict[str, Any]:
        """Describe the command that proves it, or that an address answered."""
        unknown = {"command": None, "exit_code": None, "output_sha256": None}
        match proof["kind"]:
            case ProofKind.CHECK if check := self._checks.get(row.run_id):
                result = _read_check(check)
                return {**result, "command": " ".join(result.pop("argv"))}
            case ProofKind.EVENT if message := self._commands.get(proof.get("entry") or 0):
                return _read_command(message)
            case ProofKind.ROUTE if route := self._rows.get(proof.get("fact") or 0):
                return unknown | {"output_sha256": (route.data or {}).get("sha256")}
        return unknown


def _read_check(row: Evidence) -> dict[str, Any]:
    check = (row.data or {}).get("check") or {}
    return {
        "argv": list(check.get("argv", ())),
        "exit_code": check.get("exit_code"),
        "output_sha256": check.get("sha256"),
    }


def _read_command(message: TicketMessage) -> dict[str, Any]:
    """Return a command of a run with its exit code and the hash of its recorded output."""
    result, has_ended = payloads.read(ToolResultPayload, message.data or {}), (message.data or {}).get("ended")
    return {
        "command": item_evidence.get_command(message),
        "exit_code": result.exit_code,
        "output_sha256": hashlib.sha256(result.output.encode()).hexdigest() if has_ended else None,
    }


# ---------------------------------------------------------------------------------------------------------------- text

_STATE_LABELS = {state.value: label for state, label in item_evidence.STATE_LABELS.items()}


def format_receipt(receipt: TicketReceipt) -> str:
    """Format a receipt as Markdown for people."""
    lines = [
        f"# Receipt of {receipt.ticket}: {_escape(receipt.title)}",
        f"State: {receipt.status.replace('_', ' ')}, {_format_files(receipt.commit, receipt.tree)}, written"
        f" {receipt.written:%Y-%m-%d %H:%M} UTC.",
        "## Acceptance",
        *([_format_item(item) for item in receipt.items] or ["The ticket has no acceptance items."]),
        *(["## Required evidence", "\n".join(map(_format_gate, receipt.gates))] if receipt.gates else []),
        "## Checks",
        "\n".join(map(_format_check, receipt.checks)) or "Mission Control has run no check command.",
    ]
    if receipt.checks:
        text = "Save the JSON of this receipt, and run the checks again on a clone of the repository:"
        lines += ["## Repeat it elsewhere", text, f"    {receipt.verify}"]
    return "\n\n".join(lines) + "\n"


def _format_item(item: ReceiptItem) -> str:
    stale = ", stale" if item.is_stale else ""
    lines = [f"### {_escape(item.text)}", f"**{_STATE_LABELS[item.state]}{stale}**: {_escape(item.reason)}"]
    lines += ["\n".join(map(_format_proof, item.proofs))] if item.proofs else []
    return "\n\n".join(lines)


def _format_proof(proof: ReceiptProof) -> str:
    facts = [_quote(proof.command or proof.label)]
    facts += [f"exit {proof.exit_code}"] if proof.exit_code is not None else []
    facts += [f"output {proof.output_sha256[:12]}"] if proof.output_sha256 else []
    facts += [_format_files(proof.commit, proof.tree), f"{_escape(proof.by)}, {proof.at:%Y-%m-%d %H:%M} UTC"]
    facts += ["stale"] if proof.is_stale else []
    facts += [_escape(proof.problem)] if proof.problem else []
    return f"- {' · '.join(facts)}"


def _format_gate(gate: EvidenceGateJson) -> str:
    by = f" ({_escape(gate.by)})" if gate.by else ""
    return f"- {KIND_LABELS[EvidenceKind(gate.kind)]}, {gate.state}: {_escape(gate.detail)}{by}"


def _format_check(check: ReceiptCheck) -> str:
    facts = [_quote(" ".join(check.argv)), f"exit {check.exit_code}"]
    facts += [f"output {check.output_sha256[:12]}"] if check.output_sha256 else []
    facts += [_format_files(check.commit, check.tree), f"run {check.run_id}, {check.at:%Y-%m-%d %H:%M} UTC"]
    return f"- {' · '.join(facts)}" + (" · stale" if check.is_stale else "")


def _format_files(commit: str | None, tree: str | None) -> str:
    if commit is None:
        return "no commit"
    return f"commit {commit[:12]}" + (f", tree {tree[:12]}" if tree else "")


def _quote(text: str) -> str:
    """Quote a text as code on one line."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line[:300]}`" if line else "-"


def _escape(text: str) -> str:
    """Escape what has a meaning in Markdown, on one line."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>#|~" else letter for letter in " ".join(text.split()))
