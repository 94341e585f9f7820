"""Compares the history of a soak with the store, the spools and the repository, and names every contradiction."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import select

from database import Session, reading
from models import (
    DeliveryState,
    Outcome,
    QueuedMessage,
    Run,
    RunState,
    Ticket,
    TicketComment,
    TicketEvent,
    TicketStatus,
)
from protocol import EventType
from tickets.shared.canary import IS_ORDINARY_RUN, IS_ORDINARY_TICKET
from workers.repository import git
from workers.run import spool

from .board import Board
from .history import Answer, ClientOperation, History


@dataclass(frozen=True, slots=True)
class StoreContent:
    """The rows that a history is compared with, each kind in the order of its ids."""

    tickets: Sequence[Ticket]
    messages: Sequence[QueuedMessage]
    runs: Sequence[Run]
    events: Sequence[TicketEvent]
    comments: Sequence[TicketComment]


def load_content(session: Session) -> StoreContent:
    """Load all rows of the store that a soak writes, without the canary's tickets and runs."""
    return StoreContent(
        tickets=session.scalars(select(Ticket).where(IS_ORDINARY_TICKET).order_by(Ticket.id)).all(),
        messages=session.scalars(select(QueuedMessage).order_by(QueuedMessage.id)).all(),
        runs=session.scalars(select(Run).where(IS_ORDINARY_RUN).order_by(Run.id)).all(),
        events=session.scalars(select(TicketEvent).order_by(TicketEvent.id)).all(),
        comments=session.scalars(select(TicketComment).order_by(TicketComment.id)).all(),
    )


def check_board(board: Board, history: History) -> list[str]:
    """Return every contradiction, as sentences."""
    with reading(board.engine) as session:
        content = load_content(session)
        return [
            *check_tickets(content, history),
            *check_messages(content, history),
            *check_comments(content, history),
            *check_moves(content, history),
            *check_events(content),
            *check_runs(content),
            *check_spools(board, content),
            *check_landings(board, content),
            *check_agent_log(board, content),
        ]


def check_tickets(content: StoreContent, history: History) -> Iterator[str]:
    """Check that each ticket exists once, has an identifier of its own, and ended right."""
    keys = Counter(_read_key(ticket.title) for ticket in content.tickets)
    creations = history.select("create")
    yield from _compare("ticket", creations, keys)
    yield from (f"a ticket {key} exists that nobody created" for key in keys - Counter(o.key for o in creations))
    identifiers = Counter(ticket.identifier for ticket in content.tickets)
    yield from (f"{name} is the identifier of {count} tickets" for name, count in identifiers.items() if count > 1)
    for ticket in content.tickets:
        if ticket.status is not TicketStatus.DONE:
            yield f"{ticket.identifier} ({ticket.title}) ended as {ticket.status.value}, expected done"


def _read_key(title: str) -> str:
    return title.rpartition(" ")[2]


def _compare(noun: str, operations: Iterable[ClientOperation], present: Counter[str]) -> Iterator[str]:
    """Compare operations, whose keys are unique, with how often the effect of each is present."""
    for operation in operations:
        count = present[operation.key]
        if operation.answer is Answer.OK and count == 0:
            yield f"{noun} {operation.key} was answered ok and is lost"
        elif operation.answer is Answer.FAILED and count:
            yield f"{noun} {operation.key} was refused and exists"
        elif count > 1:
            yield f"{noun} {operation.key} exists {count} times"


def check_messages(content: StoreContent, history: History) -> Iterator[str]:
    """Check that each message exists once and that none is on its way to a run that has ended."""
    keys = Counter(_read_key(message.body.rstrip(".")) for message in content.messages)
    yield from _compare("message", history.select("message"), keys)
    live = {run.id for run in content.runs if run.state is not RunState.ENDED}
    for message in content.messages:
        if message.state is DeliveryState.DELIVERED and message.run_id not in live:
            yield f"message {message.uuid} is on its way to run {message.run_id}, which has ended"
        if message.state is DeliveryState.FAILED and not message.failure:
            yield f"message {message.uuid} failed without a reason"


def check_comments(content: StoreContent, history: History) -> Iterator[str]:
    """Check that each comment exists once."""
    keys = Counter(_read_key(comment.body.rstrip(".")) for comment in content.comments)
    yield from _compare("comment", history.select("comment"), keys)


def check_moves(content: StoreContent, history: History) -> Iterator[str]:
    """Check that each move of a person was made as often as it was answered, or once more for each unknown answer."""
    least: Counter[tuple[str, str]] = Counter()
    most: Counter[tuple[str, str]] = Counter()
    for operation in history.operations:
        if operation.kind not in ("create", "message", "comment"):
            least[operation.subject, operation.kind] += operation.answer is Answer.OK
            most[operation.subject, operation.kind] += operation.answer is not Answer.FAILED
    identifiers = {ticket.id: ticket.identifier for ticket in content.tickets}
    move_counts = Counter(
        (identifiers[event.ticket_id], str(event.payload_json.get("move")))
        for event in content.events
        if event.event_type == "ticket_moved" and event.ticket_id in identifiers
    )
    for subject, move in most:
        count, low, high = move_counts[subject, move], least[subject, move], most[subject, move]
        if not low <= count <= high and move != "wake":  # Mission Control wakes tickets too
            yield f"{subject}: {move} was answered {low} to {high} times and made {count} times"


