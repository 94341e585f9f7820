"""The law of tickets: every state, move and kind of actor; and that nothing else writes a state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

from cli.lifecycle_reference import render_lifecycle
from database import reading, writing
from models import ActorKind, InboxItem, InboxState, Run, RunState, Ticket, TicketComment, TicketEvent, TicketStatus
from tickets.conversation import timeline
from tickets.lifecycle import moves, transitions
from tickets.lifecycle.moves import MOVES, Role
from tickets.runs import claims, heartbeat, reports
from tickets.shared.actors import Actor
from tickets.shared.errors import EvidenceMissing, IllegalMove, Invalid, NoSuchTicket, StaleTicket
from tickets.shared.inputs import NewTicket
from tickets.workflow import wake_conditions

from .test_spine import ALICE, make

FACTS: dict[str, dict[str, Any]] = {
    "ask": {"question": {}, "body": "Which?"},
    "answer": {"body": "That one."},
    "request_changes": {"body": "Again."},
    "send_back": {"body": "Not yet."},
    "park": {"wake": {"kind": "manual"}},
    "block": {"reason": "needs_human", "owner": "alice", "next_action": "Look."},
    "close": {"note": "Done elsewhere."},
    "land": {"body": "Merged."},
    "fail_landing": {"body": "Not merged."},
}
LANDING = {
    "policy": "merge",
    "key": 1,
    "by": "alice",
    "approved": True,
    "waived": None,
    "since": "2026-01-01T00:00:00Z",
    "run": 1,
    "host": "here",
    "repository": "/srv/code",
    "branch": "mc/MC-1",
    "commit": "a" * 40,
    "base": "main",
}
ACTORS = {
    Role.HUMAN: ALICE,
    Role.ORCHESTRATOR: Actor(ActorKind.ORCHESTRATOR, "bob"),
    Role.SYSTEM: Actor.system(),
    Role.PICKUP: Actor.system("pickup"),
    Role.LIVE_RUN: Actor(ActorKind.RUN, "script", 999_999, 1),
}
SERVICE = Actor(ActorKind.SERVICE, "charlie")


def force_status(session: Session, ticket_id: int, status: TicketStatus) -> None:
    """Bring a ticket into a state without going through the law: only a test may."""
    session.execute(update(Ticket).where(Ticket.id == ticket_id).values(status=status, return_to="todo"))


def put_landing(session: Session, ticket_id: int) -> None:
    """Let a ticket wait for its landing, likewise."""
    session.execute(update(Ticket).where(Ticket.id == ticket_id).values(landing="pending", landing_plan=LANDING))


def attempt(session: Session, ticket_id: int, move: str, actor: Actor) -> bool:
    try:
        transitions.transition(session, ticket_id, move, actor, **FACTS.get(move, {}))
    except IllegalMove:
        return False
    return True


@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_made_only_from_its_states_and_only_by_those_it_is_for(engine: Engine, move: str) -> None:
    definition = MOVES[move]
    for status in TicketStatus:
        for right, actor in [*ACTORS.items(), (None, SERVICE)]:
            ticket_id = make(engine)
            with writing(engine) as session:
                force_status(session, ticket_id, status)
                if move in moves.LANDING_MOVES:
                    put_landing(session, ticket_id)
                rights = {Role.SYSTEM, Role.PICKUP} if right is Role.PICKUP else {right}
                # The owner is a program, nobody holds the ticket: OWNER and LIVE_RUN moves are for nobody here.
                expected = status in definition.sources and bool(definition.by & rights - {Role.LIVE_RUN})
                assert attempt(session, ticket_id, move, actor) is expected, (status, move, right)


@pytest.mark.both_databases
def test_a_move_writes_one_event_and_counts_the_version_up(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        before = session.get_one(Ticket, ticket_id).version
        ticket = transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"}, priority="urgent")
        logged = session.scalars(select(TicketEvent).where(TicketEvent.event_type == "ticket_moved")).all()
        assert ticket.version == before + 1
        assert ticket.priority.label == "urgent"
        assert [event.payload_json["to"] for event in logged] == ["waiting"]


@pytest.mark.both_databases
def test_a_move_from_a_stale_reading_is_refused_and_changes_nothing(engine: Engine) -> None:
    ticket_id = make(engine)
    with pytest.raises(StaleTicket), writing(engine) as session:
        transitions.transition(session, ticket_id, "park", ALICE, version=7, wake={"kind": "manual"})
    with reading(engine) as session:
        assert session.get_one(Ticket, ticket_id).status is TicketStatus.TODO


@pytest.mark.both_databases
def test_a_refused_move_leaves_no_event_and_no_comment(engine: Engine) -> None:
    ticket_id = make(engine)
    with reading(engine) as session:
        before = session.scalar(select(func.count()).select_from(TicketEvent))
    with pytest.raises(IllegalMove), writing(engine) as session:
        transitions.transition(session, ticket_id, "approve", ALICE, note="Fine.")
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(TicketEvent)) == before
        assert session.scalar(select(func.count()).select_from(TicketComment)) == 0


def test_unknown_moves_facts_and_tickets_are_named(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        with pytest.raises(Invalid, match="no move named 'fly'"):
            transitions.transition(session, ticket_id, "fly", ALICE)
        with pytest.raises(Invalid) as wrong:
            transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "time"}, colour="red")
        assert wrong.value.detail["fields"].keys() == {"wake", "colour"}
        with pytest.raises(NoSuchTicket):
            transitions.transition(session, 4711, "park", ALICE, wake={"kind": "manual"})


def test_parking_a_running_ticket_asks_its_run_to_stop(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"})
    with writing(engine) as session:
        answer = heartbeat.record_heartbeat(session, run.id, heartbeat.RunHeartbeat(state="running"))
        assert answer["stop"]["code"] == "parked"
        assert session.get_one(Run, run.id).state is RunState.STOPPING


@pytest.mark.parametrize("origin", ["inbox", "todo", "needs_input", "in_review", "blocked"])
def test_a_parked_ticket_wakes_where_it_came_from(engine: Engine, origin: str) -> None:
    awaited, ticket_id = make(engine), make(engine)
    with writing(engine) as session:
        force_status(session, ticket_id, TicketStatus(origin))
        transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"})
        transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "ticket", "ticket": str(awaited)})
        assert transitions.transition(session, ticket_id, "wake", ALICE).status == origin


@pytest.mark.both_databases
def test_a_ticket_parked_in_progress_wakes_into_the_queue_and_resumes(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        claims.claim_ticket(session, ticket_id, "here")
        transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"})
        ticket = transitions.transition(session, ticket_id, "wake", ALICE)
        assert (ticket.status, ticket.resume) == (TicketStatus.TODO, True)


def test_whoever_did_the_work_cannot_approve_it(engine: Engine) -> None:
    ticket_id = make(engine)
    worker = Actor(ActorKind.ORCHESTRATOR, "script")
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(
            session, run.id, reports.RunReport(verdict="review", summary="Look."), reports.RetryPolicy()
        )
        with pytest.raises(IllegalMove, match="cannot approve"):
            transitions.transition(session, ticket_id, "approve", worker)
        assert "approve" not in [move.name for move in _list_moves(session, ticket_id, worker)]
        assert "approve" in [move.name for move in _list_moves(session, ticket_id, ALICE)]


def _list_moves(session: Session, ticket_id: int, actor: Actor) -> tuple[moves.Move, ...]:
    ticket = session.get_one(Ticket, ticket_id, populate_existing=True)
    actor_context = transitions.load_actor_contexts(session, [ticket], actor)[ticket_id]
    return transitions.list_moves(transitions.build_move_context(ticket, actor_context))


def test_approval_waits_for_unmet_acceptance_items_unless_waived_with_a_reason(engine: Engine) -> None:
    ticket_id = make(engine, acceptance=[{"text": "The page loads."}])
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(session, run.id, reports.RunReport(verdict="done"), reports.RetryPolicy())
    with pytest.raises(EvidenceMissing, match="The page loads"), writing(engine) as session:
        transitions.transition(session, ticket_id, "approve", ALICE)
    with writing(engine) as session:
        done = transitions.transition(session, ticket_id, "approve", ALICE, waive="Looked at it myself.")
        assert done.status is TicketStatus.DONE


@pytest.mark.both_databases
def test_a_question_files_one_inbox_item_and_its_answer_settles_it(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(
            session, run.id, reports.RunReport(verdict="question", summary="Which colour?"), reports.RetryPolicy()
        )
        assert [item.state for item in session.scalars(select(InboxItem))] == [InboxState.PENDING]
        ticket = transitions.transition(session, ticket_id, "answer", ALICE, body="Blue.")
        assert (ticket.status, ticket.resume) == (TicketStatus.TODO, True)
        session.expire_all()
        assert [item.state for item in session.scalars(select(InboxItem))] == [InboxState.ACTED]


def test_phases_are_worked_one_after_the_other(engine: Engine) -> None:
    phases = [{"name": "Dev", "agent": "script"}, {"name": "QA", "agent": "claude", "gate": "none"}]
    ticket_id = make(engine, assigned_to=None, phases=phases)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        reports.apply_report(session, run.id, reports.RunReport(verdict="done"), reports.RetryPolicy())
        second = transitions.transition(session, ticket_id, "approve", ALICE)
        assert (second.status, second.phase, second.assigned_to) == (TicketStatus.TODO, "QA", "claude")
        run = claims.claim_ticket(session, ticket_id, "here").run
        receipt = reports.apply_report(session, run.id, reports.RunReport(verdict="done"), reports.RetryPolicy())
        assert receipt.ticket.status is TicketStatus.DONE


@pytest.mark.parametrize("gate", ["none", "checks"])
def test_a_phase_that_ends_with_a_decision_waits_for_it_whatever_its_gate(engine: Engine, gate: str) -> None:
    """Regression: the report was refused for ever, and its ticket stayed in progress with nothing running."""
    phases = [{"name": "Choose", "agent": "script", "gate": gate, "choices": ["red", "blue"]}]
    ticket_id = make(engine, assigned_to=None, phases=phases)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        receipt = reports.apply_report(session, run.id, reports.RunReport(verdict="done"), reports.RetryPolicy())
        assert (receipt.accepted, receipt.ticket.status) == (True, TicketStatus.IN_REVIEW)
        assert transitions.transition(session, ticket_id, "approve", ALICE, choice="red").status is TicketStatus.DONE


def test_a_person_who_finishes_a_phase_hands_the_ticket_to_the_next(engine: Engine) -> None:
    """Regression: the ticket was done, and its later phases never came."""
    phases = [
        {"name": "Design", "agent": "operator", "choices": ["red", "blue"]},
        {"name": "Build", "agent": "script"},
    ]
    ticket_id = make(engine, assigned_to=None, phases=phases)
    with writing(engine) as session:
        transitions.transition(session, ticket_id, "start", ALICE)
        with pytest.raises(Invalid, match="decision"):
            transitions.transition(session, ticket_id, "finish", ALICE)
        ticket = transitions.transition(session, ticket_id, "finish", ALICE, choice="red")
    assert (ticket.status, ticket.phase, ticket.assigned_to) == (TicketStatus.TODO, "Build", "script")


def test_a_ticket_does_not_wait_for_itself(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session, pytest.raises(Invalid, match="itself"):
        wake_up = {"kind": "ticket", "ticket": str(ticket_id)}
        transitions.transition(session, ticket_id, "park", ALICE, wake=wake_up)


def test_a_parked_ticket_is_created_parked(engine: Engine) -> None:
    body = NewTicket.model_validate({"title": "Later", "status": "waiting", "wake": {"kind": "manual"}})
    with writing(engine) as session:
        ticket = transitions.create_ticket(session, body, ALICE)
        logged = session.scalars(select(TicketEvent.payload_json).where(TicketEvent.ticket_id == ticket.id)).all()
        assert [payload["status"] for payload in logged] == ["waiting"]


@pytest.mark.both_databases
def test_no_number_of_parked_tickets_hides_one_from_its_wake_condition(engine: Engine) -> None:
    """Regression: only the first few hundred parked tickets were looked at, whatever they waited for."""
    with writing(engine) as session:
        for kind in ["manual"] * 510 + ["answer", "probe"]:
            facts = {"title": kind, "status": "waiting", "wake": {"kind": kind, "probe": ["true"]}}
            transitions.create_ticket(session, NewTicket.model_validate(facts), ALICE)
        asking = session.scalars(select(Ticket).where(Ticket.title == "answer")).one()
        timeline.add_comment(session, asking.id, timeline.NewComment(body="Blue."), ALICE)
    with reading(engine) as session:
        assert [
            ticket.title
            for ticket in [*wake_conditions.list_answered(session), *wake_conditions.list_awaiting_probe(session)]
        ] == [
            "answer",
            "probe",
        ]


def test_a_ticket_does_not_wait_for_an_agent_that_nobody_knows(engine: Engine) -> None:
    ticket_id = make(engine)
    idle = {"kind": "agent_idle", "agent": "sript", "minutes": 5}
    with writing(engine) as session, pytest.raises(Invalid):
        transitions.transition(session, ticket_id, "park", ALICE, wake=idle)


@pytest.mark.both_databases
def test_commands_that_never_succeed_do_not_keep_others_from_being_tried(engine: Engine) -> None:
    with writing(engine) as session:
        for title in ("first", "second"):
            facts = {"title": title, "status": "waiting", "wake": {"kind": "probe", "probe": ["true"]}}
            transitions.create_ticket(session, NewTicket.model_validate(facts), ALICE)
    with reading(engine) as session:
        tried = {wake_conditions.list_awaiting_probe(session, limit=1)[0].title for _ in range(64)}
    assert tried == {"first", "second"}


def test_the_lifecycle_document_is_what_the_law_says() -> None:
    document = (Path(__file__).parent.parent / "docs" / "lifecycle.md").read_text()
    assert document == render_lifecycle(), "run: bin/mc lifecycle > docs/lifecycle.md"
