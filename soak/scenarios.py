"""The scenario files of a simulated day: who does what to one ticket, and what must have become of it at the end."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

FOLDER = Path(__file__).with_name("scenarios")
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Part(BaseModel):
    """A table of a scenario file, in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ScriptedRun(Part):
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
    review: Literal["approve", "request_changes", "needs_person"] | None = None
    """The verdict of the reviewer on the work, which is then a real commit on a branch of the project's repository."""


class Reaction(Part):
    """A move of a person or of the orchestrator, `after` minutes in a state. Each is made once, in the order of the file."""

    when: str
    move: str
    after: int = 15
    by: Literal["alice", "bob", "orchestrator"] = "alice"
    facts: dict[str, Any] = {}
    refused: bool = False
    """The board is to refuse the move."""


class Expectation(Part):
    """The end of the day: state and runs, and every move, alert, inbox item and comment of a loop on the ticket, in order.

    An alert is the time at which its mail came, its text with `@` for the ticket and without its title, and after an arrow
    the text that settled it. One that came in a digest has `digest` before its text.
    """

    status: str
    runs: int
    moves: list[str]
    alerts: list[str] = []
    inbox: list[str] = []
    comments: list[str] = []


class Scenario(Part):
    """One file. `at` is the time of day at which alice creates the ticket, or with a `schedule` a task of hers.

    A text `@name` in the ticket's fields stands for the ticket of another scenario, which is created earlier.
    `orchestrator` has the action with which the orchestrator settles items of a kind, or `fail` with the reason why it
    cannot. All others it leaves to people, and says so.
    """

    name: str
    about: str
    at: ClockTime
    schedule: str | None = None
    ticket: dict[str, Any]
    steps: list[ScriptedRun] = []
    reactions: list[Reaction] = []
    orchestrator: dict[str, dict[str, Any]] = {}
    expect: Expectation

    @property
    def minute(self) -> int:
        hours, minutes = self.at.split(":")
        return int(hours) * 60 + int(minutes)


@dataclass(slots=True)
class Progress:
    """The progress of a scenario: its ticket, and how far its agents and its people have come."""

    scenario: Scenario
    ticket_id: int | None = None
    steps: int = 0
    reactions: int = 0
    problems: list[str] = field(default_factory=list)

    def add_problem(self, text: str) -> None:
        """Note a problem, once."""
        problem = f"{self.scenario.name}: {text}"
        self.problems = list(dict.fromkeys([*self.problems, problem]))


def load_scenarios(names: list[str] | None = None) -> list[Scenario]:
    """Load all scenario files, or these."""
    files = sorted(FOLDER.glob("*.toml"))
    return [
        Scenario.model_validate({"name": file.stem, **tomllib.loads(file.read_text())})
        for file in files
        if names is None or file.stem in names
    ]
