"""The record that a run leaves when it ended without a verdict, and the sweep of its transcript: no work is lost."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from models import Run

from . import comments
from .actors import Actor
from .retries import Decision

SYSTEM = Actor.system()
HEADING = "RUNTIME TERMINAL STATE"
SWEEP = "Runtime transcript sweep"


def record(session: Session, run: Run, said: dict[str, Any], decision: Decision | None = None) -> None:
    """Leave both comments, author `system`; the wrapper's own words fill the record where it left any."""
    facts = _facts(run, said.get("terminal") or {}, decision)
    comments.write(
        session,
        run.ticket_id,
        f"**{HEADING}**\n\n" + "\n".join(_line(name, value) for name, value in facts.items()),
        SYSTEM,
        run_id=run.id,
        data=facts,
    )
    tail = (said.get("transcript_tail") or "").strip()
    if tail:
        comments.write(session, run.ticket_id, f"**{SWEEP}**\n\n{_fenced(tail)}", SYSTEM, run_id=run.id)


def _facts(run: Run, said: dict[str, Any], decision: Decision | None) -> dict[str, Any]:
    retry = decision is not None and decision.move == "release"
    action = decision.facts.get("next_action") if decision else None
    return {
        "status": run.outcome.value if run.outcome else "unknown",
        "summary": run.failure_detail or said.get("summary") or run.stop_reason or "The run ended without a verdict.",
        "root_cause": said.get("root_cause") or (run.failure.value if run.failure else run.stop_code or "unknown"),
        "safe_retry": said.get("safe_retry") or ("yes: the same branch and conversation are kept" if retry else "no"),
        "stop_condition": said.get("stop_condition")
        or (f"{decision.attempts_left} attempts left" if decision else "stopped on request"),
        "human_input_required": said.get("human_input_required") or ("no" if retry or not decision else "yes"),
        "next_actions": said.get("next_actions") or [action or ("Retry is scheduled." if retry else "None.")],
        "artifacts": said.get("artifacts") or [f"ticket:{run.ticket_id}", f"run:{run.id}"],
    }


def _line(name: str, value: Any) -> str:
    text = "; ".join(str(item) for item in value) if isinstance(value, list) else str(value)
    return f"- **{name}**: {text}"


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
