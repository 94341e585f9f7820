"""What stands where on the board, and why: lanes by attention, the list in its orders, and the reason on every card."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event, update

from database import Session, reading, writing
from models import Run, Ticket, now
from tickets.board import columns, lanes, list_view
from tickets.board.columns import Card, Filters, Viewer
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import editing, transitions, undo
from tickets.runs import claims, heartbeat, reports
from tickets.shared.errors import Invalid
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.shared.lookup import get_ticket
from tickets.workflow import relationships

from .test_spine import ALICE, make

VIEWER = Viewer(ALICE, DispatchLimits(attempts=3))
ALL = Filters()
HOUR = timedelta(hours=1)


def move(engine: Engine, ticket_id: int, name: str, /, **facts: Any) -> None:
    with writing(engine) as session:
        transitions.transition(session, ticket_id, name, ALICE, **facts)


def work(engine: Engine, ticket_id: int, state: str = "running", **values: Any) -> int:
    """A run at work on the ticket; `values` are what is known of it instead."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run.id
        heartbeat.record_heartbeat(session, run, heartbeat.RunHeartbeat.model_validate({"state": state}))
        if values:
            session.execute(update(Run).where(Run.id == run).values(**values))
    return run


def set_values(engine: Engine, ticket_id: int, **values: Any) -> None:
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(**values))


def list_lanes(session: Session, filters: Filters = ALL) -> dict[str, list[str]]:
    """The kinds of reason in each lane, in its order; "" for a card that needs none."""
    return {lane.name: [kind(card) for card in lane.cards] for lane in lanes.load_lanes(session, filters, VIEWER)}


def kind(card: Card) -> str:
    return card.reason.kind if card.reason else ""


@pytest.mark.both_databases
def test_each_ticket_stands_in_the_lane_of_what_it_needs(engine: Engine) -> None:
    work(engine, make(engine))
    work(engine, make(engine), "waiting")
    for verdict in ("question", "review"):
        with writing(engine) as session:
            run = claims.claim_ticket(session, make_in(session), "here").run.id
            report = reports.RunReport.model_validate({"verdict": verdict, "summary": "Which one?"})
            reports.apply_report(session, run, report, reports.RetryPolicy())
    mine = make(engine, assigned_to=None)
    move(engine, mine, "start")
    make(engine)
    make(engine, status="inbox")
    with reading(engine) as session:
        lane_kinds = list_lanes(session)
        assert lane_kinds == {
            "needs_you": ["request", "question"],
            "in_review": ["review"],
            "stuck": [],
            "working": ["", ""],
            "todo": ["next"],
            "inbox": [""],
            "waiting": [],
        }
        asking_card, answered_card = lanes.load_lane(session, "needs_you", ALL, VIEWER).cards
        assert asking_card.needs_you and answered_card.reason is not None and answered_card.reason.text == "Which one?"
        counts = {lane.name: lane.count for lane in lanes.load_lanes(session, ALL, VIEWER)}
    expected = {
        "needs_you": "2",
        "in_review": "1",
        "stuck": "0",
        "working": "2",
        "todo": "1",
        "inbox": "1",
        "waiting": "0",
    }
    assert counts == expected


def make_in(session: Session) -> int:
    return transitions.create_ticket(session, NewTicket(title="Write a line", assigned_to="script"), ALICE).id


