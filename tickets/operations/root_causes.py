"""Which check explains which: when the explaining check is wrong, what follows from it is folded under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from models import now

from .health_check import OWN_TASK_PREFIX, HealthCheck

TASKS = frozenset(
    {
        "ticket-pickup",
        "landing",
        "queue-reaper",
        "probe-agents",
        "health-check",
        "retention",
        "backup",
        "canary",
        "inbox-drain",
        "live-routes",
        "mc-auto-review",
        "operator",
        "follow-up-sweep",
        "orchestrator-board-sweep",
        "triage-untriaged",
    }
)
"""The shipped tasks. A test holds them equal to the files in `tasks/`."""
PROGRAMS = TASKS | {"scheduler", "check-age"}
WORK = frozenset({"runs", "messages", "landings", "check-ins", "outcomes", "canary"})

EXPLAINS: dict[str, frozenset[str]] = {
    "disk": PROGRAMS | WORK | {"writes", "integrity", "wal", "event-log", "web", "run-folders"},
    "integrity": PROGRAMS | WORK | {"writes", "event-log", "web"},
    "run-folders": frozenset({"writes", "runs", "outcomes"}) | TASKS,
    "writes": PROGRAMS | WORK | {"event-log", "wal"},
    "clock": PROGRAMS | {"runs", "messages"},
    "settings": PROGRAMS | WORK,
    "supervision": PROGRAMS | WORK,
    "scheduler": PROGRAMS | WORK,
    "tmux": frozenset({"ticket-pickup", "queue-reaper", "canary", "outcomes", "runs"}),
    "git": frozenset({"ticket-pickup", "landing", "canary", "outcomes", "landings", "probe-agents", "operator"})
    | {"mc-auto-review", "orchestrator-board-sweep"},
    "check-age": frozenset({"health-check"}),
    "dispatch": frozenset({"canary"}),
    "ticket-pickup": frozenset({"canary", "runs", "messages"}),
    "queue-reaper": frozenset({"messages", "runs"}),
    "landing": frozenset({"landings"}),
    "agents": frozenset({"outcomes"}),
}
"""For each check the ones that follow from it, the deepest cause first. One that explains all tasks explains people's own."""


RECOVERY = timedelta(minutes=2)
"""How long after a cause is gone the checks that it explained are still explained by it."""
MIN_PRECEDENCE = timedelta(seconds=5)
"""How much longer than the end of its cause a check must be wrong, as first results come at almost the same time."""


def _follows_from(check: HealthCheck, cause: str) -> bool:
    """Return whether a check may be wrong because of a cause."""
    names = EXPLAINS.get(cause, frozenset())
    return check.name in names or (check.name.startswith(OWN_TASK_PREFIX) and names >= TASKS)


def list_recovering(checks: Sequence[HealthCheck]) -> list[HealthCheck]:
    """List the causes that were right again moments ago, as checks as bad as what they had explained and is still wrong."""
    recovering = []
    for cause in checks:
        if cause.ok and cause.since is not None and now() - cause.since < RECOVERY:
            limit = cause.since - MIN_PRECEDENCE
            effects = [
                check
                for check in checks
                if not check.ok and _follows_from(check, cause.name) and check.since and check.since < limit
            ]
            if effects:
                text = f"The check {cause.name} passes again. What it had prevented follows within two minutes."
                worst = max(effects, key=lambda check: check.rank)
                recovering.append(replace(cause, status=worst.status, detail=text))
    return recovering


def find_explanations(wrong: Sequence[HealthCheck]) -> dict[HealthCheck, HealthCheck]:
    """Return for each explained check its deepest cause, which is at least as bad as what it explains."""
    by_name: dict[str, HealthCheck] = {}
    for check in wrong:
        by_name.setdefault(check.name, check)
    explanations: dict[HealthCheck, HealthCheck] = {}
    for name in EXPLAINS:
        if cause := by_name.get(name):
            root = explanations.get(cause, cause)
            effects = (effect for effect in wrong if _follows_from(effect, name) and effect not in (cause, root))
            explanations |= {
                effect: root for effect in effects if effect not in explanations and cause.rank >= effect.rank
            }
    return explanations
