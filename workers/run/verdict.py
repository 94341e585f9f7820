"""The verdict of a run: the agent's own where it gave one, else one derived from its end.

The agent's verdict is searched, in this order, in `signal.json` (written by the coordination tools with the run's
nonce) and in a line `DONE:`, `REVIEW:`, `CHANGES:` or `QUESTION:` of the final message. A run without one never counts
as success, whatever its exit code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from protocol import (
    AGENT_VERDICTS,
    MAX_CLAIMS,
    MAX_PROOF_CHARACTERS,
    PLAN_QUESTION,
    PLAN_SUMMARY,
    ClaimMessage,
    Failure,
    Outcome,
    ProofKind,
    ReportMessage,
    StopCode,
)
from redaction import Redaction, cut_text
from workers.contract import spec as specs
from workers.contract.agent_events import MAX_TEXT_BYTES, get_first_line, shorten_line
from workers.contract.fields import get_objects
from workers.contract.spec import InvalidSpec, RunSpec

from . import failure_record, spool
from .run_facts import RunFacts

SIGNAL_FILE = "signal.json"
REPORT_FILE = "report.json"
MAX_SIGNAL_BYTES = 1024 * 1024
MAX_CLAIM_BYTES = 8192

_DECORATION = r"\s>*_#`+\"'“”„‘’«»•·–—\-"
_SYMBOLS = "\u200d\u2190-\u2bff\ufe0f\U0001f000-\U0001faff"
"""Arrows, check marks and emoji."""
_VERDICT_LINE = re.compile(
    rf"(?P<prefix>(?:[{_DECORATION}{_SYMBOLS}]|\(?\d{{1,2}}(?:[.)]|\ufe0f?\u20e3))*)"
    r"(?<![^\W_])(?P<word>DONE|REVIEW|CHANGES|QUESTION|(?P<capitalized>Done|Review|Question))"
    rf"[*_`\s{_SYMBOLS}]*[:：](?![*_`]*[,/|]|[*_`]+\s+[,/|])[*_`]*[ \t]*(?P<text>.*)"
)
"""A line that begins with a verdict, as people write it: decorated, numbered, quoted, with a full-width colon.

A list of the words (`DONE:, REVIEW: or ...`) repeats the instruction and is none.
"""
_PAIRS = (("**", "**"), ("__", "__"), ("`", "`"), ('"', '"'), ("“", "”"), ("„", "“"), ("«", "»"))
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


@dataclass(frozen=True, slots=True)
class FailureReport:
    """Reason for a bad end. `name` is a `protocol.Failure`, `retry_at` an ISO time."""

    name: str
    message: str
    retry_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"class": self.name, "message": self.message, "retry_at": self.retry_at}


@dataclass(frozen=True, slots=True)
class Verdict:
    """End of a run. `question` is a question event's payload, `claims` are {kind, text, item, proof}."""

    kind: Outcome
    summary: str
    question: Mapping[str, Any] | None = None
    claims: tuple[Mapping[str, Any], ...] = ()
    failure: FailureReport | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Reason that a wrapper ended its agent. `code` is the server's stop code or the name of a limit."""

    kind: Literal["finished", "silent", "stopped", "terminated", "timed_out", "budget", "environment", "planned"]
    text: str = ""
    code: str = ""


def read_signal(run_dir: Path, nonce: str, redaction: Redaction) -> Verdict | None:
    """Read the redacted verdict that the coordination tools wrote for this run. A file with another nonce is ignored."""
    path = run_dir / SIGNAL_FILE
    try:
        signal = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_SIGNAL_BYTES else None
    except (OSError, ValueError):
        return None
    if not isinstance(signal, dict) or signal.get("nonce") != nonce or signal.get("verdict") not in AGENT_VERDICTS:
        return None
    signal = redaction.clean_fields(signal | {"verdict": Outcome(signal["verdict"])})
    kind, summary = signal["verdict"], cut_text(str(signal.get("summary") or ""), MAX_TEXT_BYTES)
    claims = _parse_claims(signal.get("claims"))
    if kind is Outcome.QUESTION:
        return Verdict(kind, summary, _build_question(signal.get("question") or summary), claims)
    return Verdict(kind, summary, claims=claims)


def _parse_claims(value: object) -> tuple[Mapping[str, Any], ...]:
    """Convert the agent's claims to the server's format, so that one invalid claim does not cost the verdict."""
    claims = [claim for claim in value if isinstance(claim, dict)] if isinstance(value, list) else []
    whole = [(cut_text(str(claim.get("text") or ""), MAX_CLAIM_BYTES).strip(), claim) for claim in claims]
    return tuple(
        asdict(
            ClaimMessage(
                shorten_line(get_first_line(str(claim.get("kind") or ""))) or "claim",
                text,
                _parse_index(claim.get("item")),
                _parse_proof(claim.get("proof")),
            )
        )
        for text, claim in whole[:MAX_CLAIMS]
        if text
    )


