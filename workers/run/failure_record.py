"""The terminal record of a run that ended without a verdict, and the tail of its transcript."""

from __future__ import annotations

import re
from typing import Any, Protocol

from protocol import FAILURES, Outcome
from redaction import strip_controls
from workers.contract.spec import RunSpec

from .spool import CURRENT_FILE

MAX_TAIL_LENGTH = 6000

_DECORATION = re.compile("[\u2500-\u259f\u2800-\u28ff\u25d0-\u25d3\u2722-\u274b\u23bf\u23f5\u2190-\u21ff]+")
"""Box drawing, block elements, braille and quarter-circle spinners, star spinners, arrows of prompts."""
_FOOTER = re.compile(r"(esc to interrupt|ctrl\+\w to |shift\+tab to cycle|\? for shortcuts)", re.IGNORECASE)


class FailureDetails(Protocol):
    """Reason that a run failed: a `protocol.Failure` and a message."""

    @property
    def name(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def retry_at(self) -> str | None: ...


def build_record(spec: RunSpec, status: Outcome, summary: str, reason: FailureDetails | None) -> dict[str, Any]:
    """Build the wrapper's part of a RUNTIME TERMINAL STATE comment. The server decides whether and when to retry.

    {status, summary, root_cause, stop_condition, artifacts: [text]}
    """
    meaning = FAILURES.get(reason.name) if reason else None
    return {
        "status": status.value,
        "summary": summary,
        "root_cause": f"{meaning} {reason.message}" if meaning and reason else summary,
        "stop_condition": summary if status in (Outcome.STOPPED, Outcome.TIMED_OUT) else "the agent's process ended",
        "artifacts": [
            f"ticket:{spec.identifier}",
            f"pane_log:runs/{spec.run_id}/{spec.pane_log}",
            f"transcript:runs/{spec.run_id}/{CURRENT_FILE}",
        ],
    }


def extract_tail(text: str, limit: int = MAX_TAIL_LENGTH) -> str | None:
    """Extract the last substantive text of a transcript or screen, without decoration, redraws and footers. None when empty."""
    lines: list[str] = []
    for line in strip_controls(text).splitlines():
        clean = _DECORATION.sub(" ", line).rstrip()
        redrawn = clean.strip() == (lines[-1].strip() if lines else "")
        if not redrawn and not _FOOTER.search(clean):
            lines.append(clean)
    return "\n".join(lines).strip()[-limit:] or None
