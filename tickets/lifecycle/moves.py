"""Table of moves: sources, targets, roles and input of every move of a ticket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import ValidationError

from models import TERMINAL, ActorKind, CommentKind, Run, TicketStatus
from tickets.shared.actors import Actor
from tickets.shared.errors import Invalid, convert_validation_error
from tickets.shared.inputs import (
    AnswerInput,
    ApproveInput,
    AskInput,
    BlockInput,
    CloseInput,
    FailLandingInput,
    FeedbackInput,
    FinishInput,
    LandInput,
    MoveInput,
    NoteInput,
    ParkInput,
    ReleaseInput,
    ReopenInput,
    TriageInput,
)

S = TicketStatus


class Role(StrEnum):
    """Role in which an actor makes a move."""

    HUMAN = "human"
    OWNER = "human owner"
    LIVE_RUN = "live run"
    ORCHESTRATOR = "orchestrator"
    TRIAGE = "triage"
    REVIEWER = "reviewer"
    PICKUP = "pickup"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Move:
    """One transition of the lifecycle. `targets` is never empty. With several, the input decides."""

    name: str
    sources: frozenset[TicketStatus]
    targets: tuple[TicketStatus, ...]
    by: frozenset[Role]
    facts: type[MoveInput] = NoteInput
    label: str = ""
    stops_run: bool = False
    without_run: bool = False
    danger: bool = False

    def parse_facts(self, facts: Mapping[str, Any]) -> MoveInput:
        """Parse the input of the move. Raises `Invalid`, also for what `transition` takes beside the facts, such as a role."""
        try:
            return self.facts.model_validate(facts)
        except ValidationError as error:
            raise self._describe_invalid(convert_validation_error(error), facts) from None

    def _describe_invalid(self, invalid: Invalid, facts: Mapping[str, Any]) -> Invalid:
        names = self.facts.model_fields.keys()
        unknown = sorted(facts.keys() - names)
        if not unknown:
            return invalid
        text = f"The move {self.name} has no {' and no '.join(unknown)}. It takes {', '.join(sorted(names))}."
        return Invalid(text, **invalid.detail)


OPEN = frozenset(S) - TERMINAL


PEOPLE = frozenset({Role.HUMAN, Role.ORCHESTRATOR})


PEOPLE_AND_SYSTEM = PEOPLE | {Role.SYSTEM}


REVIEWERS = PEOPLE | {Role.REVIEWER}


RETURN_STATES = (S.TODO, S.INBOX, S.NEEDS_INPUT, S.IN_REVIEW, S.BLOCKED)


def _states(*states: TicketStatus) -> frozenset[TicketStatus]:
    return frozenset(states)


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move("triage", _states(S.INBOX), (S.TODO,), PEOPLE_AND_SYSTEM | {Role.TRIAGE}, TriageInput, "Triage"),
        Move("claim", _states(S.TODO), (S.IN_PROGRESS,), frozenset({Role.PICKUP}), MoveInput, without_run=True),
        Move("start", _states(S.TODO), (S.IN_PROGRESS,), frozenset({Role.OWNER}), label="Start", without_run=True),
        Move(
            "finish",
            _states(S.IN_PROGRESS),
            (S.DONE, S.TODO),
            frozenset({Role.OWNER}),
            FinishInput,
            "Finish",
            without_run=True,
        ),
        Move(
            "release",
            _states(S.IN_PROGRESS),
            (S.TODO,),
            PEOPLE_AND_SYSTEM,
            ReleaseInput,
            "Return to To do",
            stops_run=True,
        ),
        Move("ask", _states(S.IN_PROGRESS), (S.NEEDS_INPUT,), frozenset({Role.LIVE_RUN}), AskInput),
        Move("answer", _states(S.NEEDS_INPUT), (S.TODO,), PEOPLE, AnswerInput, "Answer"),
        Move("submit", _states(S.IN_PROGRESS), (S.IN_REVIEW,), frozenset({Role.LIVE_RUN})),
        Move("complete", _states(S.IN_PROGRESS), (S.DONE, S.TODO, S.IN_REVIEW), frozenset({Role.LIVE_RUN})),
        Move("approve", _states(S.IN_REVIEW), (S.DONE, S.TODO, S.IN_REVIEW), REVIEWERS, ApproveInput, "Approve"),
        Move("land", _states(S.IN_REVIEW), (S.DONE, S.TODO), frozenset({Role.SYSTEM}), LandInput),
        Move("fail_landing", _states(S.IN_REVIEW), (S.IN_REVIEW,), frozenset({Role.SYSTEM}), FailLandingInput),
        Move(
            "request_changes",
            _states(S.IN_REVIEW),
            (S.TODO,),
            REVIEWERS | {Role.SYSTEM},
            FeedbackInput,
            "Request changes",
        ),
        Move(
            "send_back",
            _states(S.IN_PROGRESS),
            (S.TODO,),
            frozenset({Role.LIVE_RUN, Role.OWNER}),
            FeedbackInput,
            "Send back",
            without_run=True,
        ),
        Move("park", OPEN, (S.WAITING,), PEOPLE_AND_SYSTEM, ParkInput, "Park", stops_run=True),
        Move("wake", _states(S.WAITING), RETURN_STATES, PEOPLE_AND_SYSTEM, label="Wake"),
        Move(
            "block",
            _states(S.TODO, S.IN_PROGRESS, S.NEEDS_INPUT, S.IN_REVIEW),
            (S.BLOCKED,),
            PEOPLE_AND_SYSTEM,
            BlockInput,
            "Block",
            stops_run=True,
        ),
        Move("unblock", _states(S.BLOCKED), (S.TODO, S.NEEDS_INPUT, S.IN_REVIEW), PEOPLE_AND_SYSTEM, label="Unblock"),
        Move("close", OPEN, (S.DONE,), frozenset({Role.HUMAN}), CloseInput, "Close", stops_run=True, danger=True),
        Move("cancel", OPEN, (S.CANCELLED,), frozenset({Role.HUMAN}), label="Cancel", stops_run=True, danger=True),
        Move("adopt", OPEN, (S.DONE,), frozenset({Role.SYSTEM}), stops_run=True),
        Move("reopen", TERMINAL, (S.INBOX, S.TODO), PEOPLE, ReopenInput, "Reopen"),
    )
}


def find_move(name: str) -> Move:
    """Find a move by its name. Raises `Invalid` with the names of all."""
    move = MOVES.get(name)
    if move is None:
        raise Invalid(f"There is no move named {name[:40]!r}.", field="move", moves=sorted(MOVES))
    return move


MOVES_FROM = {
    status: sorted(
        (move for move in MOVES.values() if status in move.sources),
        key=lambda move: (move.danger, move.name in ("park", "block", "release")),
    )
    for status in S
}
"""Moves by source state, usual moves first and dangerous ones last."""


MAX_TICKETS_PER_RUN = 50


INITIAL_STATES = (S.INBOX, S.TODO, S.WAITING)


LANDING_MOVES = ("land", "fail_landing")


CONTROLLER_MOVES = {
    "release": "release",
    **dict.fromkeys(("park", "wake", "block", "unblock", "reopen"), "repair"),
}
"""Moves with which the orchestrator puts a ticket right, and how the comment that explains each is headed."""


PROGRAM_ROLES = {
    ActorKind.ORCHESTRATOR: Role.ORCHESTRATOR,
    ActorKind.TRIAGE: Role.TRIAGE,
    ActorKind.REVIEWER: Role.REVIEWER,
}


COMMENT_KINDS = {
    "answer": CommentKind.ANSWER,
    "request_changes": CommentKind.FEEDBACK,
    "send_back": CommentKind.FEEDBACK,
    "ask": CommentKind.QUESTION,
    "submit": CommentKind.VERDICT,
    "complete": CommentKind.VERDICT,
}


def determine_roles(actor: Actor, runnable_owner: bool, live: Run | None) -> frozenset[Role]:
    """Determine the roles of an actor towards a ticket, whose owner is an agent or not, and whose live run this is.

    An orchestrator never moves the ticket that it works itself.
    """
    if actor.kind is ActorKind.HUMAN:
        return frozenset({Role.HUMAN} if runnable_owner else {Role.HUMAN, Role.OWNER})
    if actor.kind is ActorKind.SYSTEM:
        return frozenset({Role.SYSTEM, Role.PICKUP} if actor.name == "pickup" else {Role.SYSTEM})
    if live is not None and actor.run_id == live.id:
        return frozenset({Role.LIVE_RUN}) if actor.kind is ActorKind.RUN else frozenset()
    if actor.kind in PROGRAM_ROLES:
        return frozenset({PROGRAM_ROLES[actor.kind]})
    return frozenset()