def _parse_index(item: object) -> int | None:
    return item if type(item) is int and 0 <= item < MAX_CLAIMS else None


def _parse_proof(proof: object) -> Mapping[str, str] | None:
    """Return the proof in the server's format, None for one that it does not know."""
    if not isinstance(proof, dict) or proof.get("kind") not in list(ProofKind):
        return None
    return {"kind": str(proof["kind"]), "ref": get_first_line(str(proof.get("ref") or ""))[:MAX_PROOF_CHARACTERS]}


def parse_message(message: str) -> Verdict | None:
    """Parse the verdict in an agent's final message: its last verdict line outside of code, and the text after it.

    A word in capitals is meant as a verdict. A capitalised one (`Done: it works`) counts only without any of those,
    and with text on its line, as it may be a heading too.
    """
    lines = message.splitlines()
    matches = _match_verdict_lines(lines)
    in_capitals = [number for number, match in matches.items() if not match["capitalized"]]
    with_text = [number for number, match in matches.items() if match["capitalized"] and match["text"].strip()]
    if not in_capitals and not with_text:
        return None
    number = (in_capitals or with_text)[-1]
    match = matches[number]
    text = "\n".join([_close_decoration(match), *lines[number + 1 :]])
    return _make_agent_verdict(Outcome(match["word"].lower()), text, message)


def _match_verdict_lines(lines: list[str]) -> dict[int, re.Match[str]]:
    """Match the lines outside of code that begin with a verdict, by their numbers."""
    fence = ""
    matches = {}
    for number, line in enumerate(lines):
        fence_match = _FENCE.match(line)
        if fence_match and not fence:
            fence = fence_match[1]
        elif fence_match and fence_match[1].startswith(fence):
            fence = ""
        elif not fence and (match := _VERDICT_LINE.match(line)):
            matches[number] = match
    return matches


def _close_decoration(match: re.Match[str]) -> str:
    """Return the text of a verdict line without the end of the decoration that began before its word."""
    text = match["text"].rstrip()
    for opening, closing in _PAIRS:
        if opening in match["prefix"] and text.endswith(closing) and text.count(closing) % 2:
            return text.removesuffix(closing)
    return text


def judge_failure(facts: RunFacts) -> Verdict | None:
    """Return the verdict for a failure that the agent's program reported. An interrupted turn is no failure."""
    ended = facts.result or {"ok": True}
    failed = None if ended.get("ok") or ended.get("stop_reason") == "interrupted" else ended
    failure_payload = facts.error or failed
    if failure_payload is None:
        return None
    name = str((failed or {}).get("failure") or failure_payload.get("failure") or Failure.AGENT_FAILED)
    message = str(
        failure_payload.get("message") or failure_payload.get("text") or "The agent failed without saying why."
    )
    retry_at = (failed or {}).get("retry_at") or failure_payload.get("retry_at")
    kind = Outcome.USAGE_LIMITED if name == Failure.USAGE_LIMIT else Outcome.FAILED
    return Verdict(kind, message, failure=FailureReport(name, message, retry_at))


def conclude(facts: RunFacts, signal: Verdict | None, cause: Cause | None, exit_code: int) -> Verdict:
    """Determine the verdict of a run whose process has ended. A negative `exit_code` is a signal's number."""
    return (
        _judge_stop(facts, cause)
        or signal
        or _judge_cause(facts, cause)
        or judge_failure(facts)
        or parse_message(facts.final_message)
        or _judge_exit(cause, exit_code)
    )


def make_plan_verdict() -> Verdict:
    """Return the verdict of a run whose plan waits for a person."""
    return Verdict(Outcome.QUESTION, PLAN_SUMMARY, PLAN_QUESTION)


def make_stop_verdict(reason: str) -> Verdict:
    """Return the verdict of a run that was stopped on request."""
    return Verdict(Outcome.STOPPED, reason, failure=FailureReport(Failure.KILLED, reason))


