"""The phase picker (`templates/macros/phases.html`): the phases of a ticket, the agent of each, and how each ends.

Any form may contain it. `build_rows` builds its rows, `load_choices` loads its options, `parse_phases` parses the phases
of a submitted form, and `parse_rows` restores the rows of a form that was refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from werkzeug.datastructures import MultiDict

from database import Session
from models import AgentKind, Gate, TicketPhase
from tickets.planning import workflow_view
from tickets.shared.inputs import Phase
from tickets.team import agents as agents_module
from tickets.workflow.ticket_phases import STANDARD_PHASES

DECISION = "decision"
ENDS = [*((gate.value, words) for gate, words in workflow_view.END_LABELS.items()), (DECISION, "A decision is made")]
NAME_FIELD = re.compile(r"phase-(\d{1,2})-name")

Option = tuple[str, str]


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A row of the picker. `end` is the name of a gate, or `decision` with its `choices`."""

    name: str
    included: bool = False
    agent: str = ""
    end: str = Gate.PERSON.value
    choices: str = ""
    runbook: str = ""


def build_rows(
    phases: Iterable[TicketPhase | Phase] = (), *, included: Sequence[str] = (), without: Sequence[str] = ()
) -> list[PhaseRow]:
    """Build a row for each phase, then one for each standard phase that is missing, and one for a phase of another name.

    Of the standard phases, those in `included` are ticked and those in `without` are left out.
    """
    present = [_build_row(phase) for phase in phases]
    excluded = {row.name for row in present} | set(without)
    missing = [PhaseRow(name, name in included) for name in STANDARD_PHASES if name not in excluded]
    return [*present, *missing, PhaseRow("")]


def _build_row(phase: TicketPhase | Phase) -> PhaseRow:
    end = DECISION if phase.choices else phase.gate.value
    return PhaseRow(phase.name, True, phase.agent or "", end, ", ".join(phase.choices), phase.runbook or "")


def listing(names: Sequence[str]) -> str:
    """Join phase names: "Dev", "Dev + QA", "Dev Review + QA". Keep in step with js/ticket/phase_picker.js."""
    return " + ".join(filter(None, [" ".join(names[:-1]), *names[-1:]]))


def load_choices(session: Session) -> dict[str, Sequence[Option] | Sequence[str]]:
    """Load the options of the picker: the agents that may work a phase, and the ways in which one may end."""
    fit = [
        member for member in agents_module.list_members(session) if member.runnable or member.kind is AgentKind.HUMAN
    ]
    agents = [(member.name, member.title or member.name) for member in fit if member.runnable]
    people = [(member.name, member.title or member.name) for member in fit if not member.runnable]
    return {"agents": agents, "people": people, "ends": ENDS, "names": STANDARD_PHASES}


def parse_rows(form: MultiDict[str, str]) -> list[PhaseRow]:
    """The rows as they were sent, in their order."""
    numbered_rows = []
    for number in (match[1] for name in form if (match := NAME_FIELD.fullmatch(name))):
        values = {
            part: form.get(f"phase-{number}-{part}", "").strip() for part in ("agent", "end", "choices", "runbook")
        }
        row = PhaseRow(form[f"phase-{number}-name"], f"phase-{number}-on" in form, **values)
        numbered_rows.append((form.get(f"phase-{number}-place", 0, int), row))
    return [row for _, row in sorted(numbered_rows, key=lambda pair: pair[0])]


def parse_phases(form: MultiDict[str, str]) -> list[dict[str, Any]]:
    """The phases that were ticked, as bodies of `tickets.shared.inputs.Phase`."""
    return [_build_phase(row) for row in parse_rows(form) if row.included]


def _build_phase(row: PhaseRow) -> dict[str, Any]:
    decides = row.end == DECISION
    choices = [choice.strip() for choice in row.choices.split(",") if choice.strip()]
    ending = {"gate": Gate.PERSON.value, "choices": choices} if decides else {"gate": row.end or Gate.PERSON.value}
    return {"name": row.name, "agent": row.agent or None, "runbook": row.runbook or None, **ending}
