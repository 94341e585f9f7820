"""Forms of agents and profiles: form fields from a row, and request models from a submitted form."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.datastructures import MultiDict

from models import Agent, Profile
from protocol import find_price
from settings import Limits, Settings
from tickets.shared.errors import Invalid
from tickets.shared.limits import BUDGETS
from tickets.team.evidence_policy import KIND_LABELS, STAGE_LABELS, Stage

Form = MultiDict[str, str]
Values = dict[str, Any]
UNITS = {"runs": "Runs", "tokens": "Tokens", "cost_usd": "US dollars", "turns": "Turns", "minutes": "Minutes"}
SCOPES = {"": "One run", "ticket_": "One ticket", "day_": "One day"}
LIMIT = "limit."
RULE_FIELDS = ("kind", "before", "tags", "runbook")
EMPTY_RULES = 2
RULE_CHOICES = {
    "kind": [("", "None"), *((kind.value, label) for kind, label in KIND_LABELS.items())],
    "before": [(stage.value, label.removeprefix("Before ").capitalize()) for stage, label in STAGE_LABELS.items()],
}


def read_text(form: Form, name: str) -> str | None:
    """Return the text of a field, or None when it is empty."""
    return form.get(name, "").strip() or None


def parse_argv(form: Form, name: str) -> list[str]:
    """Parse a command line into a list of arguments by the quoting rules of a shell, without running one."""
    try:
        return shlex.split(form.get(name, ""))
    except ValueError as error:
        raise Invalid(f"The quotes do not match: {error}.", field=name) from None


def build_rules(policy: Sequence[Mapping[str, Any]]) -> list[Values]:
    """Build the rows of the rules of an evidence policy, with empty ones for further rules."""
    rows = [{**rule, "tags": " ".join(rule["tags"]), "runbook": rule["runbook"] or ""} for rule in policy]
    return rows + [{"kind": "", "before": Stage.APPROVE.value, "tags": "", "runbook": ""}] * EMPTY_RULES


def parse_rules(form: Form) -> list[Values]:
    """Parse the rules of an evidence policy from the rows of a form, without those that have no kind."""
    rows = zip(*(form.getlist(f"rule_{name}") for name in RULE_FIELDS), strict=False)
    rules = [dict(zip(RULE_FIELDS, row, strict=True)) for row in rows]
    return [
        {**rule, "tags": rule["tags"].replace(",", " ").split(), "runbook": rule["runbook"].strip() or None}
        for rule in rules
        if rule["kind"]
    ]


def build_agent_values(agent: Agent) -> Values:
    return {
        "name": agent.name,
        "kind": agent.kind.value,
        "title": agent.title,
        "aliases": " ".join(agent.aliases),
        "runnable": agent.runnable,
        "profile": agent.profile or "",
        "capacity": agent.capacity,
        "members": " ".join(agent.members),
    }


def build_agent_body(form: Form) -> Values:
    """Build the input of `NewAgent` or, without name and kind, of `EditAgent` from a submitted form."""
    return {
        "title": form.get("title", "").strip(),
        "aliases": form.get("aliases", "").split(),
        "runnable": "runnable" in form,
        "profile": read_text(form, "profile"),
        "capacity": form.get("capacity") or 1,
        "members": form.get("members", "").split(),
    }


def build_profile_values(profile: Profile) -> Values:
    plain = (
        *("name", "program", "provider", "model", "context_size", "effort", "permissions"),
        *("own_configuration", "instruction"),
    )
    return {name: getattr(profile, name) for name in plain} | {
        "mode": profile.mode.value,
        "plan_first": "yes" if profile.plan_first else "no",
        "argv": shlex.join(profile.argv),
        "env_allow": "\n".join(profile.env_allow),
        **{f"{LIMIT}{name}": _format_number(value) for name, value in profile.limits.items()},
    }


def build_profile_body(form: Form) -> Values:
    """Build the input of `NewProfile` or, without the name, of `EditProfile` from a submitted form."""
    body: Values = {
        name: read_text(form, name) for name in ("provider", "model", "context_size", "effort", "instruction")
    }
    body |= {name: form.get(name, "") for name in ("program", "mode", "permissions")}
    return body | {
        "plan_first": form.get("plan_first") == "yes",
        "argv": parse_argv(form, "argv"),
        "env_allow": form.get("env_allow", "").split(),
        "own_configuration": "own_configuration" in form,
        "limits": {
            name.removeprefix(LIMIT): value.strip()
            for name, value in form.items()
            if name.startswith(LIMIT) and value.strip()
        },
    }


def build_budget_fields(values: Values) -> list[tuple[str, list[Values]]]:
    """Build the budget fields of a profile in groups, each field with its name, label and value."""
    return [
        (
            title,
            [
                _build_field(f"{scope}{measure}", label, values)
                for measure, label in UNITS.items()
                if scope + measure in BUDGETS
            ],
        )
        for scope, title in SCOPES.items()
    ]


def build_budget_notes(values: Values, settings: Settings) -> list[str]:
    """Build the sentences on where the budgets of a profile cannot hold, by its program and model."""
    program, model = values.get("program"), values.get("model")
    notes = []
    if program == "script":
        return ["The script agent uses no tokens and no money: only runs and minutes can be limited."]
    is_alias = program == "claude" and not str(model).startswith("claude-")
    if model and not is_alias and find_price(settings.all_prices, model) is None:
        money = "is enforced only at the end of each turn" if program == "claude" else "cannot be enforced"
        notes.append(
            f"No price is set for the model {model}, so a budget in US dollars {money}. Prices are on the Team page."
        )
    elif not model or is_alias:
        notes.append("A budget in US dollars applies only to models with a price: see Prices on the Team page.")
    if program == "codex":
        notes.append("Codex counts a turn when it ends, so a budget of turns does not stop a turn in progress.")
    return notes


def build_limit_fields(values: Values, settings: Settings) -> list[Values]:
    """Build the fields of a run's limits, with the default from the settings as the placeholder."""
    fields = []
    for name, info in Limits.model_fields.items():
        unit, measure = name.rsplit("_", 1)
        label = f"{unit.replace('_', ' ').capitalize()}, {measure}"
        details = {"help": info.description, "placeholder": f"{getattr(settings.limits, name)}"}
        fields.append(_build_field(name, label, values) | details)
    return [*fields, _build_field("memory_mb", "Memory, MB", values) | {"help": "where the machine can limit it"}]


def _build_field(name: str, label: str, values: Values) -> Values:
    return {"name": LIMIT + name, "label": label, "value": values.get(LIMIT + name, "")}


def _format_number(value: float) -> str:
    return f"{value:.15g}"
