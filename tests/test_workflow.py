"""Phases: who works which, what hands a ticket on, what sends it back, and what people may plan."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from database import reading, writing
from models import ActorKind, Evidence, EvidenceSource, EvidenceStatus, Run, Ticket, TicketEvent
from tickets.conversation import messages, timeline
from tickets.lifecycle import editing, transitions, undo
from tickets.planning import phase_editing
from tickets.planning.phase_editing import ArrangePhases, BeginWorkflow, DecidePhase, PhasesConflict, WaivePhase
from tickets.runs import claims, prompt, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, IllegalMove, Invalid, StaleTicket
from tickets.shared.inputs import EditTicket
from tickets.workflow import ticket_phases

from .test_spine import ALICE, make

PATIENT = reports.RetryPolicy(backoff_seconds=0)
DEV = {"name": "Dev", "agent": "script", "gate": "reviewer"}
REVIEW = {"name": "Review", "agent": "claude", "gate": "none"}
QA = {"name": "QA", "agent": "codex", "gate": "none"}


def phased(engine: Engine, *phases: dict[str, Any], **facts: Any) -> int:
    return make(engine, assigned_to=None, phases=list(phases), **facts)


def work(engine: Engine, ticket_id: int, verdict: str, summary: str = "So it is.") -> Ticket:
    """The ticket is picked up and its run reports."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        return reports.apply_report(
            session, run.id, reports.RunReport(verdict=verdict, summary=summary), PATIENT
        ).ticket


def move(engine: Engine, ticket_id: int, name: str, actor: Actor = ALICE, **facts: Any) -> Ticket:
    with writing(engine) as session:
        return transitions.transition(session, ticket_id, name, actor, **facts)


def stands(ticket: Ticket) -> tuple[str, str | None, str | None]:
    return ticket.status.value, ticket.phase, ticket.assigned_to


def states(engine: Engine, ticket_id: int) -> dict[str, str]:
    with reading(engine) as session:
        return {phase.name: phase.state.value for phase in ticket_phases.list_phases(session, ticket_id)}


def prompt_of(engine: Engine, ticket_id: int) -> str:
    """What the next run is told."""
    with writing(engine) as session:
        claim = claims.claim_ticket(session, ticket_id, "here")
        text = prompt.compose_prompt(session, claim.ticket, claim.run)
        session.rollback()
    return text


def plan(engine: Engine, ticket_id: int, body: Any, actor: Actor = ALICE) -> Any:
    doing: dict[Any, Any] = {
        BeginWorkflow: phase_editing.begin_workflow,
        ArrangePhases: phase_editing.arrange_phases,
        WaivePhase: phase_editing.waive_phase,
        DecidePhase: phase_editing.decide_phase,
    }
    with writing(engine) as session:
        return doing[type(body)](session, lookup.get_ticket(session, ticket_id), body, actor)


# ------------------------------------------------------------------------------------------------------ from one to one


def test_a_reviewers_gate_is_answered_by_the_agent_of_the_next_phase(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    assert stands(work(engine, ticket_id, "done")) == ("todo", "Review", "claude")
    assert stands(work(engine, ticket_id, "done")) == ("done", "Review", "claude")
    assert states(engine, ticket_id) == {"Dev": "passed", "Review": "passed"}


def test_whoever_did_the_work_is_not_its_reviewer(engine: Engine) -> None:
    alone = phased(engine, DEV, REVIEW | {"agent": "script"})
    assert stands(work(engine, alone, "done"))[0] == "in_review"
    shared = phased(engine, DEV, REVIEW)
    work(engine, shared, "review")
    move(engine, shared, "request_changes", body="Go on, claude.", assigned_to="claude")
    work(engine, shared, "review")
    move(engine, shared, "request_changes", body="Go on, script.", assigned_to="script")
    assert stands(work(engine, shared, "done"))[0] == "in_review"


def test_a_reviewers_gate_without_a_next_phase_waits_for_a_person(engine: Engine) -> None:
    ticket_id = phased(engine, DEV)
    assert stands(work(engine, ticket_id, "done"))[0] == "in_review"


def test_review_leaves_any_phase_to_a_person(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, "review")) == ("in_review", "Review", "claude")


