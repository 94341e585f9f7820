"""Table of moves: sources, targets, roles and input of every move of a ticket."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from models import (
    TERMINAL,
    CommentKind,
    TicketStatus,
)
from tickets.shared.inputs import (
    AnswerFacts,
    ApproveFacts,
    AskFacts,
    BlockFacts,
    CloseFacts,
    FailLandingFacts,
    FeedbackFacts,
    FinishFacts,
    LandFacts,
    MoveInput,
    Noted,
    ParkFacts,
    ReleaseFacts,
    ReopenFacts,
)

S = TicketStatus


class Role(StrEnum):
    """In which right somebody makes a move."""

    HUMAN = "human"
    OWNER = "human owner"
    LIVE_RUN = "live run"
    ORCHESTRATOR = "orchestrator"
    PICKUP = "pickup"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Move:
    """One arrow of the lifecycle. An empty `targets` never occurs; several mean that the facts decide."""

    name: str
    sources: frozenset[TicketStatus]
    targets: tuple[TicketStatus, ...]
    by: frozenset[Role]
    facts: type[MoveInput] = Noted
    label: str = ""
    stops_run: bool = False
    without_run: bool = False
    danger: bool = False


OPEN = frozenset(S) - TERMINAL


PEOPLE = frozenset({Role.HUMAN, Role.ORCHESTRATOR})


WORLD = PEOPLE | {Role.SYSTEM}


RETURNS = (S.TODO, S.INBOX, S.NEEDS_INPUT, S.IN_REVIEW, S.BLOCKED)


def _only(*states: TicketStatus) -> frozenset[TicketStatus]:
    return frozenset(states)


MOVES: dict[str, Move] = {
    move.name: move
    for move in (
        Move("triage", _only(S.INBOX), (S.TODO,), WORLD, label="Triage"),
        Move("claim", _only(S.TODO), (S.IN_PROGRESS,), frozenset({Role.PICKUP}), MoveInput, without_run=True),
        Move("start", _only(S.TODO), (S.IN_PROGRESS,), frozenset({Role.OWNER}), label="Start", without_run=True),
        Move(
            "finish",
            _only(S.IN_PROGRESS),
            (S.DONE, S.TODO),
            frozenset({Role.OWNER}),
            FinishFacts,
            "Finish",
            without_run=True,
        ),
        Move(
            "release",
            _only(S.IN_PROGRESS),
            (S.TODO,),
            frozenset({Role.HUMAN, Role.SYSTEM}),
            ReleaseFacts,
            "Hand back",
            stops_run=True,
        ),
        Move("ask", _only(S.IN_PROGRESS), (S.NEEDS_INPUT,), frozenset({Role.LIVE_RUN}), AskFacts),
        Move("answer", _only(S.NEEDS_INPUT), (S.TODO,), PEOPLE, AnswerFacts, "Answer"),
        Move("submit", _only(S.IN_PROGRESS), (S.IN_REVIEW,), frozenset({Role.LIVE_RUN})),
        Move("complete", _only(S.IN_PROGRESS), (S.DONE, S.TODO, S.IN_REVIEW), frozenset({Role.LIVE_RUN})),
        Move("approve", _only(S.IN_REVIEW), (S.DONE, S.TODO, S.IN_REVIEW), PEOPLE, ApproveFacts, "Approve"),
        Move("land", _only(S.IN_REVIEW), (S.DONE, S.TODO), frozenset({Role.SYSTEM}), LandFacts),
        Move("fail_landing", _only(S.IN_REVIEW), (S.IN_REVIEW,), frozenset({Role.SYSTEM}), FailLandingFacts),
        Move("request_changes", _only(S.IN_REVIEW), (S.TODO,), WORLD, FeedbackFacts, "Request changes"),
        Move(
            "send_back",
            _only(S.IN_PROGRESS),
            (S.TODO,),
            frozenset({Role.LIVE_RUN, Role.OWNER}),
            FeedbackFacts,
            "Send back",
            without_run=True,
        ),
        Move("park", OPEN, (S.WAITING,), WORLD, ParkFacts, "Park", stops_run=True),
        Move("wake", _only(S.WAITING), RETURNS, WORLD, label="Wake"),
        Move(
            "block",
            _only(S.TODO, S.IN_PROGRESS, S.NEEDS_INPUT, S.IN_REVIEW),
            (S.BLOCKED,),
            WORLD,
            BlockFacts,
            "Block",
            stops_run=True,
        ),
        Move("unblock", _only(S.BLOCKED), (S.TODO, S.NEEDS_INPUT, S.IN_REVIEW), WORLD, label="Unblock"),
        Move("close", OPEN, (S.DONE,), frozenset({Role.HUMAN}), CloseFacts, "Close", stops_run=True, danger=True),
        Move("cancel", OPEN, (S.CANCELLED,), frozenset({Role.HUMAN}), label="Cancel", stops_run=True, danger=True),
        Move("reopen", TERMINAL, (S.INBOX, S.TODO), PEOPLE, ReopenFacts, "Reopen"),
    )
}


MOVES_FROM = {
    status: sorted(
        (law for law in MOVES.values() if status in law.sources),
        key=lambda law: (law.danger, law.name in ("park", "block", "release")),
    )
    for status in S
}
"""The usual ones first, the dangerous ones last."""


FILED_BY_A_RUN = 50


CREATED_AS = (S.INBOX, S.TODO, S.WAITING)


LANDING_MOVES = ("land", "fail_landing")


COMMENT_OF = {
    "answer": CommentKind.ANSWER,
    "request_changes": CommentKind.FEEDBACK,
    "send_back": CommentKind.FEEDBACK,
    "ask": CommentKind.QUESTION,
    "submit": CommentKind.VERDICT,
    "complete": CommentKind.VERDICT,
}
