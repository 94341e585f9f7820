"""Approval decides what becomes of the work; a door does it, and only its word makes the ticket done."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update
from sqlalchemy.orm import Session

from database import reading, writing
from models import (
    ActorKind,
    CommentKind,
    Evidence,
    EvidenceStatus,
    InboxItem,
    InboxState,
    Landing,
    LandingState,
    Program,
    Project,
    Run,
    Ticket,
    TicketComment,
    TicketEvent,
    TicketStatus,
    now,
)
from tickets.board import columns, list_view, overview, ticket_header
from tickets.board.columns import Filters, Viewer
from tickets.board.status_reason import StatusReason
from tickets.dispatch import dispatch_plan, policy
from tickets.lifecycle import transitions, undo
from tickets.runs import claims, landing_results, reports, verdicts
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import CannotLand, Forbidden, IllegalMove, Invalid, LandingPending
from tickets.team import projects
from tickets.team.projects import NewProject
from tickets.workflow import branch_states, landing
from tickets.workflow.branch_states import TrialResult
from tickets.workflow.landing import LandingPlan

from .test_spine import ALICE, make

BOB = Actor(ActorKind.ORCHESTRATOR, "bob")
SHA = "c0ffee" + "0" * 34
SEEN: dict[str, Any] = {
    "head_sha": SHA,
    "commits": [{"sha": SHA, "subject": "Add a line"}],
    "files_changed": 1,
}


def project(session: Session, landing: str = "merge") -> Project:
    existing = session.scalar(select(Project).where(Project.slug == "web"))
    if existing is not None:
        existing.landing = Landing(landing)
        return existing
    return projects.add_project(
        session, NewProject(slug="web", name="Web", folder="/srv/web", landing=Landing(landing)), ALICE
    )


def work(engine: Engine, ticket_id: int, verdict: str = "review", host: str = "here", **seen: Any) -> None:
    """A run that commits and hands in."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, host).run
        claims.record_workspace(
            session, run.id, repository="/srv/web", branch="mc/MC-1-write-a-line", base_sha="b" * 40
        )
        body = reports.RunReport.model_validate({"verdict": verdict, "summary": "Done.", "observations": SEEN | seen})
        assert reports.apply_report(session, run.id, body, reports.RetryPolicy()).accepted


def handed_in(engine: Engine, landing: str = "merge", **facts: Any) -> int:
    """A ticket whose work is in review, in a project of this policy."""
    with writing(engine) as session:
        project(session, landing)
    ticket_id = make(engine, project="web", **facts)
    work(engine, ticket_id)
    return ticket_id


def move(engine: Engine, ticket_id: int, name: str, /, actor: Actor = ALICE, **facts: Any) -> Ticket:
    with writing(engine) as session:
        return transitions.transition(session, ticket_id, name, actor, **facts)


def plan_of(ticket: Ticket) -> LandingPlan:
    plan = landing.get_plan(ticket)
    assert plan is not None
    return plan


def pending(engine: Engine, landing: str = "merge", **facts: Any) -> tuple[int, LandingPlan]:
    ticket_id = handed_in(engine, landing, **facts)
    return ticket_id, plan_of(move(engine, ticket_id, "approve"))


def get(engine: Engine, ticket_id: int) -> Ticket:
    with reading(engine) as session:
        return lookup.get_ticket(session, ticket_id)


def comments(engine: Engine, ticket_id: int) -> list[TicketComment]:
    with reading(engine) as session:
        query = select(TicketComment).where(TicketComment.ticket_id == ticket_id).order_by(TicketComment.id)
        return list(session.scalars(query))


# What approval decides


