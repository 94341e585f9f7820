"""Actor identity that every write carries."""

from __future__ import annotations

from dataclasses import dataclass

from models import ActorKind


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a write: `name` is recorded in the event log.

    `run_id` is set for the worker process of a run, whose access is limited to `ticket_id`. A viewer has `writes` false.
    `has_proof` is false for a browser whose log-in is too old for the acts of `rights.PROOF_REQUIRED`.
    """

    kind: ActorKind
    name: str
    run_id: int | None = None
    ticket_id: int | None = None
    writes: bool = True
    has_proof: bool = True

    @classmethod
    def human(cls, name: str = "operator") -> Actor:
        return cls(ActorKind.HUMAN, name)

    @classmethod
    def system(cls, name: str = "system") -> Actor:
        return cls(ActorKind.SYSTEM, name)

    @classmethod
    def service(cls, name: str) -> Actor:
        return cls(ActorKind.SERVICE, name)

    @property
    def is_human(self) -> bool:
        return self.kind is ActorKind.HUMAN
