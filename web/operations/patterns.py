"""The living page of the interface's parts, drawn by the macros that all pages use."""

from __future__ import annotations

from flask import Blueprint

from tickets.planning.workflow_view import PhaseView, Workflow
from web.site import layout, phase_forms
from web.site.phase_forms import Row

blueprint = Blueprint("patterns", __name__)


OFFERED = {"agents": [("codex", "Codex")], "people": [("luci", "Luci")], "ends": phase_forms.ENDS}
ROWS = [
    Row("Dev", True, "codex", "reviewer"),
    Row("Review", True, "luci", phase_forms.DECISION, "Ship it, Hold it"),
    Row("QA"),
]
PHASES = [
    PhaseView("Dev", "passed", "codex", "reviewer", "A reviewer approves", [], None, None, "docs/dev.md", False),
    PhaseView("Review", "current", "luci", "person", "A decision", ["Ship it", "Hold it"], None, None, None, False),
    PhaseView("QA", "waived", None, "person", "A person approves", [], None, "Only words changed.", None, False),
]
WORKFLOW = {
    "shown": Workflow(PHASES, PHASES[1], "It waits for a decision.", "decide"),
    "plans": True,
    "usual": (),
    "kinds": {"codex": "agent"},
}


@blueprint.get("/patterns")
def show() -> str:
    shown = {"ticket": {"identifier": "MC-0", "version": 1}, "workflow": WORKFLOW, "rows": ROWS, "offered": OFFERED}
    return layout.page("patterns.html", "patterns", [("Patterns", None)], **shown)