def test_approval_records_the_decision_and_stays_in_review(engine: Engine) -> None:
    ticket_id = handed_in(engine)
    approved = move(engine, ticket_id, "approve")
    assert (approved.status, approved.landing) == (TicketStatus.IN_REVIEW, LandingState.PENDING)
    plan = plan_of(approved)
    assert (plan.policy, plan.commit, plan.branch, plan.base) == (Landing.MERGE, SHA, "mc/MC-1-write-a-line", "main")
    assert landing.describe_landing(approved) == "Approved by alice; merging into main."
    with reading(engine) as session:
        event_row = session.scalars(select(TicketEvent).order_by(TicketEvent.id.desc())).first()
        assert event_row is not None and event_row.payload_json["landing"] == "merge"
        assert [ticket.id for ticket in landing_results.list_pending(session, "here")] == [ticket_id]
        assert landing_results.list_pending(session, "elsewhere") == []


def test_a_project_that_leaves_the_branch_is_done_at_once(engine: Engine) -> None:
    assert move(engine, handed_in(engine, "leave"), "approve").status is TicketStatus.DONE


@pytest.mark.parametrize("landing_policy", list(Landing))
def test_who_approves_may_choose_another_way_for_this_once(engine: Engine, landing_policy: Landing) -> None:
    approved = move(engine, handed_in(engine, "squash"), "approve", landing=landing_policy)
    if landing_policy is Landing.LEAVE:
        assert (approved.status, approved.landing) == (TicketStatus.DONE, None)
    else:
        assert plan_of(approved).policy is landing_policy


def test_a_program_keeps_to_the_policy_of_the_project(engine: Engine) -> None:
    ticket_id = handed_in(engine, "leave")
    with pytest.raises(Forbidden, match="Only a person"):
        move(engine, ticket_id, "approve", BOB, landing="push")
    assert move(engine, ticket_id, "approve", BOB, landing="leave").status is TicketStatus.DONE


def test_what_no_commit_was_seen_of_is_only_closed(engine: Engine) -> None:
    with writing(engine) as session:
        project(session)
    ticket_id = make(engine, project="web")
    work(engine, ticket_id, commits=[], files_changed=0)
    with pytest.raises(CannotLand, match="nothing to land"):
        move(engine, ticket_id, "approve", landing="merge", waive="It was only a question.")
    assert move(engine, ticket_id, "approve", waive="It was only a question.").status is TicketStatus.DONE
    alone = make(engine)
    work(engine, alone)
    assert move(engine, alone, "approve").status is TicketStatus.DONE


def test_only_the_last_phase_lands_and_its_decision_is_kept_until_then(engine: Engine) -> None:
    phases = [{"name": "Dev", "agent": "script"}, {"name": "QA", "agent": "script", "choices": ["ship", "wait"]}]
    ticket_id = handed_in(engine, assigned_to=None, phases=phases)
    with reading(engine) as session:
        assert landing.find_landing_options(session, [lookup.get_ticket(session, ticket_id)]) == {}
    with pytest.raises(CannotLand):
        move(engine, ticket_id, "approve", landing="squash")
    assert move(engine, ticket_id, "approve").status is TicketStatus.TODO
    work(engine, ticket_id)
    with pytest.raises(Invalid, match="decision"):
        move(engine, ticket_id, "approve")
    plan = plan_of(move(engine, ticket_id, "approve", choice="ship"))
    assert get(engine, ticket_id).phase == "QA"
    with writing(engine) as session:
        assert landing_results.record_success(session, ticket_id, plan, "Merged.", {})
    assert get(engine, ticket_id).status is TicketStatus.DONE


@pytest.mark.parametrize("gate", ["none", "checks"])
def test_work_that_completes_by_itself_lands_too(engine: Engine, gate: str) -> None:
    with writing(engine) as session:
        project(session)
    ticket_id = make(engine, project="web", gate=gate)
    work(engine, ticket_id, "done")
    ticket = get(engine, ticket_id)
    assert (ticket.status, ticket.landing) == (TicketStatus.IN_REVIEW, LandingState.PENDING)
    assert landing.describe_landing(ticket) == "Completed by script; merging into main."
    with reading(engine) as session:
        assert session.scalars(select(InboxItem)).all() == [], "nobody is asked for a review"