def test_a_reviewer_sends_the_ticket_back_with_feedback_and_sees_it_again(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    ticket = work(engine, ticket_id, "changes", "greet.txt lacks a line.")
    assert (stands(ticket), ticket.resume) == (("todo", "Dev", "script"), True)
    assert states(engine, ticket_id) == {"Dev": "current", "Review": "pending"}
    assert "**Review feedback by claude**:\n\ngreet.txt lacks a line." in prompt_of(engine, ticket_id)
    assert stands(work(engine, ticket_id, "done")) == ("todo", "Review", "claude")
    assert stands(work(engine, ticket_id, "done"))[0] == "done"
    with reading(engine) as session:
        outcomes = [
            (run.phase, run.outcome and run.outcome.value) for run in reversed(claims.list_runs(session, ticket_id))
        ]
    assert outcomes == [("Dev", "done"), ("Review", "changes"), ("Dev", "done"), ("Review", "done")]


@pytest.mark.both_databases
def test_what_qa_finds_goes_back_to_dev_and_through_review_again(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW, QA)
    work(engine, ticket_id, "done")
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, "changes", "It crashes.")) == ("todo", "Dev", "script")
    assert states(engine, ticket_id) == {"Dev": "current", "Review": "pending", "QA": "pending"}


def test_another_phase_sends_back_to_the_one_before_it(engine: Engine) -> None:
    ticket_id = phased(engine, DEV | {"name": "Design", "gate": "none"}, QA | {"name": "Build"})
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, "changes", "It cannot be built.")) == ("todo", "Design", "script")


@pytest.mark.parametrize("verdict", ["changes", "question"])
def test_a_verdict_of_nothing_but_blanks_is_taken_all_the_same(engine: Engine, verdict: str) -> None:
    """Regression: the report was refused for ever, and its ticket stayed in progress with nothing running."""
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, verdict, "  \n"))[0] in ("todo", "needs_input")


def test_changes_that_no_earlier_phase_can_take_up_are_left_to_a_person(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    assert stands(work(engine, ticket_id, "changes", "The ticket is unclear."))[:2] == ("in_review", "Dev")


def test_two_agents_do_not_send_a_ticket_back_and_forth_for_ever(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    for _ in range(3):
        work(engine, ticket_id, "done")
        assert stands(work(engine, ticket_id, "changes", "Still wrong."))[0] == "todo"
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, "changes", "Still wrong.")) == ("in_review", "Review", "claude")
    with writing(engine) as session:
        timeline.add_comment(session, ticket_id, timeline.NewComment(body="Once more."), ALICE)
    move(engine, ticket_id, "request_changes", body="Look again.", phase="Review")
    assert stands(work(engine, ticket_id, "changes", "Still wrong."))[:2] == ("todo", "Dev")


