"""The failure record of a run that ended without a verdict, and the end of its transcript, as comments of the ticket."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import Run
from protocol import StopCode
from tickets.lifecycle import comments
from tickets.shared import display_names
from tickets.shared.actors import Actor

from .retry_policy import Decision

SYSTEM = Actor.system()
HEADING = "RUNTIME TERMINAL STATE"
SWEEP = "Runtime transcript sweep"
STOPS: dict[str, str] = {
    StopCode.PARKED: "The ticket was parked",
    StopCode.CANCELLED: "The ticket was cancelled",
    StopCode.CLOSED: "The ticket was closed",
    StopCode.BLOCKED: "The ticket was blocked",
    StopCode.OPERATOR: "The ticket was returned to the queue",
    StopCode.BUDGET: "The ticket was parked, as a budget is used up",
}
"""Reason of the stop request, by stop code."""


def write_record(session: Session, run: Run, report: dict[str, Any], decision: Decision | None = None) -> None:
    """Write both comments (author `system`), preferring the details that the wrapper has reported."""
    facts = _build_facts(run, report.get("terminal") or {}, decision) | (
        _describe_stop(run) if decision is None else {}
    )
    comments.write(
        session,
        run.ticket_id,
        f"**{HEADING}**\n\n" + "\n".join(_format_line(name, value) for name, value in facts.items()),
        SYSTEM,
        run_id=run.id,
        data=facts,
    )
    tail = (report.get("transcript_tail") or "").strip()
    if tail:
        comments.write(
            session, run.ticket_id, f"**{SWEEP}**\n\n{display_names.format_code_block(tail)}", SYSTEM, run_id=run.id
        )


def _build_facts(run: Run, terminal: dict[str, Any], decision: Decision | None) -> dict[str, Any]:
    """Build the fields of the record from the wrapper's report and the retry decision."""
    safe_retry, needs_person, action = _describe_outlook(decision)
    return {
        "status": run.outcome.value if run.outcome else "unknown",
        "summary": run.failure_detail
        or terminal.get("summary")
        or run.stop_reason
        or "The run ended without a verdict.",
        "root_cause": terminal.get("root_cause") or (run.failure.value if run.failure else run.stop_code or "unknown"),
        "safe_retry": safe_retry,
        "stop_condition": terminal.get("stop_condition") or "the run is proven to have ended",
        "human_input_required": needs_person,
        "next_actions": [action],
        "artifacts": terminal.get("artifacts") or [f"ticket:{run.ticket_id}", f"run:{run.id}"],
    }


def _describe_stop(run: Run) -> dict[str, Any]:
    """Describe the end of a run whose ticket was moved. Its wrapper knows only that the agent was killed."""
    if run.stop_code not in STOPS:
        return {}
    cause = f"{STOPS[run.stop_code]} ({run.stop_reason})."
    status = "stopped" if run.stop_code == StopCode.OPERATOR else run.stop_code
    return {"status": status, "summary": cause, "root_cause": cause, "stop_condition": "the run was asked to stop"}


def _describe_outlook(decision: Decision | None) -> tuple[str, str, str]:
    """Return whether a retry is safe, whether a person is needed, and the next action."""
    if decision is None:
        return "yes: work that was saved is on its branch", "no", "None: the run was stopped on request."
    if decision.move == "release":
        again = f"The next run starts on its own; {decision.attempts_left} attempts are left."
        return "yes: on the same branch, and in the same conversation where there is one", "no", again
    if decision.move == "park":
        wake = decision.facts["wake"]
        if wake["kind"] == "manual":
            return "yes: once the cause is settled", "yes", "Wake the ticket when it can continue."
        return (
            "yes: once the allowance is there again, in the same conversation",
            "no",
            "The ticket wakes automatically.",
        )
    return "no: the same would happen again", "yes", str(decision.facts["next_action"])


def _format_line(name: str, value: Any) -> str:
    text = "; ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return f"- **{name}**: {text}"