def test_what_was_waived_is_not_checked_again(engine: Engine) -> None:
    ticket_id = handed_in(engine, acceptance=[{"text": "The page loads."}])
    assert plan_of(move(engine, ticket_id, "approve", waive="Seen.")).waived == "Seen."


@pytest.mark.parametrize("installed", [False, None, True])
def test_a_pull_request_needs_a_program_that_opens_it(engine: Engine, installed: bool | None) -> None:
    ticket_id = handed_in(engine, "pull_request")
    with writing(engine) as session:
        for name in ("gh", "glab") if installed is not None else ():
            session.add(Program(host="here", name=name, found=installed and name == "gh", checked=now()))
    if installed is False:
        with pytest.raises(CannotLand, match="gh or glab, and neither is installed on here"):
            move(engine, ticket_id, "approve")
        with writing(engine) as session:
            project(session, "merge")
        with reading(engine) as session:
            ways = landing.find_landing_options(session, [lookup.get_ticket(session, ticket_id)])[ticket_id]
        assert Landing.PULL_REQUEST not in ways and ways[0] is Landing.MERGE
    else:
        assert plan_of(move(engine, ticket_id, "approve")).policy is Landing.PULL_REQUEST


def test_the_board_asks_no_more_for_many_tickets_than_for_one(engine: Engine) -> None:
    queries: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: queries.append(given[2]))

    def statements() -> int:
        queries.clear()
        with reading(engine) as session:
            columns.load_columns(session, Filters(), Viewer(ALICE, policy.DispatchLimits()))
        return len(queries)

    handed_in(engine)
    one = statements()
    for _ in range(3):
        handed_in(engine)
    assert statements() == one


# While it is pending


@pytest.mark.both_databases
def test_a_second_approval_is_refused_by_name(engine: Engine) -> None:
    ticket_id, _ = pending(engine)
    with pytest.raises(LandingPending, match=r"already approved\. Approved by alice; merging into main\."):
        move(engine, ticket_id, "approve")
    with reading(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        actor_context = transitions.load_actor_contexts(session, [ticket], ALICE)[ticket_id]
        move_names = {
            definition.name
            for definition in transitions.list_moves(transitions.build_move_context(ticket, actor_context))
        }
        assert "approve" not in move_names and {"request_changes", "park", "block", "close", "cancel"} <= move_names
        assert landing.find_landing_options(session, [ticket]) == {}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("request_changes", {"body": "Wait."}),
        ("park", {"wake": {"kind": "manual"}}),
        ("block", {"reason": "needs_human", "owner": "alice", "next_action": "Look."}),
        ("close", {"note": "Merged by hand."}),
        ("cancel", {}),
    ],
)
def test_any_other_move_drops_it(engine: Engine, name: str, facts: dict[str, Any]) -> None:
    ticket_id, plan = pending(engine)
    ticket = move(engine, ticket_id, name, **facts)
    assert (ticket.landing, ticket.landing_plan) == (None, None)
    with writing(engine) as session:
        assert landing_results.list_pending(session, "here") == []
        assert (
            landing_results.record_success(session, ticket_id, plan, "Merged into main as c0ffee.", {"commit": SHA})
            is False
        )
        assert not landing_results.record_failure(
            session, ticket_id, plan, "No."
        ) and not landing_results.send_back_conflicts(session, ticket_id, plan, ["a"])
    assert get(engine, ticket_id).status is ticket.status
    comment = comments(engine, ticket_id)[-1]
    assert comment.body == "Merged into main as c0ffee. The ticket was moved while that was done."
    assert comment.seq == get(engine, ticket_id).event_seq, "an event tells the open pages of it"


@pytest.mark.both_databases
def test_an_earlier_landing_does_not_count_for_a_later_one(engine: Engine) -> None:
    ticket_id, first = pending(engine)
    move(engine, ticket_id, "request_changes", body="Again.")
    work(engine, ticket_id)
    second = plan_of(move(engine, ticket_id, "approve"))
    assert second.key != first.key
    with writing(engine) as session:
        assert not landing_results.record_failure(session, ticket_id, first, "No.")
        assert landing_results.is_awaited(session, ticket_id, second)