def test_what_a_person_finds_in_a_judging_phase_goes_to_whoever_made_it(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    work(engine, ticket_id, "review")
    assert stands(move(engine, ticket_id, "request_changes", body="Not so.")) == ("todo", "Dev", "script")


def test_a_person_may_name_the_phase_that_takes_up_the_changes(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    work(engine, ticket_id, "done")
    work(engine, ticket_id, "review")
    with pytest.raises(Invalid, match="No phase named 'Tests'"):
        move(engine, ticket_id, "request_changes", body="Look again.", phase="Tests")
    assert stands(move(engine, ticket_id, "request_changes", body="Look again.", phase="Review"))[1] == "Review"


def test_a_person_who_works_a_phase_may_send_the_ticket_back(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW | {"agent": "operator"})
    with pytest.raises(IllegalMove, match="no earlier phase"):
        _own(engine, ticket_id)
        move(engine, ticket_id, "send_back", body="Too early.")
    move(engine, ticket_id, "release", assigned_to="script")
    assert stands(work(engine, ticket_id, "done")) == ("todo", "Review", "operator")
    move(engine, ticket_id, "start")
    assert stands(move(engine, ticket_id, "send_back", body="A line is missing.")) == ("todo", "Dev", "script")


def _own(engine: Engine, ticket_id: int) -> None:
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        ticket.assigned_to = "operator"
    move(engine, ticket_id, "start")


def test_a_phase_goes_back_to_whoever_worked_it_though_it_names_nobody(engine: Engine) -> None:
    ticket_id = make(engine, phases=[{"name": "Dev", "gate": "none"}, REVIEW])
    work(engine, ticket_id, "done")
    assert stands(work(engine, ticket_id, "changes", "No.")) == ("todo", "Dev", "script")


def test_acceptance_counts_in_the_last_phase_alone(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW, acceptance=[{"text": "The page loads."}])
    assert stands(work(engine, ticket_id, "done"))[1] == "Review"
    assert stands(work(engine, ticket_id, "done"))[0] == "in_review"


def test_failed_facts_keep_a_phase_from_being_handed_on(engine: Engine, tmp_path: Any) -> None:
    from tickets.team.projects import NewProject, add_project

    with writing(engine) as session:
        add_project(session, NewProject(slug="web", name="web", folder=str(tmp_path), base_branch="main"), ALICE)
    ticket_id = phased(engine, DEV, REVIEW, project="web")
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        observations = {"error": "gone"}
        report = reports.RunReport(verdict="done", observations=observations)
        assert stands(reports.apply_report(session, run.id, report, PATIENT).ticket)[:2] == ("in_review", "Dev")
        fact = select(Evidence.status).where(Evidence.source == EvidenceSource.FACT)
        assert session.scalars(fact).all() == [EvidenceStatus.FAILED]


def test_a_reopened_ticket_goes_on_in_its_last_phase(engine: Engine) -> None:
    ticket_id = phased(engine, DEV | {"gate": "none"}, REVIEW)
    work(engine, ticket_id, "done")
    work(engine, ticket_id, "done")
    assert stands(move(engine, ticket_id, "reopen")) == ("todo", "Review", "claude")
    assert states(engine, ticket_id) == {"Dev": "passed", "Review": "current"}


def test_a_reopened_ticket_whose_gates_were_all_waived_goes_on_too(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, acceptance=[{"text": "It loads."}])
    work(engine, ticket_id, "review")
    move(engine, ticket_id, "approve", waive="Seen by eye.")
    move(engine, ticket_id, "reopen")
    assert states(engine, ticket_id) == {"Dev": "current"}


def test_a_move_that_is_taken_back_takes_the_phases_with_it(engine: Engine) -> None:
    """Regression: the ticket stood in its phase again, and that phase was passed all the same."""
    ticket_id = phased(engine, {"name": "Design", "agent": "operator"}, QA)
    move(engine, ticket_id, "start")
    before = states(engine, ticket_id)
    move(engine, ticket_id, "finish")
    assert states(engine, ticket_id) == {"Design": "passed", "QA": "current"}
    with writing(engine) as session:
        undo.undo_move(session, str(ticket_id), ALICE)
    assert states(engine, ticket_id) == before


def test_the_prompt_says_where_the_phase_stands_and_what_it_may_do(engine: Engine) -> None:
    ticket_id = phased(engine, DEV | {"runbook": "docs/dev.md"}, REVIEW)
    first = prompt_of(engine, ticket_id)
    assert "phase Dev of Dev → Review" in first and "claude reviews the work next" in first
    assert "Runbook: docs/dev.md" in first and "CHANGES" not in first
    work(engine, ticket_id, "done")
    second = prompt_of(engine, ticket_id)
    assert "You judge what phase Dev made" in second and "goes back to Dev" in second
    assert "<!-- phase: Review -->" in second.partition(prompt.END_OF_DESCRIPTION)[0]


# ------------------------------------------------------------------------------------------------------------- planning


def test_a_ticket_is_given_phases_and_stands_in_the_first(engine: Engine) -> None:
    ticket_id = make(engine)
    ticket = plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [REVIEW, QA], "version": 1}))
    assert (stands(ticket), ticket.version) == (("todo", "Review", "claude"), 2)
    with pytest.raises(PhasesConflict, match="already has phases"):
        plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [DEV]}))


