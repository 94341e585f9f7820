"""The text of `docs/lifecycle.md`: the lifecycle as Markdown. A test fails when the file is out of date."""

from __future__ import annotations

from tickets.dispatch import queue_order
from tickets.lifecycle.moves import INITIAL_STATES, MOVES, Move
from tickets.workflow import ticket_phases

_HEAD = """\
# Lifecycle

Written by `bin/mc lifecycle` from `MOVES` in `tickets/lifecycle/moves.py`: every state and every move of a ticket.

"""
_TABLE = """
| move | from | to | by | stops the run | required |
|---|---|---|---|---|---|
"""
_QUEUE = """
## Order of To do

"""
_PHASES = """
## Phases

"""


def render_lifecycle() -> str:
    """Render the diagram of the moves, their table, and the rules of the queue and of phases."""
    table = _TABLE + "".join(_render_row(move) for move in MOVES.values())
    return _HEAD + _render_diagram() + table + _QUEUE + queue_order.RULES + _PHASES + ticket_phases.RULES


def _render_diagram() -> str:
    lines = ["```mermaid", "stateDiagram-v2"]
    lines += [f"    [*] --> {state.value}: create" for state in INITIAL_STATES]
    for move in MOVES.values():
        for source in sorted(move.sources):
            lines += [f"    {source} --> {target}: {move.name}" for target in move.targets]
    return "\n".join([*lines, "```", ""])


def _render_row(move: Move) -> str:
    required = ", ".join(name for name, info in move.facts.model_fields.items() if info.is_required())
    cells = (
        f"`{move.name}`",
        ", ".join(sorted(move.sources)),
        ", ".join(move.targets),
        ", ".join(sorted(move.by)),
        "yes" if move.stops_run else "",
        required,
    )
    return "| " + " | ".join(cells) + " |\n"
