"""The pattern library: a page with all components of the interface, rendered by the macros of the real pages."""

from __future__ import annotations

from flask import Blueprint

from tickets.planning.workflow_view import PhaseView, Workflow
from web.site import layout, phase_forms
from web.site.phase_forms import PhaseRow

blueprint = Blueprint("patterns", __name__)


CHOICES = {
    "agents": [("codex", "Codex")],
    "people": [("luci", "Luci")],
    "ends": phase_forms.ENDS,
    "names": ["Dev", "Review"],
}
ROWS = [
    PhaseRow("Dev", True, "codex", "reviewer"),
    PhaseRow("Review", True, "luci", phase_forms.DECISION, "Ship it, Hold it"),
    PhaseRow("QA"),
]
PHASES = [
    PhaseView("Dev", "passed", "codex", "reviewer", "A reviewer approves", [], None, None, "docs/dev.md", False),
    PhaseView("Review", "current", "luci", "person", "A decision", ["Ship it", "Hold it"], None, None, None, False),
    PhaseView("QA", "waived", None, "person", "A person approves", [], None, "Only words changed.", None, False),
]
WORKFLOW = {
    "shown": Workflow(PHASES, PHASES[1], "Waiting for a decision.", "decide"),
    "plans": True,
    "usual": (),
    "kinds": {"codex": "agent"},
}


@blueprint.get("/patterns")
def show() -> str:
    context = {"ticket": {"identifier": "MC-0", "version": 1}, "workflow": WORKFLOW, "rows": ROWS, "offered": CHOICES}
    return layout.render_page("operations/patterns.html", "patterns", [("Patterns", None)], **context)
