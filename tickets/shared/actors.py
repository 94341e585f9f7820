"""Who does something: one value that every write carries."""

from __future__ import annotations

from dataclasses import dataclass

from models import ActorKind


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` is what the log shows; `run_id` is set for a worker in a run, and it then reaches only `ticket_id`.

    One who may only read has `writes` false.
    """

    kind: ActorKind
    name: str
    run_id: int | None = None
    ticket_id: int | None = None
    writes: bool = True

    @classmethod
    def human(cls, name: str = "operator") -> Actor:
        return cls(ActorKind.HUMAN, name)

    @classmethod
    def system(cls, name: str = "system") -> Actor:
        return cls(ActorKind.SYSTEM, name)

    @property
    def is_human(self) -> bool:
        return self.kind is ActorKind.HUMAN