def stick(engine: Engine, cause: str) -> int:
    """A ticket that is stuck in this way, and one beside it that is not."""
    ticket, other = make(engine), make(engine)
    match cause:
        case "blocked":
            move(engine, ticket, "block", reason="dependency", owner="bob", next_action="Answer the mail")
        case "unheard":
            work(engine, ticket, heartbeat=now() - HOUR)
            work(engine, other)
        case "adrift":
            run = work(engine, ticket)
            with writing(engine) as session:
                session.execute(update(Run).where(Run.id == run).values(state="ended", ended=now()))
        case "exhausted":
            set_values(engine, ticket, attempts=3, failure_reason="crash: it fell over")
            set_values(engine, other, attempts=2, failure_reason="crash: it fell over")
        case "overslept":
            move(engine, ticket, "park", wake={"kind": "time", "at": now() + HOUR})
            move(engine, other, "park", wake={"kind": "time", "at": now() + HOUR})
            set_values(engine, ticket, wake_at=now() - HOUR)
        case "forgotten":
            awaited = make(engine, assigned_to=None)
            for ticket_id, awaited_id in ((ticket, awaited), (other, make(engine, status="inbox"))):
                move(engine, ticket_id, "park", wake={"kind": "ticket", "ticket": f"MC-{awaited_id}"})
            move(engine, awaited, "cancel")
            set_values(engine, awaited, closed=now() - HOUR)
        case "overdue":
            set_values(engine, ticket, expected_check_in=now() - HOUR)
            set_values(engine, other, expected_check_in=now() + HOUR)
    return ticket


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("cause", "words"),
    [
        ("blocked", "Answer the mail"),
        ("unheard", "Run last seen"),
        ("adrift", "In progress without a run"),
        ("exhausted", "Tried 3 times: crash: it fell over"),
        ("overslept", "Should have woken up"),
        ("forgotten", "Still parked until MC-3 is done, which has happened"),
        ("overdue", "Check-in was due"),
    ],
)
def test_what_is_stuck_says_why_in_its_lane_and_in_its_column(engine: Engine, cause: str, words: str) -> None:
    ticket = stick(engine, cause)
    with reading(engine) as session:
        cards = lanes.load_lane(session, "stuck", ALL, VIEWER).cards
        assert [(card.identifier, kind(card)) for card in cards] == [(f"MC-{ticket}", cause)]
        assert cards[0].reason is not None and cards[0].reason.text == words
        column = columns.load_column(session, cards[0].status, ALL, VIEWER)
        assert {card.identifier: kind(card) for card in column.cards}[f"MC-{ticket}"] == cause
        elsewhere = [
            card.identifier
            for name in lanes.LANES
            if name != "stuck"
            for card in lanes.load_lane(session, name, ALL, VIEWER).cards
        ]
        assert f"MC-{ticket}" not in elsewhere


def test_a_question_of_a_run_that_is_not_heard_is_stuck_and_not_asked(engine: Engine) -> None:
    work(engine, make(engine), "waiting", heartbeat=now() - HOUR)
    with reading(engine) as session:
        assert {name: kinds for name, kinds in list_lanes(session).items() if kinds} == {"stuck": ["unheard"]}


@pytest.mark.both_databases
def test_a_card_in_the_queue_says_what_keeps_it_there(engine: Engine) -> None:
    first, blocked, later, tried, held = (make(engine) for _ in range(5))
    with writing(engine) as session:
        relationships.add_relationship(session, first, "blocks", blocked, ALICE)
    set_values(engine, later, not_before=now() + HOUR)
    set_values(engine, tried, attempts=1, failure_reason="crash: it fell over")
    set_values(engine, held, campaign_owner="bob")
    for wake in ({"kind": "manual"}, {"kind": "time", "at": now() + HOUR}):
        move(engine, make(engine), "park", wake=wake)
    with reading(engine) as session:
        queue = {card.identifier: card.reason for card in columns.load_column(session, "todo", ALL, VIEWER).cards}
        reasons = [card.reason for card in columns.load_column(session, "waiting", ALL, VIEWER).cards]
    queue_reasons = {name: reason and (reason.kind, reason.text) for name, reason in queue.items()}
    assert queue_reasons == {
        f"MC-{first}": ("next", "Starts next"),
        f"MC-{blocked}": ("blockers", "After MC-1"),
        f"MC-{later}": ("later", "Can start"),
        f"MC-{tried}": ("next", "Starts next. Tried once: crash: it fell over"),
        f"MC-{held}": ("held", "On hold by bob"),
    }
    assert [reason and reason.text for reason in reasons] == ["Wakes", "Parked until someone wakes it"]


@pytest.mark.both_databases
def test_age_counts_from_the_last_move_and_an_undone_one_does_not_count(engine: Engine) -> None:
    ticket = make(engine, assigned_to=None)
    set_values(engine, ticket, moved=now() - HOUR)
    with reading(engine) as session:
        before = get_ticket(session, ticket).moved
    with writing(engine) as session:
        editing.edit_ticket(session, get_ticket(session, ticket), EditTicket(version=1, title="Other"), ALICE)
        assert get_ticket(session, ticket).moved == before
    move(engine, ticket, "park", wake={"kind": "manual"})
    move(engine, ticket, "park", wake={"kind": "answer"})
    with writing(engine) as session:
        assert get_ticket(session, ticket).moved > before
        transitions.transition(session, ticket, "wake", ALICE)
        park_time = get_ticket(session, ticket).moved
        undo.undo_move(session, f"MC-{ticket}", ALICE)
        assert before < get_ticket(session, ticket).moved < park_time


