"""The running agents, each with its last lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CompoundSelect, select, union_all
from sqlalchemy.orm import Session

from models import TicketEvent

from . import columns, overview

View = dict[str, Any]
MAX_AGENTS = 24
LINE_COUNT = 8
"""Number of last lines of each agent."""
MAX_LINE_CHARACTERS = 200
LINE_TYPES = ("agent.text", "agent.tool_call", "agent.progress")


def list_live_agents(session: Session) -> list[View]:
    """List the live runs like `overview.list_at_work`, each with `lines` and `kind` of its agent."""
    runs = overview.list_at_work(session)[:MAX_AGENTS]
    lines, kinds = _load_lines(session, [run["id"] for run in runs]), columns.load_owner_kinds(session)
    return [run | {"lines": lines.get(run["id"], []), "kind": kinds.get(run["agent"], "agent")} for run in runs]


def _load_lines(session: Session, run_ids: Sequence[int]) -> dict[int, list[str]]:
    """Load the last lines of each run, the oldest first."""
    lines: dict[int, list[str]] = {}
    if run_ids:
        for run_id, payload in session.execute(_select_lines(run_ids)):
            lines.setdefault(run_id, []).append(format_line(payload))
    return {run_id: [line for line in reversed(texts) if line] for run_id, texts in lines.items()}


def _select_lines(run_ids: Sequence[int]) -> CompoundSelect[Any]:
    """Select the newest events of each run, read through the index of its events and no further."""
    parts = (
        select(TicketEvent.run_id, TicketEvent.payload_json)
        .where(TicketEvent.run_id == run_id, TicketEvent.event_type.in_(LINE_TYPES))
        .order_by(TicketEvent.run_seq.desc())
        .limit(LINE_COUNT)
        .subquery()
        for run_id in run_ids
    )
    return union_all(*(select(part.c.run_id, part.c.payload_json) for part in parts))


def format_line(payload: Mapping[str, Any]) -> str:
    """Format what an agent did or wrote as one line: the title of a call, else the first line of a text."""
    text = str(payload.get("title") or payload.get("text") or "").strip()
    return text.split("\n", 1)[0][:MAX_LINE_CHARACTERS]
