"""The form of an approval: what is unmet, the reason to approve anyway, and a button for each way to land."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models import Landing
from tickets.workflow import landing
from tickets.workflow.evidence import Shortfall

View = dict[str, Any]
REASON = {"label": "Why approve it anyway?", "required": True}
"""How the field `waive` is shown where something is unmet."""


def select_fields(fields: list[View], shortfalls: Sequence[Shortfall]) -> list[View]:
    """Ask for the reason alone where something is unmet, and never for one where nothing is."""
    excluded = {"note", "landing"} if shortfalls else {"waive"}
    return [field | (REASON if field["name"] == "waive" else {}) for field in fields if field["name"] not in excluded]


def build_view(ways: Sequence[Landing], shortfalls: Sequence[Shortfall]) -> View:
    """Build what the form shows of an approval with unmet requirements. `ways` begin with that of the project."""
    if not shortfalls:
        return {"unmet": []}
    buttons = [{"value": f"approve:{way.value}", "label": f"{landing.APPROVE_LABELS[way]} anyway"} for way in ways]
    first, *others = buttons or [{"value": "approve", "label": "Approve anyway"}]
    return {"unmet": [shortfall.detail for shortfall in shortfalls], "button": first | {"ways": others}}