def build_report(
    spec: RunSpec,
    verdict: Verdict,
    facts: RunFacts,
    exit_code: int | None,
    observations: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Build the final report in the server's format. Without the agent's own verdict it includes the terminal record."""
    own = verdict.kind in AGENT_VERDICTS
    failure = verdict.failure
    message = ReportMessage(
        verdict=verdict.kind,
        summary=verdict.summary,
        question=verdict.question,
        claims=list(verdict.claims),
        failure=failure.as_json() if failure else None,
        exit_code=exit_code,
        usage=facts.usage,
        conversation_id=facts.conversation_id or spec.conversation_id,
        observations=observations,
        terminal=None if own else failure_record.build_record(spec, verdict.kind, verdict.summary, failure),
        transcript_tail=None if own else failure_record.extract_tail("\n".join(facts.transcript)),
    )
    return asdict(message)


def recover_report(run_dir: Path) -> dict[str, Any] | None:
    """Recover the report of a run whose wrapper is dead: its saved one, else one built from signal and spool.

    None when neither shows a verdict. A rebuilt report has no observations, as nothing has examined the workspace.
    """
    try:
        left = json.loads((run_dir / REPORT_FILE).read_bytes())
        return left if isinstance(left, dict) else None
    except (OSError, ValueError):
        pass
    try:
        spec = specs.read_spec(run_dir)
    except InvalidSpec:
        return None
    facts = RunFacts()
    for entry in spool.replay_events(run_dir):
        facts.take(entry["event_type"], entry["payload"])
    signal = read_signal(run_dir, spec.nonce, Redaction(spec.all_secrets))
    verdict = signal or judge_failure(facts) or parse_message(facts.final_message)
    return build_report(spec, verdict, facts, None, None) if verdict else None


def _make_agent_verdict(kind: Outcome, text: str, message: str) -> Verdict:
    summary = text.strip() or message.strip()
    match kind:
        case Outcome.QUESTION:
            return Verdict(kind, summary, _build_question(summary))
        case Outcome.REVIEW | Outcome.CHANGES:
            return Verdict(kind, summary)
        case _:
            return Verdict(Outcome.DONE, summary)


def _build_question(question: object) -> Mapping[str, Any]:
    """Build a question payload from one or from a plain text."""
    if isinstance(question, dict) and isinstance(question.get("questions"), list):
        return {"request": "verdict"} | question
    return {"request": "verdict", "questions": [{"text": str(question), "choices": []}]}


def _judge_stop(facts: RunFacts, cause: Cause | None) -> Verdict | None:
    """Judge a stop by the server. A question that waited too long for its answer becomes the verdict."""
    if cause is None or cause.kind != "stopped":
        return None
    if cause.code == StopCode.UNANSWERED and facts.plan_request in facts.pending:
        return make_plan_verdict()
    if cause.code == StopCode.UNANSWERED and facts.pending:
        request = next(iter(facts.pending.values()))
        texts = [str(question.get("text", "")) for question in get_objects(request, "questions")]
        summary = "\n".join(texts) or f"May the agent use {request.get('title')}?"
        return Verdict(Outcome.QUESTION, summary, _build_question(request if texts else summary))
    return make_stop_verdict(cause.text)


def _judge_cause(facts: RunFacts, cause: Cause | None) -> Verdict | None:
    """Judge an end by the wrapper itself. Silence during retries names the failure that was retried."""
    if cause is None:
        return None
    match cause.kind:
        case "timed_out" if cause.code == "silence" and facts.retry:
            text = f"{cause.text} It was trying to overcome: {facts.retry.get('message')}"
            return Verdict(Outcome.FAILED, text, failure=FailureReport(str(facts.retry.get("failure")), text))
        case "timed_out":
            return Verdict(Outcome.TIMED_OUT, cause.text, failure=FailureReport(Failure.TIMEOUT, cause.text))
        case "planned":
            return make_plan_verdict()
        case "terminated":
            return make_stop_verdict(cause.text)
        case "budget" | "environment" as name:
            return Verdict(Outcome.FAILED, cause.text, failure=FailureReport(name, cause.text))
        case _:
            return None


def _judge_exit(cause: Cause | None, exit_code: int) -> Verdict:
    """Judge an exit of the process without a verdict."""
    if exit_code in (-9, -15, -1) and cause is None:
        text = f"The agent's process was killed from outside (signal {-exit_code})."
        return Verdict(Outcome.FAILED, text, failure=FailureReport(Failure.KILLED, text))
    if exit_code != 0 and cause is None:
        text = f"The agent's process ended unexpectedly (exit code {exit_code})."
        return Verdict(Outcome.FAILED, text, failure=FailureReport(Failure.CRASH, text))
    text = (cause.text if cause else "") or "The agent ended without a verdict."
    return Verdict(Outcome.PROTOCOL_VIOLATION, text, failure=FailureReport(Failure.PROTOCOL_VIOLATION, text))