def test_a_move_that_is_taken_back_brings_the_landing_back(engine: Engine) -> None:
    ticket_id, plan = pending(engine)
    with writing(engine) as session:
        session.execute(update(Run).values(ended=Run.started))
    move(engine, ticket_id, "park", wake={"kind": "manual"})
    with writing(engine) as session:
        undo.undo_move(session, str(ticket_id), ALICE)
        assert landing_results.is_awaited(session, ticket_id, plan)


@pytest.mark.both_databases
def test_it_is_neither_dispatched_nor_anybodys_to_do(engine: Engine) -> None:
    ticket_id, _ = pending(engine)
    with reading(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        assert dispatch_plan.plan_dispatch(session, policy.DispatchLimits()).claim == []
        status = next(
            gate
            for gate in policy.check_ticket(session, ticket, None, policy.DispatchLimits())
            if gate.name == "status"
        )
        assert (status.ok, status.detail) == (
            False,
            "Its state is In review, not To do. Approved by alice; merging into main.",
        )
        viewer = Viewer(ALICE, policy.DispatchLimits())
        card = columns.load_column(session, "in_review", Filters(), viewer).cards[0]
        reason = StatusReason("landing", "Approved by alice; merging into main.")
        assert (card.needs_you, card.reason) == (False, reason)
        assert overview.list_needs(session) == [] and overview.count_needs(session) == 0
        assert list_view.load_list(session, Filters(), viewer, status="needs_you").cards == []
        assert ticket_header.describe_next_action(ticket, None) == "Merging into main"


# What comes of it


@pytest.mark.both_databases
def test_what_was_landed_is_a_fact_and_makes_it_done(engine: Engine) -> None:
    ticket_id, plan = pending(engine, "pull_request")
    data = {"remote": "origin", "address": "https://github.example/a/pull/5"}
    with writing(engine) as session:
        assert landing_results.record_success(session, ticket_id, plan, "Opened a pull request.", data)
        fact = session.scalars(select(Evidence).where(Evidence.kind == "landing")).one()
    assert (fact.status, fact.summary, fact.run_id) == (EvidenceStatus.OK, "Opened a pull request.", plan.run)
    assert fact.data is not None and fact.data.items() >= {"policy": "pull_request", **data}.items()
    ticket = get(engine, ticket_id)
    assert (ticket.status, ticket.landing, ticket.closed is not None) == (TicketStatus.DONE, None, True)
    comment = comments(engine, ticket_id)[-1]
    assert (comment.body, comment.kind, comment.data) == (
        "Opened a pull request.",
        CommentKind.SYSTEM,
        {"address": data["address"]},
    )


def test_a_conflict_goes_back_to_the_agent_with_the_files(engine: Engine) -> None:
    ticket_id, plan = pending(engine)
    with writing(engine) as session:
        assert landing_results.send_back_conflicts(session, ticket_id, plan, ["a.txt", "b.txt"])
    ticket = get(engine, ticket_id)
    assert (ticket.status, ticket.resume, ticket.landing) == (TicketStatus.TODO, True, None)
    comment = comments(engine, ticket_id)[-1]
    assert comment.kind is CommentKind.FEEDBACK and comment.author == "mission-control"
    assert "It conflicts with main in `a.txt`, `b.txt`." in comment.body and "git merge main" in comment.body


def test_what_failed_needs_a_person_and_may_be_tried_again(engine: Engine) -> None:
    ticket_id, plan = pending(engine)
    with writing(engine) as session:
        assert landing_results.record_failure(session, ticket_id, plan, "git is away. Bring it back.")
    ticket = get(engine, ticket_id)
    assert (ticket.status, ticket.landing) == (TicketStatus.IN_REVIEW, LandingState.FAILED)
    failure_text = "Approved by alice, but not merged into main. git is away. Bring it back."
    assert landing.describe_landing(ticket) == failure_text
    with reading(engine) as session:
        items = session.scalars(select(InboxItem).where(InboxItem.state == InboxState.PENDING)).all()
        assert [item.kind for item in items] == ["landing"]
        card = columns.load_column(session, "in_review", Filters(), Viewer(ALICE, policy.DispatchLimits())).cards[0]
        assert (card.needs_you, card.reason) == (True, StatusReason("unlanded", failure_text))
        assert [item["line"] for item in overview.list_needs(session)] == [failure_text]
        assert ticket_header.describe_next_action(ticket, None) == "Approve again"
        assert landing_results.list_pending(session, "here") == []
    again = plan_of(move(engine, ticket_id, "approve", landing="squash"))
    assert (again.policy, again.reason, again.key != plan.key) == (Landing.SQUASH, None, True)
    with reading(engine) as session:
        assert overview.count_needs(session) == 0
        assert not session.scalars(select(InboxItem).where(InboxItem.state == InboxState.PENDING)).all()


def test_a_failed_landing_may_be_closed_by_hand(engine: Engine) -> None:
    ticket_id, plan = pending(engine)
    with writing(engine) as session:
        landing_results.record_failure(session, ticket_id, plan, "No.")
    ticket = move(engine, ticket_id, "close", note="Merged by hand.")
    assert (ticket.status, ticket.landing) == (TicketStatus.DONE, None)


def test_only_the_door_lands(engine: Engine) -> None:
    ticket_id, _ = pending(engine)
    for actor in (ALICE, BOB):
        with pytest.raises(IllegalMove):
            move(engine, ticket_id, "land", actor, body="Merged.")


def test_work_that_nobody_has_looked_at_does_not_go_round_for_ever(engine: Engine) -> None:
    with writing(engine) as session:
        project(session)
    ticket_id = make(engine, project="web", gate="none")
    for _ in range(verdicts.MAX_SEND_BACKS):
        work(engine, ticket_id, "done")
        with writing(engine) as session:
            landing_results.send_back_failed_check(
                session, ticket_id, plan_of(lookup.get_ticket(session, ticket_id)), "make", "exit 1", "no ```"
            )
        assert get(engine, ticket_id).status is TicketStatus.TODO
    assert "````text\nno ```\n````" in comments(engine, ticket_id)[-1].body
    work(engine, ticket_id, "done")
    with writing(engine) as session:
        landing_results.send_back_conflicts(
            session, ticket_id, plan_of(lookup.get_ticket(session, ticket_id)), ["a.txt"]
        )
    ticket = get(engine, ticket_id)
    assert (ticket.status, ticket.landing) == (TicketStatus.IN_REVIEW, LandingState.FAILED)
    assert "It has been sent back 3 times already" in (landing.describe_landing(ticket) or "")


def test_an_approved_conflict_always_goes_back(engine: Engine) -> None:
    ticket_id = handed_in(engine)
    for _ in range(verdicts.MAX_SEND_BACKS + 1):
        plan = plan_of(move(engine, ticket_id, "approve"))
        with writing(engine) as session:
            landing_results.send_back_conflicts(session, ticket_id, plan, ["a.txt"])
        assert get(engine, ticket_id).status is TicketStatus.TODO
        work(engine, ticket_id)


def test_overlaps_with_one_ticket_leave_room_for_those_with_others(engine: Engine) -> None:
    spans = {"a.py": [(line, line) for line in range(30)]}
    ids = [make(engine) for _ in range(3)]
    with writing(engine) as session:
        session.execute(update(Ticket).values(status=TicketStatus.IN_REVIEW))
        trials = [TrialResult(ticket_id, SHA, SHA, "main", SHA, spans=spans) for ticket_id in ids]
        branch_states.record_trials(session, trials)
        overlaps = branch_states.compute_overlaps(session)
    others = [{overlap.ticket for overlap in overlaps[ticket_id]} for ticket_id in ids]
    assert others == [{"MC-2", "MC-3"}, {"MC-1", "MC-3"}, {"MC-1", "MC-2"}]
