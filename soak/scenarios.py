"""The scenario files of a simulated day: who does what to one ticket, and what must have become of it at the end."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).with_name("scenarios")
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Part(BaseModel):
    """A table of a scenario file, in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Step(Part):
    """One run of the ticket's agent: how long it works, how it ends, and what is observed of its work.

    `stalled` goes silent and is ended as timed out after the limit of silence; `failed` reports a failure of the agent.
    """

    minutes: int = Field(ge=1)
    verdict: Literal["done", "review", "question", "failed", "stalled"]
    summary: str = "It is as it was asked for."
    commits: int = 1
    check: int | None = None
    """The exit code of the project's check command, if it was run."""
    failure: str = "crash"
    """The class of a failure, see `protocol.Failure`."""
    retry_at: str | None = None


class Reaction(Part):
    """A move of a person or of the orchestrator, `after` minutes in a state; each is made once, in the order of the file."""

    when: str
    move: str
    after: int = 15
    by: Literal["alice", "bob", "orchestrator"] = "alice"
    facts: dict[str, Any] = {}
    refused: bool = False
    """The board is to refuse the move."""


class Expectation(Part):
    """The end of the day: state, runs, and every move, alert and settled inbox item of the ticket in order."""

    status: str
    runs: int
    moves: list[str]
    alerts: list[str] = []
    inbox: list[str] = []


class Scenario(Part):
    """One file. `at` is the time of day at which alice creates the ticket.

    A text `@name` in the ticket's fields stands for the ticket of another scenario, which is created earlier.
    """

    name: str
    about: str
    at: ClockTime
    ticket: dict[str, Any]
    steps: list[Step] = []
    reactions: list[Reaction] = []
    expect: Expectation

    @property
    def minute(self) -> int:
        hours, minutes = self.at.split(":")
        return int(hours) * 60 + int(minutes)


def load_scenarios(names: list[str] | None = None) -> list[Scenario]:
    """Load all scenario files, or these."""
    files = sorted(FOLDER.glob("*.toml"))
    chosen = [file for file in files if names is None or file.stem in names]
    return [Scenario.model_validate({"name": file.stem, **tomllib.loads(file.read_text())}) for file in chosen]
