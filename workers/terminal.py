"""What remains of a run without a verdict: a record for the next one, and its transcript's last words."""

from __future__ import annotations

import re
from typing import Any, Protocol

from workers.spec import RunSpec
from workers.spool import CURRENT
from workers.vocabulary import FAILURES, plain

TAIL_CHARACTERS = 6000

_DECORATION = re.compile("[\u2500-\u259f\u2800-\u28ff\u25d0-\u25d3\u2722-\u274b\u23bf\u23f5\u2190-\u21ff]+")
"""Box drawing, block elements, braille and quarter-circle spinners, star spinners, prompts' arrows."""
_FOOTER = re.compile(r"(esc to interrupt|ctrl\+\w to |shift\+tab to cycle|\? for shortcuts)", re.IGNORECASE)
_NEXT = {
    "retry": ("yes: start the ticket again; work that was saved is on its branch", "Start the ticket again."),
    "park": ("yes: once the allowance is there again, with the same conversation", "Wait for the allowance."),
    "block": ("no: the same would happen again until the cause is removed", "Remove the cause, then unblock."),
}


class Reason(Protocol):
    """Why a run failed: a class of `vocabulary.FAILURES` and a message."""

    @property
    def name(self) -> str: ...
    @property
    def message(self) -> str: ...
    @property
    def retry_at(self) -> str | None: ...


def record(spec: RunSpec, status: str, summary: str, reason: Reason | None) -> dict[str, Any]:
    """The fields of a RUNTIME TERMINAL STATE comment.

    {status, summary, root_cause, safe_retry, stop_condition, human_input_required: bool, next_actions: [text],
    artifacts: [text]}
    """
    known = FAILURES.get(reason.name) if reason else None
    then = known.then if known else "retry"
    safe_retry, action = _NEXT[then]
    until = f" It is told to be there at {reason.retry_at}." if reason and reason.retry_at else ""
    return {
        "status": status,
        "summary": summary,
        "root_cause": f"{known.meaning} {reason.message}" if known and reason else summary,
        "safe_retry": safe_retry,
        "stop_condition": summary if status in ("stopped", "timed_out") else "the agent's process ended",
        "human_input_required": then == "block",
        "next_actions": [action + until],
        "artifacts": [
            f"ticket:{spec.identifier}",
            f"pane_log:runs/{spec.run_id}/{spec.pane_log}",
            f"transcript:runs/{spec.run_id}/{CURRENT}",
        ],
    }


def sweep(text: str, limit: int = TAIL_CHARACTERS) -> str | None:
    """The last substantive text of a transcript or screen: no decoration, redraws, footers. None for nothing."""
    kept: list[str] = []
    for line in plain(text).splitlines():
        clean = _DECORATION.sub(" ", line).rstrip()
        redrawn = clean.strip() == (kept[-1].strip() if kept else "")
        if not redrawn and not _FOOTER.search(clean):
            kept.append(clean)
    return "\n".join(kept).strip()[-limit:] or None
