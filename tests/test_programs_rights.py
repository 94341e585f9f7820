"""What programs may not decide: when work counts as done, what starts, and what runs on the operator's machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import ActorKind, Attachment, Failure, Outcome, Scope, Ticket, TicketStatus
from tickets.conversation import attachments, timeline
from tickets.lifecycle import editing, moves, transitions
from tickets.operations import tokens
from tickets.runs import claims, refusals, reports, sessions
from tickets.schedule import tasks
from tickets.shared import lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, ProofRequired
from tickets.shared.inputs import EditTicket, NewTicket
from tickets.team import agents, profiles, projects

from .test_spine import ALICE, make

SERVICE = Actor(ActorKind.SERVICE, "ci")
PROBE = {"kind": "probe", "probe": ["true"]}
PATIENT = reports.RetryPolicy(limit=5, backoff_seconds=0)


@pytest.mark.parametrize(
    "edit", [{"gate": "none"}, {"acceptance": [{"text": "x", "met": True}]}, {"campaign_owner": "luci"}]
)
def test_a_service_does_not_lower_the_bar_that_work_is_held_to(engine: Engine, edit: dict[str, Any]) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        body = EditTicket.model_validate({"version": ticket.version, **edit})
        with pytest.raises(Forbidden, match="Only a person"):
            editing.edit_ticket(session, ticket, body, SERVICE)
        before = ticket.version
        assert editing.edit_ticket(session, ticket, body, ALICE).version == before + 1


def test_a_program_takes_no_file_off_a_ticket(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        file_fields = {"media_type": "text/plain", "size": 1, "sha256": "", "stored_as": "a" * 32}
        row = Attachment(ticket_id=ticket_id, name="a.txt", author="alice", **file_fields)
        session.add(row)
        session.flush()
        for program in (SERVICE, Actor(ActorKind.RUN, "script", 1, ticket_id)):
            with pytest.raises(Forbidden, match="Only a person"):
                attachments.remove_attachment(session, row, program)
        attachments.remove_attachment(session, row, ALICE)
        assert attachments.list_attachments(session, ticket_id) == []


@pytest.mark.parametrize(
    "extra_fields",
    [
        {"status": "todo"},
        {"gate": "none"},
        {"status": "waiting", "wake": PROBE},
        {"phases": [{"name": "Dev"}]},
        {"relationships": [{"kind": "blocks", "ticket": "MC-1"}]},
    ],
)
def test_a_run_starts_no_work_and_no_command_by_filing_a_ticket(engine: Engine, extra_fields: dict[str, Any]) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        worker = Actor(ActorKind.RUN, "script", run.id, ticket_id)
        with pytest.raises(Forbidden, match=r"(creates tickets for triage|Only a person)"):
            transitions.create_ticket(
                session, NewTicket.model_validate({"title": "More", "assigned_to": "script", **extra_fields}), worker
            )
        new_ticket = transitions.create_ticket(session, NewTicket(title="More", assigned_to="script"), worker)
        assert new_ticket.status is TicketStatus.INBOX


@pytest.mark.both_databases
def test_a_run_that_files_without_end_is_stopped(engine: Engine) -> None:
    """An agent in a loop filled the inbox with thousands of tickets, as far as the board was concerned."""
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        worker = Actor(ActorKind.RUN, "script", run.id, ticket_id)
        for number in range(moves.MAX_TICKETS_PER_RUN):
            transitions.create_ticket(session, NewTicket(title=f"More {number}"), worker)
        with pytest.raises(Forbidden, match="at most 50 tickets"):
            transitions.create_ticket(session, NewTicket(title="And more"), worker)
        transitions.create_ticket(session, NewTicket(title="Of a person"), ALICE)


def test_only_a_person_parks_a_ticket_on_a_command(engine: Engine) -> None:
    ticket_id = make(engine)
    orchestrator = Actor(ActorKind.ORCHESTRATOR, "bob")
    body = NewTicket.model_validate({"title": "Later", "status": "waiting", "wake": PROBE})
    with writing(engine) as session:
        with pytest.raises(Forbidden, match="Only a person"):
            transitions.transition(session, ticket_id, "park", orchestrator, wake=PROBE)
        with pytest.raises(Forbidden, match="Only a person"):
            transitions.create_ticket(session, body, SERVICE)
        assert transitions.transition(session, ticket_id, "park", ALICE, wake=PROBE).status is TicketStatus.WAITING


def test_a_conversation_that_overflowed_is_not_resumed_by_whoever_unblocks_the_ticket(engine: Engine) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "here").run
        claims.record_workspace(session, run.id, config_dir="/somewhere", workspace="/elsewhere")
        sessions.record_conversation(session, lookup.get_run(session, run.id), "c-1")
        assert sessions.find_resumable(session, ticket_id, "script", "script") is not None
        reports.fail_run(
            session, lookup.get_run(session, run.id), Outcome.FAILED, Failure.CONTEXT_OVERFLOW, "too long", PATIENT
        )
    with reading(engine) as session:
        assert sessions.find_resumable(session, ticket_id, "script", "script") is None


def test_one_who_only_reads_writes_nothing(engine: Engine) -> None:
    viewer = Actor(ActorKind.HUMAN, "eve", writes=False)
    ticket_id = make(engine)
    with writing(engine) as session:
        ticket = lookup.get_ticket(session, ticket_id)
        body = EditTicket(version=ticket.version, title="Mine")
        attempts: list[Callable[[], object]] = [
            lambda: editing.edit_ticket(session, ticket, body, viewer),
            lambda: transitions.create_ticket(session, NewTicket(title="Mine"), viewer),
            lambda: transitions.transition(session, ticket_id, "cancel", viewer),
            lambda: timeline.add_comment(session, ticket_id, timeline.NewComment(body="Mine"), viewer),
        ]
        for attempt in attempts:
            with pytest.raises(Forbidden, match="A viewer"):
                attempt()


def test_a_program_does_not_administer(engine: Engine) -> None:
    with writing(engine) as session:
        nothing: Any = None  # refused before it is looked at
        body = tokens.NewToken(name="more", scope=Scope.OPERATOR)
        attempts: list[Callable[[], object]] = [
            lambda: tokens.issue_token(session, body, SERVICE),
            lambda: tokens.revoke_token(session, 1, SERVICE),
            lambda: projects.request_draft(session, nothing, SERVICE),
            lambda: projects.decide_trust(session, "web", nothing, SERVICE),
            lambda: projects.add_project(session, nothing, SERVICE),
            lambda: projects.edit_project(session, "x", nothing, SERVICE),
            lambda: agents.add_agent(session, nothing, SERVICE),
            lambda: agents.edit_agent(session, "script", nothing, SERVICE),
            lambda: profiles.add_profile(session, nothing, SERVICE),
            lambda: profiles.edit_profile(session, "script", nothing, SERVICE),
            lambda: tasks.enable_task(session, "pickup", SERVICE),
            lambda: tasks.run_now(session, "pickup", SERVICE),
            lambda: runtime_flags.set_flag(session, runtime_flags.PAUSE, None, SERVICE),
        ]
        for attempt in attempts:
            with pytest.raises(Forbidden, match=r"changes|issues|trusts"):
                attempt()


def test_a_person_whose_log_in_is_old_proves_who_it_is_for_what_gives_access_or_runs_commands(engine: Engine) -> None:
    before = Actor(ActorKind.HUMAN, "alice", has_proof=False)
    ticket_id = make(engine)
    with writing(engine) as session:
        nothing: Any = None  # refused before it is looked at
        attempts: list[Callable[[], object]] = [
            lambda: tokens.issue_token(session, nothing, before),
            lambda: projects.request_draft(session, nothing, before),
            lambda: projects.decide_trust(session, "web", nothing, before),
            lambda: projects.add_project(session, nothing, before),
            lambda: projects.edit_project(session, "x", nothing, before),
            lambda: refusals.allow_refused(session, nothing, before),
            lambda: profiles.add_profile(session, nothing, before),
            lambda: profiles.edit_profile(session, "script", nothing, before),
            lambda: transitions.transition(session, ticket_id, "park", before, wake=PROBE),
            lambda: transitions.create_ticket(
                session, NewTicket.model_validate({"title": "x", "status": "waiting", "wake": PROBE}), before
            ),
        ]
        for attempt in attempts:
            with pytest.raises(ProofRequired):
                attempt()
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "an emergency needs no proof", before)
        token = tokens.issue_token(session, tokens.NewToken(name="ci", scope=Scope.SERVICE), ALICE)[0]
        tokens.revoke_token(session, token.id, before)


@pytest.mark.parametrize(
    ("kind", "allowed"),
    [
        (ActorKind.TRIAGE, {"triage"}),
        (ActorKind.REVIEWER, {"approve", "request_changes"}),
        (ActorKind.SERVICE, set()),
    ],
)
def test_a_program_of_a_control_loop_makes_just_its_moves(engine: Engine, kind: ActorKind, allowed: set[str]) -> None:
    actor, ticket_id = Actor(kind, "loop"), make(engine)
    available: set[str] = set()
    for status in TicketStatus:
        with writing(engine) as session:
            session.execute(update(Ticket).values(status=status))
        with reading(engine) as session:
            ticket = lookup.get_ticket(session, ticket_id)
            context = transitions.load_actor_contexts(session, [ticket], actor)[ticket_id]
            moves_now = transitions.list_moves(transitions.build_move_context(ticket, context))
            available.update(move.name for move in moves_now)
    assert available == allowed