def test_what_is_in_review_is_the_first_phase_of_a_workflow_that_begins(engine: Engine) -> None:
    ticket_id = make(engine)
    work(engine, ticket_id, "review")
    plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [{"name": "Dev"}, REVIEW]}))
    assert stands(move(engine, ticket_id, "approve")) == ("todo", "Review", "claude")
    with reading(engine) as session:
        assert [run.phase for run in claims.list_runs(session, ticket_id)] == ["Dev"]


def test_a_ticket_that_is_worked_on_begins_with_whoever_works_on_it(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
    with pytest.raises(PhasesConflict, match="script works on the ticket"):
        plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [REVIEW]}))
    plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [DEV, REVIEW]}))
    with writing(engine) as session:
        ended = reports.apply_report(session, run.id, reports.RunReport(verdict="done"), PATIENT)
        assert stands(ended.ticket) == ("todo", "Review", "claude")


@pytest.mark.both_databases
def test_what_has_not_started_is_changed_and_put_in_another_order(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW, QA)
    plan(engine, ticket_id, ArrangePhases.model_validate({"phases": [QA | {"gate": "checks"}, {"name": "Docs"}]}))
    with reading(engine) as session:
        stored_phases = [(phase.name, phase.gate.value) for phase in ticket_phases.list_phases(session, ticket_id)]
    assert stored_phases == [("Dev", "reviewer"), ("QA", "checks"), ("Docs", "person")]
    with pytest.raises(Invalid, match="already has a phase named Dev"):
        plan(engine, ticket_id, ArrangePhases.model_validate({"phases": [DEV]}))


def test_an_edited_gate_is_that_of_the_current_phase(engine: Engine) -> None:
    """Regression: the phase kept its own gate, and the page of the workflow told of another than the ticket's."""
    ticket_id = phased(engine, DEV, QA)
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        body = EditTicket.model_validate({"version": ticket.version, "gate": "person"})
        editing.edit_ticket(session, ticket, body, ALICE)
    with reading(engine) as session:
        gates = [phase.gate.value for phase in ticket_phases.list_phases(session, ticket_id)]
    assert gates == ["person", "none"]


def test_a_phase_is_waived_with_a_reason_and_passed_over(engine: Engine) -> None:
    ticket_id = phased(engine, DEV | {"gate": "none"}, REVIEW, QA)
    plan(engine, ticket_id, WaivePhase(phase="Review", reason="Only words changed."))
    assert stands(work(engine, ticket_id, "done"))[1] == "QA"
    with reading(engine) as session:
        waived = ticket_phases.list_phases(session, ticket_id)[1]
    assert (waived.state.value, waived.note) == ("waived", "Only words changed.")
    with pytest.raises(PhasesConflict, match="is over"):
        plan(engine, ticket_id, WaivePhase(phase="Review", reason="Again."))