@pytest.mark.both_databases
@pytest.mark.parametrize("sort", list(list_view.ORDERS))
def test_the_list_goes_on_where_it_ended_in_each_order(engine: Engine, sort: str) -> None:
    for number in range(7):
        make(engine, priority=["low", "urgent", "high"][number % 3], status="inbox" if number % 2 else "todo")
    identifiers: list[str] = []
    cursor = None
    with reading(engine) as session:
        while True:
            page = list_view.load_list(session, ALL, VIEWER, sort=sort, cursor=cursor, size=2)
            identifiers += [card.identifier for card in page.cards]
            cursor = page.next_cursor
            if cursor is None:
                break
    by_number = [f"MC-{number}" for number in range(7, 0, -1)]
    by_rank = ["MC-5", "MC-2", "MC-6", "MC-3", "MC-7", "MC-4", "MC-1"]
    assert identifiers == (by_rank if sort == "priority" else by_number)


@pytest.mark.both_databases
def test_the_list_shows_what_is_open_unless_asked_for_more(engine: Engine) -> None:
    open_id, cancelled = make(engine, assigned_to=None, tags=["bug"]), make(engine, assigned_to=None)
    move(engine, cancelled, "cancel")
    with reading(engine) as session:

        def names(filters: Filters = ALL, status: str = "") -> list[str]:
            return [card.identifier for card in list_view.load_list(session, filters, VIEWER, status=status).cards]

        assert names() == [f"MC-{open_id}"]
        assert names(status="all") == [f"MC-{cancelled}", f"MC-{open_id}"]
        assert names(status="cancelled") == [f"MC-{cancelled}"]
        assert names(Filters(tag="bug"), "all") == [f"MC-{open_id}"]
        for wrong in (
            {"status": "asleep"},
            {"sort": "colour"},
            {"cursor": "1~2"},
            {"sort": "priority", "cursor": "9~2026-01-01T00:00:00.000000Z~1"},
        ):
            with pytest.raises(Invalid):
                list_view.load_list(session, ALL, VIEWER, **wrong)  # type: ignore[arg-type]


@pytest.mark.both_databases
def test_filters_hold_in_every_lane(engine: Engine) -> None:
    for tags in (["bug"], ["infra"]):
        move(engine, make(engine, tags=tags), "block", reason="dependency", owner="bob", next_action="Answer the mail")
    with reading(engine) as session:
        lane = lanes.load_lane(session, "stuck", Filters(tag="bug"), VIEWER)
        assert (lane.count, [card.tags[0].name for card in lane.cards]) == ("1", ["bug"])


@pytest.mark.both_databases
def test_a_lane_goes_on_where_it_ended_whatever_causes_meet_in_it(engine: Engine) -> None:
    ticket_ids = [stick(engine, cause) for cause in ("blocked", "overdue", "exhausted", "blocked")]
    with reading(engine) as session:
        first = lanes.load_lane(session, "stuck", ALL, VIEWER, size=3)
        rest = lanes.load_lane(session, "stuck", ALL, VIEWER, first.next_cursor, 3)
    identifiers = [card.identifier for card in (*first.cards, *rest.cards)]
    with reading(engine) as session:
        oldest = sorted((get_ticket(session, ticket).moved, ticket) for ticket in ticket_ids)
    assert (identifiers, rest.next_cursor) == ([f"MC-{ticket}" for _, ticket in oldest], None)


@pytest.mark.parametrize("view", ["columns", "lanes", "list"])
def test_the_number_of_queries_does_not_grow_with_the_cards(engine: Engine, view: str) -> None:
    read: Any = {"columns": columns.load_columns, "lanes": lanes.load_lanes, "list": list_view.load_list}[view]
    statements: list[str] = []
    listen = ("before_cursor_execute", lambda *seen: statements.append(seen[2]))

    def queries() -> int:
        statements.clear()
        with reading(engine) as session:
            read(session, ALL, VIEWER)
        return len(statements)

    for cause in ("blocked", "unheard", "overslept", "overdue"):
        stick(engine, cause)
    event.listen(engine, *listen)
    try:
        few = queries()
        event.remove(engine, *listen)
        for cause in ("blocked", "unheard", "overslept", "overdue"):
            set_values(engine, stick(engine, cause), priority=2)
        event.listen(engine, *listen)
        assert queries() == few
    finally:
        event.remove(engine, *listen)