def check_events(content: StoreContent) -> Iterator[str]:
    """Check that the events of each ticket and of each run are in order."""
    for name, events in (("ticket", _group(content.events, "ticket_id")), ("run", _group(content.events, "run_id"))):
        number = "seq" if name == "ticket" else "run_seq"
        for owner, own_events in events.items():
            numbers = [value for event in own_events if (value := getattr(event, number)) is not None]
            if any(first >= second for first, second in pairwise(numbers)):
                yield f"the events of {name} {owner} are not in order"


def _group(events: Iterable[TicketEvent], column: str) -> dict[int, list[TicketEvent]]:
    groups: dict[int, list[TicketEvent]] = defaultdict(list)
    for event in events:
        if (owner := getattr(event, column)) is not None:
            groups[owner].append(event)
    return groups


def check_runs(content: StoreContent) -> Iterator[str]:
    """Check that runs of a ticket never overlapped, all have ended, each with one record of its end."""
    ends = Counter(event.run_id for event in content.events if event.event_type == "run_ended")
    by_ticket: dict[int, list[Run]] = defaultdict(list)
    for run in content.runs:
        by_ticket[run.ticket_id].append(run)
        if run.state is not RunState.ENDED:
            yield f"run {run.id} has not ended"
        elif ends[run.id] != 1:
            yield f"the end of run {run.id} is recorded {ends[run.id]} times"
    for ticket_id, runs in by_ticket.items():
        if [run.generation for run in runs] != list(range(1, len(runs) + 1)):
            yield f"the generations of ticket {ticket_id} are {[run.generation for run in runs]}"
        for first, second in pairwise(runs):
            if first.ended is None or second.started < first.ended:
                yield f"run {second.id} of ticket {ticket_id} began before run {first.id} had ended"
    yield from _check_verdicts(content, by_ticket)


def _check_verdicts(content: StoreContent, by_ticket: dict[int, list[Run]]) -> Iterator[str]:
    """Check that a ticket that is done has exactly one run that says so, and it is the last."""
    for ticket in content.tickets:
        outcomes = [run.outcome for run in by_ticket[ticket.id]]
        if ticket.status is TicketStatus.DONE and (
            outcomes.count(Outcome.DONE) != 1 or outcomes[-1] is not Outcome.DONE
        ):
            yield f"{ticket.identifier} is done after runs that ended as {[str(outcome) for outcome in outcomes]}"


def check_spools(board: Board, content: StoreContent) -> Iterator[str]:
    """Check that every event in the spool of a run is in the store, typing aside, which is deleted when it is complete."""
    stored = {(event.run_id, event.run_seq): event.event_type for event in content.events if event.run_seq}
    for run in content.runs:
        for event in spool.replay_events(board.settings.run_path(run.id)):
            if event["event_type"] != EventType.DELTA and (run.id, event["run_seq"]) not in stored:
                yield f"event {event['run_seq']} ({event['event_type']}) of run {run.id} is lost"


def check_landings(board: Board, content: StoreContent) -> Iterator[str]:
    """Check that the work of each approved ticket is on the base branch, merged once."""
    subjects = git.check_output(board.repository, "log", "--first-parent", "--format=%s", "main").splitlines()
    for ticket in content.tickets:
        if ticket.project_id is None or ticket.status is not TicketStatus.DONE:
            continue
        merges = [subject for subject in subjects if ticket.identifier in subject.replace(":", " ").split()]
        if len(merges) != 1:
            yield f"{ticket.identifier} was merged {len(merges)} times: {merges}"
        key = _read_key(ticket.title)
        if git.check_output(board.repository, "show", f"main:{key}.txt").strip() != key:
            yield f"the file of {ticket.identifier} on the base branch is not its own"


def check_agent_log(board: Board, content: StoreContent) -> Iterator[str]:
    """Check that no process of an agent got a message twice."""
    lines = board.agent_log.read_text().splitlines() if board.agent_log.exists() else []
    for line, count in Counter(lines).items():
        if count > 1:
            yield f"one process of an agent got message {line.split()[1]} {count} times"


def count_repeated_messages(board: Board, content: StoreContent) -> int:
    """Count the messages that a second process of an agent got, after the first one died before its receipt."""
    lines = board.agent_log.read_text().splitlines() if board.agent_log.exists() else []
    receivers = Counter(line.split()[1] for line in set(lines))
    return sum(receivers[message.uuid] > 1 for message in content.messages)
