"""Reviews by agents: who may review, what a report may say, what its verdict moves, and what needs a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import Engine, delete, select, update

from database import reading, writing
from models import (
    ActorKind,
    AgentKind,
    CodeReview,
    CommentKind,
    Gate,
    Profile,
    Project,
    ReviewAssessment,
    ReviewVerdict,
    Ticket,
    TicketComment,
    TicketStatus,
    now,
)
from tickets.lifecycle import transitions
from tickets.planning import assessments, code_reviews, finding_tickets, folder_reviews, review_queue
from tickets.planning.assessments import NewAssessment, choose_verdict, merge_findings
from tickets.planning.code_reviews import ReviewSubject
from tickets.planning.finding_tickets import CreateFindingTickets
from tickets.planning.folder_reviews import NewFolderReview
from tickets.planning.review_queue import SubmittedWork
from tickets.runs import claims, prompt, reports
from tickets.shared import lookup
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid
from tickets.shared.inputs import NewTicket
from tickets.team import agents
from tickets.team.agents import EditAgent, NewAgent
from tickets.workflow import branch_states
from tickets.workflow import code_reviews as stored_reviews
from tickets.workflow.code_reviews import CommentedFinding

from .test_landing import SHA, handed_in, project
from .test_spine import ALICE

REVIEWS = Actor.service("mc-auto-review")
SQL: dict[str, Any] = {
    "severity": "CRITICAL",
    "category": "security",
    "path": "src/a.py",
    "line": 3,
    "title": "A name goes into SQL unchecked",
    "detail": "Use a parameter.",
}
STYLE = SQL | {"severity": "MINOR", "category": "style", "line": 9, "title": "An unused name", "detail": ""}
LENGTHS = {"src/a.py": 10}


@pytest.fixture
def team(engine: Engine) -> Engine:
    """A store whose team has two reviewers with profiles of their own, and a council of both."""
    with writing(engine) as session:
        for name in ("ada", "bo"):
            session.add(Profile(name=name, program="script"))
            session.flush()
            agents.add_agent(session, NewAgent(name=name, runnable=True, profile=name), ALICE)
        agents.add_agent(
            session, NewAgent.model_validate({"name": "court", "kind": "council", "members": ["ada", "bo"]}), ALICE
        )
    return engine


def submit(engine: Engine, gate: Gate = Gate.REVIEWER) -> int:
    """Create a ticket whose work waits for a reviewer."""
    ticket_id = handed_in(engine, landing="leave")
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(gate=gate))
    return ticket_id


def start(engine: Engine, ticket_id: int, reviewer: str = "ada", commit: str = SHA) -> list[int]:
    """Start a review, and return the tickets of its agents."""
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        review = code_reviews.start_review(session, ticket, ReviewSubject(commit, "b" * 40), reviewer, REVIEWS)
        return [part.ticket_id for part in stored_reviews.list_assessments(session, review.id)]


def report(engine: Engine, work_id: int, verdict: str | None, *findings: dict[str, Any], outcome: str = "done") -> None:
    """Let the run of a reviewer report: through the tool where there is a verdict, and at its end."""
    with writing(engine) as session:
        run = claims.claim_ticket(session, work_id, "here").run
        if verdict:
            body = NewAssessment.model_validate({"verdict": verdict, "summary": "Looked.", "findings": findings})
            actor = Actor(ActorKind.RUN, run.agent, run.id, work_id)
            assessments.report_assessment(session, lookup.get_ticket(session, work_id), body, LENGTHS, actor)
        end = reports.RunReport(verdict=outcome, summary="Is a tab right here?")
        assert reports.apply_report(session, run.id, end, reports.RetryPolicy()).accepted


def load(engine: Engine, ticket_id: int) -> tuple[TicketStatus, CodeReview, list[CommentedFinding]]:
    """Load the state of a ticket with its newest review and the findings of that."""
    with reading(engine) as session:
        review = stored_reviews.list_reviews(session, ticket_id)[0]
        findings = stored_reviews.list_findings(session, [review])[review.id]
        return lookup.get_ticket(session, ticket_id).status, review, findings


def list_comments(engine: Engine, ticket_id: int) -> list[TicketComment]:
    with reading(engine) as session:
        query = select(TicketComment).where(TicketComment.ticket_id == ticket_id).order_by(TicketComment.id)
        return list(session.scalars(query.where(TicketComment.author_kind == ActorKind.REVIEWER)))


# ------------------------------------------------------------------------------------------------------------- reports


@pytest.mark.parametrize(
    "change",
    [
        {"path": "../a.py"},
        {"path": "/etc/passwd"},
        {"path": "src//a.py"},
        {"line": 0},
        {"severity": "HIGH"},
        {"category": "Two words"},
        {"title": "a\x1b[31m"},
        {"detail": "x" * 3001},
        {"more": 1},
    ],
)
def test_a_finding_is_checked_strictly(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        NewAssessment.model_validate({"verdict": "request_changes", "summary": "x", "findings": [STYLE | change]})


def test_a_review_with_a_critical_finding_does_not_approve() -> None:
    with pytest.raises(ValidationError, match="CRITICAL"):
        NewAssessment.model_validate({"verdict": "approve", "summary": "x", "findings": [SQL]})


def test_the_strictest_verdict_counts_and_equal_findings_are_merged() -> None:
    assert choose_verdict([]) is choose_verdict([ReviewVerdict.APPROVE, None]) is ReviewVerdict.NEEDS_PERSON
    assert choose_verdict([ReviewVerdict.REQUEST_CHANGES, ReviewVerdict.APPROVE]) is ReviewVerdict.REQUEST_CHANGES
    milder = SQL | {"severity": "IMPORTANT", "title": "Injection", "detail": "See OWASP."}

    sql, style = merge_findings({"ada": [STYLE, milder], "bo": [SQL]})

    assert (sql.severity, sql.title, sql.found_by) == ("CRITICAL", SQL["title"], ("ada", "bo"))
    assert sql.detail == "Use a parameter.\n\nInjection\n\nSee OWASP." and style.found_by == ("ada",)


def test_a_report_names_lines_of_the_reviewed_commit_and_comes_from_the_run_of_a_review(team: Engine) -> None:
    ticket_id = submit(team)
    [work_id] = start(team, ticket_id)
    body = NewAssessment.model_validate({"verdict": "request_changes", "summary": "x", "findings": [SQL]})
    with writing(team) as session:
        run = claims.claim_ticket(session, work_id, "here").run
        actor = Actor(ActorKind.RUN, "ada", run.id, work_id)
        work, reviewed = lookup.get_ticket(session, work_id), lookup.get_ticket(session, ticket_id)
        for lengths, message in (({}, "no text file"), ({"src/a.py": 2}, "has 2 lines")):
            with pytest.raises(Invalid, match=message):
                assessments.report_assessment(session, work, body, lengths, actor)
        with pytest.raises(Forbidden):
            assessments.report_assessment(session, reviewed, body, None, actor)
        with pytest.raises(Forbidden, match="Only ada reports this review"):  # the ticket was given to who did the work
            worker = Actor(ActorKind.RUN, "script", run.id, work_id)
            assessments.report_assessment(session, work, body, LENGTHS, worker)
        with pytest.raises(Forbidden, match="Only the run of a reviewer"):
            assessments.report_assessment(session, work, body, None, ALICE)
        with pytest.raises(ConflictError, match="is not a review"):
            own = Actor(ActorKind.RUN, "script", run.id, ticket_id)
            assessments.report_assessment(session, reviewed, body, None, own)


def test_an_orchestrator_that_reviews_has_no_access_to_the_board(team: Engine) -> None:
    """What it reads may say what it should do there."""
    with writing(team) as session:
        agents.add_agent(session, NewAgent(name="luci", kind=AgentKind.CONTROLLER, runnable=True, profile="ada"), ALICE)
    [work_id] = start(team, submit(team), reviewer="luci")
    with writing(team) as session:
        ordinary = transitions.create_ticket(session, NewTicket(title="x", assigned_to="luci"), ALICE)
        assert claims.claim_ticket(session, ordinary.id, "here").board_token
        assert claims.claim_ticket(session, work_id, "here").board_token is None


# ------------------------------------------------------------------------------------------------------------ verdicts


@pytest.mark.both_databases
def test_a_reviewer_requests_changes_with_its_findings_as_feedback(team: Engine) -> None:
    ticket_id = submit(team)
    [work_id] = start(team, ticket_id)
    assert load(team, ticket_id)[0] is TicketStatus.IN_REVIEW

    report(team, work_id, "request_changes", STYLE, SQL | {"detail": "token ghp_" + "a" * 36})

    status, review, findings = load(team, ticket_id)
    assert (status, review.verdict, review.note) == (TicketStatus.TODO, ReviewVerdict.REQUEST_CHANGES, "")
    assert [(row.facts.severity, row.comment.line) for row in findings] == [("CRITICAL", 3), ("MINOR", 9)]
    [feedback] = list_comments(team, ticket_id)
    assert (feedback.kind, feedback.author) == (CommentKind.FEEDBACK, "ada")
    assert f"**CRITICAL** security. Comment {findings[0].comment.id} on `src/a.py:3`" in feedback.body
    assert "ghp_" not in feedback.body + findings[0].comment.body
    with writing(team) as session:
        work = lookup.get_ticket(session, work_id)
        assert (work.status, work.archived) == (TicketStatus.DONE, True)
        run = claims.claim_ticket(session, ticket_id, "here").run
        assert "These are open:" in prompt.compose_prompt(session, lookup.get_ticket(session, ticket_id), run)


@pytest.mark.parametrize(
    ("gate", "status", "note"),
    [(Gate.REVIEWER, TicketStatus.DONE, ""), (Gate.PERSON, TicketStatus.IN_REVIEW, "advice")],
)
def test_an_approval_counts_where_the_gate_asks_for_a_reviewer(
    team: Engine, gate: Gate, status: TicketStatus, note: str
) -> None:
    ticket_id = submit(team, gate)
    [work_id] = start(team, ticket_id)

    report(team, work_id, "approve", STYLE)

    now_status, review, _ = load(team, ticket_id)
    assert (now_status, review.verdict) == (status, ReviewVerdict.APPROVE)
    assert note in review.note and len(list_comments(team, ticket_id)) == 1


@pytest.mark.parametrize("edit", [{"assigned_to": "ada"}, {"priority": "urgent"}])
def test_a_reviewer_edits_no_field_of_a_ticket_with_its_move(team: Engine, edit: dict[str, Any]) -> None:
    ticket_id, reviewer = submit(team), Actor(ActorKind.REVIEWER, "ada")
    moves: dict[str, dict[str, Any]] = {"approve": {}, "request_changes": {"body": "Again."}}
    for move, facts in moves.items():
        with pytest.raises(Forbidden, match=f"does not edit {next(iter(edit))}"), writing(team) as session:
            transitions.transition(session, ticket_id, move, reviewer, **facts, **edit)


def test_a_reviewer_waives_nothing(team: Engine) -> None:
    ticket_id = submit(team)
    with writing(team) as session:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(acceptance=[{"text": "x", "met": False}]))
        with pytest.raises(Forbidden, match="Only a person waives"):
            transitions.transition(session, ticket_id, "approve", Actor(ActorKind.REVIEWER, "ada"), waive="It is fine.")
    [work_id] = start(team, ticket_id)

    report(team, work_id, "approve")

    status, review, _ = load(team, ticket_id)
    assert status is TicketStatus.IN_REVIEW and "1 acceptance item unmet" in review.note


@pytest.mark.parametrize(
    ("verdict", "outcome", "words"),
    [
        (None, "done", "Is a tab right here?"),
        ("approve", "question", "a tab"),
    ],
)
def test_a_run_without_a_proper_report_needs_a_person(
    team: Engine, verdict: str | None, outcome: str, words: str
) -> None:
    ticket_id = submit(team)
    [work_id] = start(team, ticket_id)

    report(team, work_id, verdict, outcome=outcome)

    status, review, _ = load(team, ticket_id)
    assert (status, review.verdict) == (TicketStatus.IN_REVIEW, ReviewVerdict.NEEDS_PERSON)
    assert words in review.summary


@pytest.mark.parametrize("is_newer", [True, False])
def test_a_verdict_on_an_outdated_commit_or_a_decided_ticket_is_only_recorded(team: Engine, is_newer: bool) -> None:
    ticket_id = submit(team)
    [work_id] = start(team, ticket_id)
    with writing(team) as session:
        if is_newer:
            branch_states.record_head(session, ticket_id, "e" * 40, None)
        else:
            transitions.transition(session, ticket_id, "park", ALICE, wake={"kind": "manual"})
    before = TicketStatus.IN_REVIEW if is_newer else TicketStatus.WAITING

    report(team, work_id, "request_changes", SQL)

    status, review, findings = load(team, ticket_id)
    assert (status, len(findings)) == (before, 1)
    assert ("newer commits" if is_newer else "was decided meanwhile") in review.note


def test_after_some_rounds_a_person_decides(team: Engine) -> None:
    ticket_id = submit(team)
    for number in range(4):
        with writing(team) as session:
            session.execute(update(Ticket).where(Ticket.id == ticket_id).values(status=TicketStatus.IN_REVIEW))
            branch_states.record_head(session, ticket_id, f"{number}" * 40, None)
        [work_id] = start(team, ticket_id, commit=f"{number}" * 40)
        report(team, work_id, "request_changes")

    status, review, _ = load(team, ticket_id)
    assert status is TicketStatus.IN_REVIEW and "3 times in a row, so a person decides" in review.note


# ------------------------------------------------------------------------------------------------- council and reviewer


def test_a_council_reviews_as_one_with_the_strictest_verdict(team: Engine) -> None:
    ticket_id = submit(team)
    first, second = start(team, ticket_id, "court")

    report(team, first, "approve", SQL | {"severity": "MINOR"})
    assert load(team, ticket_id)[:2][0] is TicketStatus.IN_REVIEW
    report(team, second, "request_changes", SQL)

    status, review, [finding] = load(team, ticket_id)
    assert (status, review.verdict) == (TicketStatus.TODO, ReviewVerdict.REQUEST_CHANGES)
    assert (finding.facts.severity, finding.facts.found_by) == ("CRITICAL", ["ada", "bo"])
    [feedback] = list_comments(team, ticket_id)
    assert feedback.author == "court" and "found by ada and bo" in feedback.body
    assert "**ada** approves: Looked." in feedback.body and "**bo** requests changes" in feedback.body


def test_nobody_reviews_its_own_work_or_that_of_its_profile(team: Engine) -> None:
    ticket_id = submit(team)
    with writing(team) as session:
        agents.add_agent(session, NewAgent(name="twin", runnable=True, profile="script"), ALICE)
        for reviewer in ("script", "twin", "nobody"):
            assert code_reviews.list_assessors(session, ticket_id, reviewer) == []
        assert code_reviews.list_assessors(session, ticket_id, "court") == ["ada", "bo"]

    assert start(team, ticket_id, "twin") == []

    status, review, _ = load(team, ticket_id)
    assert (status, review.verdict) == (TicketStatus.IN_REVIEW, ReviewVerdict.NEEDS_PERSON)


def test_only_a_council_has_members_and_they_are_runnable_agents(team: Engine) -> None:
    bodies: list[dict[str, Any]] = [{"members": names} for names in (["court"], ["ada", "ada"], ["x"])]
    bodies.append({"kind": "agent", "members": ["ada"]})
    with writing(team) as session:
        for facts in bodies:
            with pytest.raises(Invalid):
                agents.add_agent(session, NewAgent.model_validate({"name": "b", "kind": "council"} | facts), ALICE)
        assert agents.edit_agent(session, "court", EditAgent(members=["bo"]), ALICE).members == ["bo"]


# ------------------------------------------------------------------------------------------------------- pass and folder


@pytest.mark.both_databases
def test_work_waits_for_its_review_until_its_newest_commit_has_one(team: Engine) -> None:
    ticket_id = submit(team)
    waiting = SubmittedWork(ticket_id, "/srv/web", "b" * 40, SHA, "ada")
    with writing(team) as session:
        assert review_queue.list_submitted(session, "here") == [], "the project has no reviewer"
        session.execute(update(Project).values(reviewer="ada"))
        assert review_queue.list_submitted(session, "here") == [waiting] and review_queue.is_submitted(session, waiting)
        assert review_queue.list_submitted(session, "elsewhere") == []
    start(team, ticket_id)
    with writing(team) as session:
        assert not review_queue.list_submitted(session, "here") and not review_queue.is_submitted(session, waiting)
        branch_states.record_head(session, ticket_id, "e" * 40, None)
        assert review_queue.list_submitted(session, "here") == [waiting._replace(commit="e" * 40)]
        assert not review_queue.is_submitted(session, waiting), "the branch has moved since it was read"


def check(engine: Engine, ticket_id: int) -> str | None:
    with writing(engine) as session:
        return code_reviews.check_review(session, stored_reviews.list_reviews(session, ticket_id)[0].id, 3)


def test_a_review_is_withdrawn_when_a_person_has_decided_and_its_run_is_stopped(team: Engine) -> None:
    ticket_id = submit(team)
    [work_id] = start(team, ticket_id)
    with writing(team) as session:
        run = claims.claim_ticket(session, work_id, "here").run
    assert check(team, ticket_id) is None
    with writing(team) as session:
        transitions.transition(session, ticket_id, "approve", ALICE)

    assert check(team, ticket_id) == "withdrawn"

    status, review, _ = load(team, ticket_id)
    assert (status, review.verdict, review.ended is None) == (TicketStatus.DONE, None, False)
    with reading(team) as session:
        assert lookup.get_run(session, run.id).stop_code == "cancelled"
        assert lookup.get_ticket(session, work_id).status is TicketStatus.CANCELLED
    assert check(team, ticket_id) is None


def test_a_review_whose_tickets_were_deleted_needs_a_person(team: Engine) -> None:
    ticket_id = submit(team)
    start(team, ticket_id)
    with writing(team) as session:
        session.execute(delete(ReviewAssessment))

    assert check(team, ticket_id) == "failed"
    assert load(team, ticket_id)[1].verdict is ReviewVerdict.NEEDS_PERSON


@pytest.mark.parametrize("is_late", [True, False])
def test_a_review_that_brings_no_report_needs_a_person(team: Engine, is_late: bool) -> None:
    ticket_id = submit(team)
    first, _ = start(team, ticket_id, "court")
    report(team, first, "approve")
    with writing(team) as session:
        [part] = session.scalars(select(ReviewAssessment).where(ReviewAssessment.settled.is_(None)))
        if is_late:
            session.execute(update(CodeReview).values(created=now() - code_reviews.MAX_AGE - timedelta(minutes=1)))
        else:
            block = {"reason": "exhausted", "owner": "operator", "next_action": "Look."}
            transitions.transition(session, part.ticket_id, "block", ALICE, **block)  # type: ignore[arg-type]

    assert check(team, ticket_id) == "failed"

    status, review, _ = load(team, ticket_id)
    assert (status, review.verdict) == (TicketStatus.IN_REVIEW, ReviewVerdict.NEEDS_PERSON)
    assert ("brought no report within 12 hours" if is_late else "is blocked") in review.summary


@pytest.mark.parametrize("is_useful", [True, False])
def test_a_folder_review_has_a_ticket_of_its_own_with_the_findings(team: Engine, is_useful: bool) -> None:
    with writing(team) as session:
        project(session)
        with pytest.raises(Invalid, match="has no reviewer"):
            folder_reviews.request_review(session, "web", NewFolderReview(folder="src/"), SHA, ALICE)
        body = NewFolderReview(folder="./src/", reviewer="ada")
        with pytest.raises(Invalid, match="no folder src"):
            folder_reviews.request_review(session, "web", body, None, ALICE)
        ticket_id = folder_reviews.request_review(session, "web", body, SHA, ALICE).id
        [part] = session.scalars(select(ReviewAssessment))
    if is_useful:
        with pytest.raises(Invalid, match="is not in src"):
            report(team, part.ticket_id, "request_changes", SQL | {"path": "docs/a.md"})

    report(team, part.ticket_id, "request_changes" if is_useful else None, *[SQL][:is_useful])

    status, _, findings = load(team, ticket_id)
    assert status is (TicketStatus.DONE if is_useful else TicketStatus.BLOCKED)
    assert [row.facts.title for row in findings] == [SQL["title"]][:is_useful]


@pytest.mark.both_databases
def test_a_finding_makes_one_ticket_however_often_it_is_asked_for(team: Engine) -> None:
    ticket_id = submit(team)
    report(team, start(team, ticket_id)[0], "request_changes", SQL | {"detail": "```sh\nrm -r .\n```"}, STYLE)
    _, review, findings = load(team, ticket_id)
    one = CreateFindingTickets(findings=[findings[0].comment.id])
    with writing(team) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        [first] = finding_tickets.create_tickets(session, ticket, review.id, one, ALICE)
        both = finding_tickets.create_tickets(session, ticket, review.id, CreateFindingTickets(), ALICE)
        assert finding_tickets.create_tickets(session, ticket, review.id, CreateFindingTickets(), ALICE) == both
    assert both[0].id == first.id and (first.title, first.status) == (SQL["title"], TicketStatus.INBOX)
    assert "> ```sh" in first.description and "\n```" not in first.description
    with reading(team) as session:
        assert [row.ticket for row in stored_reviews.list_findings(session, [review])[review.id]] == ["MC-3", "MC-4"]
