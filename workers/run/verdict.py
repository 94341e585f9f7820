"""What a run amounts to: the agent's own verdict where it gave one, else what its end tells.

The agent's word is found, in this order, in `signal.json` (written by the coordination tools with the run's nonce)
and in a line `DONE:`, `REVIEW:`, `CHANGES:` or `QUESTION:` of the final message. A run without it never counts as success,
whatever its exit code says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workers.contract import spec as specs
from workers.contract.agent_events import clip, event, title
from workers.contract.fields import rows
from workers.contract.spec import RunSpec, SpecRefused

from . import failure_record, spool
from .run_facts import RunFacts

SIGNAL = "signal.json"
REPORT = "report.json"
SIGNAL_BYTES = 1024 * 1024
CLAIMS = 200
CLAIM_BYTES = 8192

Kind = Literal[
    "done",
    "review",
    "changes",
    "question",
    "failed",
    "timed_out",
    "stopped",
    "usage_limited",
    "protocol_violation",
]
SAID = ("done", "review", "changes", "question")
"""Verdicts that only an agent can give."""

_WORD = re.compile(r"[\s>*_#`-]*\b(DONE|REVIEW|CHANGES|QUESTION)[*_`]*\s*:[*_`]*[ \t]*(.*)")
_FENCE = re.compile(r" {0,3}(```+|~~~+)")


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no good end; `name` is one of `vocabulary.FAILURES`, `retry_at` an ISO time."""

    name: str
    message: str
    retry_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"class": self.name, "message": self.message, "retry_at": self.retry_at}


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a run ended. `question` is a question event's payload, `claims` are {kind, text, item}."""

    kind: Kind
    summary: str
    question: Mapping[str, Any] | None = None
    claims: tuple[Mapping[str, Any], ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a wrapper ended its agent; `code` is the server's stop code or the name of a limit."""

    kind: Literal["finished", "silent", "stopped", "terminated", "timed_out", "budget", "environment"]
    text: str = ""
    code: str = ""


def from_signal(run_dir: Path, nonce: str) -> Verdict | None:
    """The verdict that the coordination tools wrote for this run; a file with another nonce is none."""
    path = run_dir / SIGNAL
    try:
        signal = json.loads(path.read_bytes()) if path.stat().st_size <= SIGNAL_BYTES else None
    except (OSError, ValueError):
        return None
    if not isinstance(signal, dict) or signal.get("nonce") != nonce or signal.get("verdict") not in SAID:
        return None
    kind, summary = signal["verdict"], clip(str(signal.get("summary") or ""))
    claims = _claims(signal.get("claims"))
    if kind == "question":
        asked = event("question", asked=signal.get("question") or summary).payload["asked"]
        return Verdict(kind, summary, _question(asked), claims)
    return Verdict(kind, summary, claims=claims)


def _claims(said: object) -> tuple[Mapping[str, Any], ...]:
    """What the agent claims, in the shape the server takes: one claim that is out of shape must not cost the verdict."""
    found = [claim for claim in said if isinstance(claim, dict)] if isinstance(said, list) else []
    whole = [(clip(str(claim.get("text") or ""), CLAIM_BYTES).strip(), claim) for claim in found]
    return tuple(
        {"kind": title(str(claim.get("kind") or "")) or "claim", "text": text, "item": _index(claim.get("item"))}
        for text, claim in whole[:CLAIMS]
        if text
    )


def _index(item: object) -> int | None:
    return item if type(item) is int and 0 <= item < CLAIMS else None


def from_message(message: str) -> Verdict | None:
    """The verdict in an agent's final message: its last such line outside of code, and what follows it."""
    found: tuple[str, list[str]] | None = None
    fence = ""
    for line in message.splitlines():
        opened = _FENCE.match(line)
        if opened and not fence:
            fence = opened[1]
        elif opened and opened[1].startswith(fence):
            fence = ""
        word = None if fence or opened else _WORD.match(line)
        if word:
            found = (word[1].lower(), [word[2]])
        elif found:
            found[1].append(line)
    return _said(found[0], "\n".join(found[1]), message) if found else None


def from_failure(facts: RunFacts) -> Verdict | None:
    """The verdict when the agent's program has told of a failure; an interrupted turn is none."""
    ended = facts.result or {"ok": True}
    failed = None if ended.get("ok") or ended.get("stop_reason") == "interrupted" else ended
    told = facts.error or failed
    if told is None:
        return None
    name = str((failed or {}).get("failure") or told.get("failure") or "agent_failed")
    message = str(told.get("message") or told.get("text") or "The agent failed without saying why.")
    retry_at = (failed or {}).get("retry_at") or told.get("retry_at")
    kind: Kind = "usage_limited" if name == "usage_limit" else "failed"
    return Verdict(kind, message, failure=Failure(name, message, retry_at))


def conclude(facts: RunFacts, signal: Verdict | None, cause: Cause | None, exit_code: int) -> Verdict:
    """The verdict of a run whose process has ended. `exit_code` is negative for a signal's number."""
    return (
        _stopped(facts, cause)
        or signal
        or _cut_short(facts, cause)
        or from_failure(facts)
        or from_message(facts.final_message)
        or _silent(cause, exit_code)
    )


def stopped(reason: str) -> Verdict:
    """The verdict of a run that was ended on request."""
    return Verdict("stopped", reason, failure=Failure("killed", reason))


def report(
    spec: RunSpec,
    verdict: Verdict,
    facts: RunFacts,
    exit_code: int | None,
    observations: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The final report as the server takes it; a run without the agent's own verdict adds the terminal record."""
    own = verdict.kind in SAID
    failure = verdict.failure
    return {
        "verdict": verdict.kind,
        "summary": verdict.summary,
        "question": verdict.question,
        "claims": list(verdict.claims),
        "failure": failure.as_json() if failure else None,
        "exit_code": exit_code,
        "usage": facts.usage,
        "conversation_id": facts.conversation_id or spec.conversation_id,
        "observations": observations,
        "terminal": None if own else failure_record.record(spec, verdict.kind, verdict.summary, failure),
        "transcript_tail": None if own else failure_record.sweep("\n".join(facts.transcript)),
    }


def recover(run_dir: Path) -> dict[str, Any] | None:
    """The report of a run whose wrapper is dead: the one it left, else what signal and spool tell.

    None when they tell nothing. Observations are missing from the latter: nobody has looked at the workspace.
    """
    try:
        left = json.loads((run_dir / REPORT).read_bytes())
        return left if isinstance(left, dict) else None
    except (OSError, ValueError):
        pass
    try:
        spec = specs.read(run_dir)
    except SpecRefused:
        return None
    facts = RunFacts()
    for told in spool.replay(run_dir):
        facts.take(told["event_type"], told["payload"])
    verdict = from_signal(run_dir, spec.nonce) or from_failure(facts) or from_message(facts.final_message)
    return report(spec, verdict, facts, None, None) if verdict else None


def _said(kind: str, said: str, message: str) -> Verdict:
    summary = said.strip() or message.strip()
    match kind:
        case "question":
            return Verdict("question", summary, _question(summary))
        case "review" | "changes":
            return Verdict(kind, summary)
        case _:
            return Verdict("done", summary)


def _question(asked: object) -> Mapping[str, Any]:
    """A question payload, out of one or out of a mere text."""
    if isinstance(asked, dict) and isinstance(asked.get("questions"), list):
        return {"request": "verdict"} | asked
    return {"request": "verdict", "questions": [{"text": str(asked), "choices": []}]}


def _stopped(facts: RunFacts, cause: Cause | None) -> Verdict | None:
    """The server asked for the end. A question that waited too long for its answer becomes the verdict."""
    if cause is None or cause.kind != "stopped":
        return None
    if cause.code == "timeout" and facts.pending:
        asked = next(iter(facts.pending.values()))
        texts = [str(each.get("text", "")) for each in rows(asked, "questions")]
        summary = "\n".join(texts) or f"May the agent use {asked.get('title')}?"
        return Verdict("question", summary, _question(asked if texts else summary))
    return stopped(cause.text)


def _cut_short(facts: RunFacts, cause: Cause | None) -> Verdict | None:
    """The wrapper ended the run for a reason of its own; one that was silent because it tried in vain says at what."""
    if cause is None:
        return None
    match cause.kind:
        case "timed_out" if cause.code == "silence" and facts.retry:
            text = f"{cause.text} It was trying to overcome: {facts.retry.get('message')}"
            return Verdict("failed", text, failure=Failure(str(facts.retry.get("failure")), text))
        case "timed_out":
            return Verdict("timed_out", cause.text, failure=Failure("timeout", cause.text))
        case "terminated":
            return stopped(cause.text)
        case "budget" | "environment" as name:
            return Verdict("failed", cause.text, failure=Failure(name, cause.text))
        case _:
            return None


def _silent(cause: Cause | None, exit_code: int) -> Verdict:
    """The process ended without having said anything about the ticket."""
    if exit_code in (-9, -15, -1) and cause is None:
        text = f"The agent's process was killed from outside (signal {-exit_code})."
        return Verdict("failed", text, failure=Failure("killed", text))
    if exit_code != 0 and cause is None:
        text = f"The agent's process ended unexpectedly (exit code {exit_code})."
        return Verdict("failed", text, failure=Failure("crash", text))
    text = (cause.text if cause else "") or "The agent ended without a verdict."
    return Verdict("protocol_violation", text, failure=Failure("protocol_violation", text))
