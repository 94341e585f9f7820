"""The orchestrator's inbox: leases, actions and failures."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import ActorKind, InboxItem, InboxState, Ticket, TicketComment, TicketEvent, now
from tickets.lifecycle import effects, transitions
from tickets.operations import inbox_items
from tickets.operations.inbox_items import CommentAction, MoveAction, NewItem, NoAction, TicketAction
from tickets.runs import claims, reports
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, IllegalMove, Invalid
from tickets.shared.inputs import NewTicket

from .test_spine import make

pytestmark = pytest.mark.both_databases
ONE, OTHER = (Actor(ActorKind.ORCHESTRATOR, name) for name in ("coordinator", "deputy"))
ALICE = Actor.human("alice")
SWEEP = Actor.system("operator")
LEASE = 900


def file_item(engine: Engine, ticket: str | None = None) -> int:
    with writing(engine) as session:
        return inbox_items.file_item(session, NewItem(kind="finding", title="Look", ticket=ticket), SWEEP).id


def list_ids(engine: Engine, state: InboxState) -> list[int]:
    with reading(engine) as session:
        return [item.id for item, _ in inbox_items.list_items(session, state)]


def test_an_item_is_leased_to_one_and_falls_back_when_the_lease_runs_out(engine: Engine) -> None:
    first, second = file_item(engine), file_item(engine)
    with writing(engine) as session:
        for actor, expected in ((ONE, first), (OTHER, second), (OTHER, None)):
            item = inbox_items.deliver_next(session, actor, LEASE)
            assert (item.id if item else None) == expected
    with pytest.raises(ConflictError, match="delivered to coordinator"), writing(engine) as session:
        inbox_items.deliver_item(session, first, OTHER, LEASE)
    assert (list_ids(engine, InboxState.PENDING), list_ids(engine, InboxState.DELIVERED)) == ([], [first, second])

    with writing(engine) as session:
        session.execute(update(InboxItem).values(lease_until=now() - timedelta(seconds=1)))
    assert (list_ids(engine, InboxState.PENDING), list_ids(engine, InboxState.DELIVERED)) == ([first, second], [])
    with writing(engine) as session:
        item = inbox_items.deliver_item(session, first, OTHER, LEASE)
        assert (item.delivered_to, item.deliveries) == ("deputy", 2)
    with pytest.raises(ConflictError, match="delivered to deputy"), writing(engine) as session:
        inbox_items.act_on_item(session, first, NoAction(type="none", reason="late"), ONE)
    with writing(engine) as session:  # nobody else has taken it since
        inbox_items.fail_item(session, second, "It cannot be reached.", OTHER)
    assert list_ids(engine, InboxState.FAILED) == [second]


def test_an_item_is_acted_on_with_its_action_or_not_at_all(engine: Engine) -> None:
    make(engine)
    items = [file_item(engine, "MC-1") for _ in range(4)]
    with writing(engine) as session:
        for item in items:
            inbox_items.deliver_item(session, item, ONE, LEASE)
    with pytest.raises(IllegalMove), writing(engine) as session:
        inbox_items.act_on_item(session, items[0], MoveAction(type="move", move="approve"), ONE)
    for facts in ({"role": "human"}, {"actor": "alice"}, {"run": 1}, {"version": 1}):
        with pytest.raises(Invalid), writing(engine) as session:  # the facts are of the move, not of who makes it
            inbox_items.act_on_item(session, items[0], MoveAction(type="move", move="cancel", facts=facts), ONE)
    assert list_ids(engine, InboxState.ACTED) == [], "a refused action leaves the item to its holder"

    facts = {"reason": "environment", "owner": "alice", "next_action": "Log the agent in."}
    actions: tuple[inbox_items.Action, ...] = (
        MoveAction(type="move", move="block", facts=facts),
        CommentAction(type="comment", body="Seen."),
        TicketAction(type="ticket", ticket=NewTicket(title="Renew the log-in")),
        NoAction(type="none", reason="It is a duplicate."),
    )
    for item, action in zip(items, actions, strict=True):
        with writing(engine) as session:
            inbox_items.act_on_item(session, item, action, ONE)
    with reading(engine) as session:
        tickets = session.execute(select(Ticket.title, Ticket.status).order_by(Ticket.id)).all()
        assert [row.status.value for row in tickets] == ["blocked", "todo"] and tickets[1].title == "Renew the log-in"
        comments = list(session.scalars(select(TicketComment.body).order_by(TicketComment.id)))
        rows = {row.id: row for row in session.scalars(select(InboxItem))}
        kinds = session.scalars(select(TicketEvent.event_type).where(TicketEvent.event_type.startswith("inbox_acted")))
        assert len(list(kinds)) == 4
    assert {row.state for row in rows.values()} == {InboxState.ACTED}
    assert rows[items[2]].action == {**actions[2].model_dump(mode="json"), "created": "MC-2"}
    control = comments[0].splitlines()
    assert control[0].startswith("[controller repair · 20") and control[0].endswith("Z]")
    assert control[1:] == [
        "- Before: To do, owner script",
        "- After: Blocked, owner script",
        "- Reason: Log the agent in.",
    ]
    assert comments[1] == "Seen."
    with pytest.raises(ConflictError, match="already ended as acted"), writing(engine) as session:
        inbox_items.act_on_item(session, items[3], actions[3], ALICE)


def test_the_inbox_is_read_in_pages_and_takes_no_more_than_its_limit(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox_items, "MAX_OPEN_ITEMS", 3)
    ids = [file_item(engine) for _ in range(3)]
    with pytest.raises(ConflictError, match="The inbox is full"):
        file_item(engine)
    with reading(engine) as session:
        first = inbox_items.list_items(session, InboxState.PENDING, limit=2)
        second = inbox_items.list_items(session, InboxState.PENDING, first[-1][0].id, limit=2)
    assert [item.id for item, _ in (*first, *second)] == ids
    with writing(engine) as session:
        inbox_items.dismiss_item(session, ids[0], "Known.", ALICE)
    assert file_item(engine) > ids[-1], "a settled item makes place"


def test_only_the_orchestrator_and_people_work_the_inbox(engine: Engine) -> None:
    item = file_item(engine)
    service = Actor(ActorKind.SERVICE, "sweep")
    with pytest.raises(Forbidden), writing(engine) as session:
        inbox_items.deliver_item(session, item, service, LEASE)
    with pytest.raises(ConflictError, match="Deliver it first"), writing(engine) as session:
        inbox_items.fail_item(session, item, "no", ONE)
    with writing(engine) as session:
        inbox_items.dismiss_item(session, item, "Known.", ALICE)
        inbox_items.file_item(session, NewItem(kind="finding", title="More"), service)
        assert inbox_items.count_open(session) == 1


def test_a_question_answered_through_the_inbox_settles_its_item_once(engine: Engine) -> None:
    make(engine)
    with writing(engine) as session:
        session.execute(update(Ticket).values(status="needs_input"))
        session.add(InboxItem(kind="question", ticket_id=1, title="MC-1"))
        item = inbox_items.deliver_next(session, ONE, LEASE)
        assert item is not None
        answer = MoveAction(type="move", move="answer", facts={"body": "Blue."})
        inbox_items.act_on_item(session, item.id, answer, ONE)
    with reading(engine) as session:
        row = session.scalars(select(InboxItem)).one()
        assert row.action is not None and row.action["facts"] == {"body": "Blue."}
        assert session.get_one(Ticket, 1).status.value == "todo"


def test_a_release_by_the_orchestrator_explains_itself(engine: Engine) -> None:
    make(engine)
    with writing(engine) as session:
        session.execute(update(Ticket).values(status="in_progress"))
        transitions.transition(session, 1, "release", ONE, note="Its agent is gone.")
    with reading(engine) as session:
        body = session.scalars(select(TicketComment.body)).one()
    assert body.startswith("[controller release · ") and "- Reason: Its agent is gone." in body


def test_two_agents_do_not_talk_to_each_other_for_ever(engine: Engine) -> None:
    """The orchestrator answered each question of an agent, whose next run asked again, until a budget ended it."""
    ticket_id = make(engine)

    def ask() -> None:
        with writing(engine) as session:
            run = claims.claim_ticket(session, ticket_id, "here").run
            report = {"verdict": "question", "summary": "Which one?"}
            reports.apply_report(session, run.id, reports.RunReport.model_validate(report), reports.RetryPolicy())

    def answer(actor: Actor) -> None:
        with writing(engine) as session:
            transitions.transition(session, ticket_id, "answer", actor, body="The left one.")

    for _ in range(effects.MAX_ORCHESTRATOR_ROUNDS):
        ask()
        answer(ONE)
    ask()
    with pytest.raises(Forbidden, match="A person decides"):
        answer(OTHER)
    answer(ALICE)
    ask()
    answer(ONE)
