"""Form of a person's own task: its fields from a task, and the fields of a task's file from a submitted form."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from werkzeug.datastructures import MultiDict

from models import CatchUp
from tickets.schedule.cron import DEFAULT_TIMEOUT_SECONDS, Task
from tickets.shared.display_names import CATCH_UPS
from tickets.shared.errors import DomainError
from web.site import team_forms

Values = dict[str, Any]
CHOICES = {"catch_up": [(rule.value, words) for rule, words in CATCH_UPS.items()]}
DEFAULTS: Values = {
    "kind": "ticket",
    "priority": "normal",
    "catch_up": CatchUp.ONCE.value,
    "timeout": f"{DEFAULT_TIMEOUT_SECONDS:g}",
}


def build_new_values(arguments: Mapping[str, str]) -> Values:
    """Build the values of an empty form, with those of the address."""
    return DEFAULTS | dict(arguments)


def build_values(task: Task) -> Values:
    """Build the form's values from a task."""
    head, ticket = task.head, task.head.ticket
    values = DEFAULTS | {
        "schedule": head.schedule,
        "zone": head.zone or "",
        "catch_up": head.catch_up.value,
        "timeout": f"{head.timeout:g}",
        "summary": head.description,
    }
    if ticket is None:
        trust = "yes" if head.trust_exit_code else ""
        return values | {"kind": "command", "command": shlex.join(task.command), "trust_exit_code": trust}
    return values | {
        "title": ticket.title,
        "description": task.prompt,
        "assigned_to": ticket.assigned_to or "",
        "project": ticket.project or "",
        "priority": ticket.priority,
        "tags": " ".join(ticket.tags),
        "acceptance": "\n".join(ticket.acceptance),
    }


def read_fields(form: MultiDict[str, str]) -> tuple[Values, str]:
    """Read the front matter of a task's file and its text from a form. Raises `Invalid` for quotes that do not match."""
    is_command = form.get("kind") == "command"
    fields = _read_command(form) if is_command else {"ticket": _read_ticket(form)}
    fallback = form.get("command", "") if is_command else form.get("title", "")
    fields |= {
        "schedule": " ".join(form.get("schedule", "").split()),
        "zone": team_forms.read_text(form, "zone"),
        "catch_up": form.get("catch_up", CatchUp.ONCE.value),
        "enabled": True,
        "description": (team_forms.read_text(form, "summary") or fallback.strip())[:300],
    }
    return fields, "" if is_command else form.get("description", "").replace("\r\n", "\n").strip()


def _read_command(form: MultiDict[str, str]) -> Values:
    return {
        "command": team_forms.parse_argv(form, "command"),
        "timeout": form.get("timeout") or DEFAULT_TIMEOUT_SECONDS,
        "trust_exit_code": "trust_exit_code" in form,
    }


def _read_ticket(form: MultiDict[str, str]) -> Values:
    return {
        "title": form.get("title", ""),
        "assigned_to": team_forms.read_text(form, "assigned_to"),
        "project": team_forms.read_text(form, "project"),
        "priority": form.get("priority", "normal"),
        "tags": form.get("tags", "").split(),
        "acceptance": [line for line in form.get("acceptance", "").splitlines() if line.strip()],
    }


def find_errors(refusal: DomainError) -> dict[str, str]:
    """Group the problems of a refused task by form field, with `form` for those of no field."""
    fields = refusal.detail.get("fields") or {refusal.detail.get("field", "form"): refusal.message}
    return {_find_field(str(name)): str(words) for name, words in fields.items()}


def _find_field(name: str) -> str:
    """Find the form field of a path in the file: `ticket.title` is `title`, `command.0` is `command`."""
    first, _, rest = name.partition(".")
    field = rest.partition(".")[0] if first == "ticket" and rest else first
    return "summary" if name == "description" else field
