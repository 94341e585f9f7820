"""The configuration that a run took beside its profile, as it is stored with the run and shown on its page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from models import Run
from tickets.team.projects import TrustState

MAX_ITEMS = 200
OFF = "not taken, as the profile says"
NOTICES = {
    TrustState.NEW: "The repository contains configuration that nobody has trusted yet. This run ignored it.",
    TrustState.CHANGED: "The configuration in this run's workspace is not the one that was trusted. This run ignored it.",
}


@dataclass(frozen=True, slots=True)
class RunConfiguration:
    """The operator's own configuration and the repository's, in words.

    `own` is what was taken and `left_out` what was not; `is_off` where the profile takes none. `brought` is what the
    workspace contained, and `problem` says why that cannot be trusted.
    """

    own: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    is_off: bool = False
    trust: TrustState = TrustState.NOTHING
    brought: tuple[str, ...] = ()
    problem: str = ""

    @property
    def notice(self) -> str:
        """Say that the repository's configuration was ignored, empty where it was not."""
        return " ".join(filter(None, (NOTICES.get(self.trust, ""), self.problem)))

    def list_facts(self) -> list[tuple[str, str]]:
        """List what was taken as (label, value)."""
        return [
            ("Yours", OFF if self.is_off else "; ".join(self.own) or "nothing was found in the home folder"),
            ("Not taken", "; ".join(self.left_out)),
        ]

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"trust": self.trust.value, "brought": self.brought[:MAX_ITEMS]}


def read_configuration(run: Run) -> RunConfiguration | None:
    """Read the configuration of a run. None for a run from before it was stored, and for one that never started."""
    stored = run.configuration
    if stored is None:
        return None
    return RunConfiguration(
        own=tuple(stored["own"]),
        left_out=tuple(stored["left_out"]),
        is_off=stored["is_off"],
        trust=TrustState(stored["trust"]),
        brought=tuple(stored["brought"]),
        problem=stored["problem"],
    )


def record_change(run: Run) -> None:
    """Record that the workspace's configuration changed between its judgement and the start of the agent."""
    if run.configuration is not None:
        run.configuration = {**run.configuration, "trust": TrustState.CHANGED.value}
