"""The task that has the orchestrator work the inbox: when it opens the inbox's ticket, and when it does not."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs import housekeeping
from jobs.loops import inbox_drain
from models import (
    ActorKind,
    Agent,
    AgentKind,
    InboxItem,
    InboxState,
    Incident,
    IncidentState,
    Run,
    TaskOutcome,
    Ticket,
    TicketStatus,
    Trigger,
    now,
)
from settings import Budget
from tickets.dispatch import policy
from tickets.dispatch.budgets import Budgets
from tickets.dispatch.policy import DispatchLimits
from tickets.lifecycle import transitions
from tickets.operations import inbox_items, incidents
from tickets.operations.inbox_items import CommentAction, NewItem
from tickets.runs import claims, reports, sessions
from tickets.runs.claims import RunClaim
from tickets.runs.reports import RetryPolicy, RunReport
from tickets.schedule import tasks
from tickets.shared import lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import IllegalMove
from tickets.team import agents
from tickets.team.agents import NewAgent

from .installation import ALICE, Installation

LEASE_SECONDS = 900
POLICY = RetryPolicy(limit=3, backoff_seconds=1)


@pytest.fixture
def staffed(installation: Installation) -> Installation:
    """Installation with an orchestrator and an item in its inbox."""
    with writing(installation.engine) as session:
        new_agent = NewAgent(name="luci", kind=AgentKind.CONTROLLER, runnable=True, profile="script")
        agents.add_agent(session, new_agent, ALICE)
    file_item(installation)
    return installation


def file_item(installation: Installation) -> int:
    with writing(installation.engine) as session:
        return inbox_items.file_item(session, NewItem(kind="finding", title="Look"), Actor.system()).id


def drain(installation: Installation) -> tuple[TaskOutcome, str]:
    """Make a pass, and return its outcome and reason."""
    result = inbox_drain.make_pass(installation.context)
    assert (tasks.HAS_ENTRY in result.summary) == (result.outcome is TaskOutcome.WARNING), "it has an incident"
    return result.outcome, result.summary.get("reason", "")


def claim(installation: Installation, ticket_id: int = 1) -> RunClaim:
    with writing(installation.engine) as session:
        return claims.claim_ticket(session, ticket_id, installation.context.host)


def end(installation: Installation, run: Run, verdict: str = "done") -> None:
    with writing(installation.engine) as session:
        reports.apply_report(session, run.id, RunReport.model_validate({"verdict": verdict}), POLICY)


def rewind_runs(installation: Installation, minutes: int) -> None:
    """Let the ends of all runs be so many minutes ago."""
    moment = now() - timedelta(minutes=minutes)
    with writing(installation.engine) as session:
        session.execute(update(Run).where(Run.ended.is_not(None)).values(ended=moment))


def load_incident(installation: Installation) -> Incident | None:
    with reading(installation.engine) as session:
        return session.scalar(select(Incident))


def test_nothing_is_opened_where_nothing_waits_nobody_can_or_dispatch_is_paused(installation: Installation) -> None:
    empty = housekeeping.run_pass(installation.context, "inbox-drain", Trigger.TIMER)
    assert (empty.outcome, empty.summary["waiting"]) == (TaskOutcome.NOOP, 0)
    file_item(installation)
    outcome, reason = drain(installation)
    assert outcome is TaskOutcome.NOOP and reason.startswith("no agent of kind controller can work the inbox")
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving house", ALICE)
    assert drain(installation) == (TaskOutcome.SKIPPED, "dispatch is paused: moving house")
    with reading(installation.engine) as session:
        assert session.scalar(select(Ticket.id)) is None


def test_an_orchestrator_that_cannot_be_started_is_told_of_and_none_at_all_is_not(staffed: Installation) -> None:
    """The operator's item about the skipped task kept the task skipping, on every board without an orchestrator."""
    for values, outcome in (({"runnable": False}, TaskOutcome.SKIPPED), ({"kind": "agent"}, TaskOutcome.NOOP)):
        with writing(staffed.engine) as session:
            session.execute(update(Agent).where(Agent.kind == AgentKind.CONTROLLER).values(**values))
        assert drain(staffed)[0] is outcome