def test_a_waived_phase_can_be_planned_again(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    plan(engine, ticket_id, WaivePhase(phase="Review", reason="Not now."))
    plan(engine, ticket_id, ArrangePhases.model_validate({"phases": [REVIEW]}))
    assert states(engine, ticket_id) == {"Dev": "current", "Review": "pending"}


def test_the_current_phase_is_waived_only_before_it_has_begun_and_where_another_follows(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, REVIEW)
    assert stands(plan(engine, ticket_id, WaivePhase(phase="Dev", reason="It is written."))) == (
        "todo",
        "Review",
        "claude",
    )
    with pytest.raises(PhasesConflict, match="No phase follows"):
        plan(engine, ticket_id, WaivePhase(phase="Review", reason="No."))
    other = phased(engine, DEV, REVIEW)
    work(engine, other, "review")
    with pytest.raises(PhasesConflict, match="has begun"):
        plan(engine, other, WaivePhase(phase="Dev", reason="No."))


def test_an_approval_in_spite_of_its_evidence_shows_the_gate_as_waived(engine: Engine) -> None:
    ticket_id = phased(engine, DEV, acceptance=[{"text": "It loads."}])
    work(engine, ticket_id, "review")
    move(engine, ticket_id, "approve", waive="Seen by eye.")
    assert states(engine, ticket_id) == {"Dev": "waived"}


CHOOSE = {"name": "Choose", "agent": "script", "gate": "none", "choices": ["red", "blue"]}


def test_a_decision_reaches_the_live_run_and_lets_it_pass_the_phase(engine: Engine) -> None:
    ticket_id = phased(engine, CHOOSE, QA)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
    updated_run = plan(engine, ticket_id, DecidePhase(choice="red"))
    assert isinstance(updated_run, Run) and updated_run.id == run.id
    with writing(engine) as session:
        message_offers = messages.offer_messages(session, lookup.get_run(session, run.id))
        assert [message.body for message in message_offers] == ["Decision for phase Choose: red"]
        ended = reports.apply_report(session, run.id, reports.RunReport(verdict="done"), PATIENT)
        assert ended.ticket.phase == "QA"
    assert "Decided: Choose: red." in prompt_of(engine, ticket_id)


def test_a_decision_before_any_run_is_told_to_the_next(engine: Engine) -> None:
    ticket_id = phased(engine, CHOOSE)
    assert plan(engine, ticket_id, DecidePhase(choice="blue")) is None
    with pytest.raises(Invalid, match="ends with a decision"):
        plan(engine, ticket_id, DecidePhase(choice="green"))
    assert "Decided: Choose: blue." in prompt_of(engine, ticket_id)


def test_only_people_plan(engine: Engine) -> None:
    ticket_id = phased(engine, CHOOSE, REVIEW)
    bodies = [
        BeginWorkflow.model_validate({"phases": [DEV]}),
        ArrangePhases.model_validate({"phases": []}),
        WaivePhase(phase="Review", reason="Why not."),
        DecidePhase(choice="red"),
    ]
    for body in bodies:
        with pytest.raises(Forbidden):
            plan(engine, ticket_id, body, Actor(ActorKind.ORCHESTRATOR, "bob"))


@pytest.mark.both_databases
def test_a_plan_made_from_a_stale_reading_or_for_a_closed_ticket_is_refused(engine: Engine) -> None:
    ticket_id = make(engine)
    with pytest.raises(StaleTicket):
        plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [DEV], "version": 7}))
    move(engine, ticket_id, "cancel")
    with pytest.raises(PhasesConflict, match="Reopen it first"):
        plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [DEV]}))


def test_what_is_planned_is_in_the_log_with_where_the_ticket_then_stands(engine: Engine) -> None:
    ticket_id = make(engine)
    plan(engine, ticket_id, BeginWorkflow.model_validate({"phases": [REVIEW, QA]}))
    plan(engine, ticket_id, WaivePhase(phase="Review", reason="No."))
    with reading(engine) as session:
        logged = _list_planned(session, ticket_id)
    assert logged == [
        ("ticket_phases_begun", {"phases": ["Review", "QA"], "owner": "claude", "phase": "Review"}),
        ("ticket_phase_waived", {"name": "Review", "reason": "No.", "owner": "codex", "phase": "QA"}),
    ]


def _list_planned(session: Session, ticket_id: int) -> list[tuple[str, dict[str, Any]]]:
    query = select(TicketEvent).where(
        TicketEvent.ticket_id == ticket_id, TicketEvent.event_type.startswith("ticket_phase")
    )
    return [(event.event_type, event.payload_json) for event in session.scalars(query.order_by(TicketEvent.seq))]


def test_two_phases_of_one_ticket_do_not_share_a_name() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        BeginWorkflow.model_validate({"phases": [DEV, DEV]})