def test_one_ticket_serves_all_items_and_a_killed_run_loses_none(staffed: Installation) -> None:
    first_result = inbox_drain.make_pass(staffed.context)
    assert (first_result.outcome, first_result.summary) == (TaskOutcome.ACTED, {"waiting": 1, "opened": "MC-1"})
    assert drain(staffed) == (TaskOutcome.SKIPPED, "MC-1 is ready to start.")
    first = claim(staffed)
    ordinary = claim(staffed, staffed.ticket())
    assert first.board_token and ordinary.board_token is None, "only an orchestrator works the board"
    assert drain(staffed) == (TaskOutcome.NOOP, "MC-1 is at work")
    luci = Actor(ActorKind.ORCHESTRATOR, "luci", first.run.id)
    with writing(staffed.engine) as session:
        session.execute(update(Run).values(config_dir="/srv"))
        sessions.record_conversation(session, lookup.get_run(session, first.run.id), "conversation-1")
        assert inbox_items.deliver_next(session, luci, LEASE_SECONDS) is not None
    with pytest.raises(IllegalMove), writing(staffed.engine) as session:
        transitions.transition(session, 1, "block", luci, reason="environment", owner="alice", next_action="Look.")

    with writing(staffed.engine) as session:  # killed after the delivery and before the action
        reports.mark_lost(session, first.run.id, "Its wrapper is gone.", POLICY)
    assert drain(staffed) == (TaskOutcome.NOOP, ""), "the item is leased"
    with writing(staffed.engine) as session:
        session.execute(update(InboxItem).values(lease_until=now() - timedelta(seconds=1)))
    assert drain(staffed)[0] is TaskOutcome.SKIPPED, "the next run is up to dispatch"
    second = claim(staffed)
    with writing(staffed.engine) as session:
        item = inbox_items.deliver_next(session, luci, LEASE_SECONDS)
        assert item is not None and item.deliveries == 2
        action = CommentAction(type="comment", body="Seen.", ticket="MC-1")
        inbox_items.act_on_item(session, item.id, action, Actor(ActorKind.ORCHESTRATOR, "luci", second.run.id))
    end(staffed, second.run)
    assert staffed.get(1).status is TicketStatus.DONE and drain(staffed) == (TaskOutcome.NOOP, "")

    file_item(staffed)
    assert drain(staffed) == (TaskOutcome.ACTED, "")
    third = claim(staffed)
    assert [run.resumes for run in (first.run, second.run, third.run)] == [False, True, True]
    assert third.run.conversation_id == "conversation-1"
    limits = DispatchLimits(budgets=Budgets(Budget(ticket_runs=1), ZoneInfo("UTC")))
    with reading(staffed.engine) as session:
        gates = {gate.name: gate.ok for gate in policy.check_ticket(session, session.get_one(Ticket, 1), None, limits)}
        assert gates["budget"], "the ticket is never done for good"
        assert {item.state for item in session.scalars(select(InboxItem))} == {InboxState.ACTED, InboxState.PENDING}


def test_an_orchestrator_that_settles_nothing_is_not_started_in_a_loop(staffed: Installation) -> None:
    def work_in_vain(number: int) -> None:
        assert drain(staffed)[0] is TaskOutcome.ACTED, number
        end(staffed, claim(staffed).run)

    work_in_vain(1)
    for number, minutes in ((2, 10), (3, 20)):
        rewind_runs(staffed, minutes - 1)
        outcome, reason = drain(staffed)
        assert outcome is TaskOutcome.SKIPPED and "It is tried again at" in reason
        rewind_runs(staffed, minutes + 1)
        work_in_vain(number)

    rewind_runs(staffed, 60)
    for _ in range(2):
        outcome, reason = drain(staffed)
        assert outcome is TaskOutcome.WARNING and reason.startswith("MC-1 has settled nothing in 3 runs in a row")
    incident = load_incident(staffed)
    assert incident is not None and (incident.state, incident.count) == (IncidentState.OPEN, 1)
    with writing(staffed.engine) as session:
        incidents.close_incident(session, incident.id, "The profile is mended.", ALICE)
    work_in_vain(4)
    assert drain(staffed)[0] is TaskOutcome.WARNING
    incident = load_incident(staffed)
    assert incident is not None and (incident.state, incident.recurrence) == (IncidentState.OPEN, 1)

    with writing(staffed.engine) as session:
        inbox_items.dismiss_item(session, 1, "Known.", ALICE)
    assert drain(staffed) == (TaskOutcome.NOOP, "")
    incident = load_incident(staffed)
    assert incident is not None and incident.state is IncidentState.CLOSED


def test_a_ticket_that_people_hold_is_left_to_them(staffed: Installation) -> None:
    drain(staffed)
    staffed.move(1, "block", reason="environment", owner="alice", next_action="Log in.")
    assert drain(staffed) == (TaskOutcome.WARNING, "MC-1 is blocked. Log in.")
    staffed.move(1, "unblock")
    staffed.move(1, "park", wake={"kind": "manual"})
    assert drain(staffed) == (TaskOutcome.SKIPPED, "MC-1 has the state Waiting: it needs a person")
    staffed.move(1, "cancel")
    assert drain(staffed) == (TaskOutcome.NOOP, "MC-1 was cancelled: reopen it to have the inbox worked")
