"""The tasks `operator` and `follow-up-sweep`: what they report, how often, and that they move nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

import models
from database import StoreUnavailable, reading, writing
from jobs import job_context, single_flight
from jobs.job_context import JobContext
from jobs.loops import follow_up, operator_pass, repository_conditions
from jobs.task_recorder import JobResult
from models import (
    HealthResult,
    HealthStatus,
    InboxItem,
    Incident,
    IncidentState,
    Outcome,
    Run,
    RunState,
    TaskOutcome,
    TaskRun,
    TaskState,
    Ticket,
    TicketComment,
    TicketEvent,
    TicketStatus,
    Trigger,
)
from settings import Settings
from tests.test_lifecycle import FACTS, force_status, put_landing
from tests.test_spine import ALICE, make
from tests.workers.repositories import commit, create_repository, git
from tickets.board import follow_ups, ticket_conditions
from tickets.conversation import timeline
from tickets.lifecycle import moves, transitions
from tickets.loops import conditions
from tickets.operations import inbox_items, incidents, store_checks
from tickets.runs import claims, reports
from tickets.schedule import tasks
from tickets.shared import lookup, runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import Forbidden, IllegalMove
from tickets.team import agents, installed_programs, projects
from tickets.team.projects import NewProject
from workers.agents.probe import ProbeResult
from workers.repository import checkouts
from workers.repository.git import GitHung

ACTED, NOOP, WARNING, SKIPPED, FAILED = (
    TaskOutcome.ACTED,
    TaskOutcome.NOOP,
    TaskOutcome.WARNING,
    TaskOutcome.SKIPPED,
    TaskOutcome.FAILED,
)


class Clock:
    """The clock of the domain, which stands still between calls of `advance`."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def now(self) -> datetime:
        return self.moment

    def advance(self, **span: float) -> None:
        self.moment += timedelta(**span)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock, real_now = Clock(), models.now

    def set_times(row: object, _: object, values: dict[str, Any]) -> None:
        times = ("created",) if isinstance(row, InboxItem) else ("first_seen", "last_seen", "opened")
        values |= dict.fromkeys(times, clock.moment) | values

    for module in list(sys.modules.values()):
        if vars(module).get("now") is real_now:
            monkeypatch.setattr(module, "now", clock.now)
    for table in (InboxItem, Incident):
        event.listen(table, "init", set_times)
    yield clock
    for table in (InboxItem, Incident):
        event.remove(table, "init", set_times)


@pytest.fixture
def context(engine: Engine, url: str, tmp_path: Path) -> JobContext:
    settings = Settings(home=tmp_path / "home", database_url=url, timezone="UTC")
    settings.ensure_home()
    return job_context.build_context(settings, engine)


def change_settings(context: JobContext, **values: Any) -> JobContext:
    operator = context.settings.operator.model_copy(update=values)
    return job_context.build_context(context.settings.model_copy(update={"operator": operator}), context.engine)


def list_open(context: JobContext) -> dict[str, str]:
    """List the open incidents: their titles by fingerprint."""
    with reading(context.engine) as session:
        query = select(Incident).where(Incident.state == IncidentState.OPEN).order_by(Incident.id)
        return {row.fingerprint: row.title for row in session.scalars(query)}


def list_filed(context: JobContext) -> list[tuple[str, str]]:
    """List the inbox items of both tasks: kind and title."""
    with reading(context.engine) as session:
        query = select(InboxItem).where(InboxItem.incident_id.is_not(None)).order_by(InboxItem.id)
        return [(item.kind, item.title) for item in session.scalars(query)]


def settle_items(context: JobContext) -> None:
    with writing(context.engine) as session:
        for item, _ in inbox_items.list_items(session, models.InboxState.PENDING):
            inbox_items.dismiss_item(session, item.id, "Seen.", ALICE)


def copy_state(context: JobContext) -> list[tuple[Any, ...]]:
    """Copy every ticket, but for the number of its events, and every decision about a task."""
    columns = [column for column in Ticket.__table__.columns if column.name != "event_seq"]
    with reading(context.engine) as session:
        queries = (select(*columns), select(TaskState.__table__))
        return sorted(tuple(map(str, row)) for query in queries for row in session.execute(query))


def claim(engine: Engine, ticket_id: int, host: str = "here") -> int:
    with writing(engine) as session:
        return claims.claim_ticket(session, ticket_id, host).run.id


def lose_run(engine: Engine, ticket_id: int) -> None:
    """Let a ticket be in progress without a run, as after a fault."""
    run_id = claim(engine, ticket_id)
    with writing(engine) as session:
        values = {"state": RunState.ENDED, "ended": models.now(), "outcome": Outcome.LOST}
        session.execute(update(Run).where(Run.id == run_id).values(**values))


def fail_runs(engine: Engine, ticket_id: int, count: int) -> None:
    with writing(engine) as session:
        for number in range(count):
            key = f"{ticket_id}-{number}"
            values = {"generation": 10 + number, "agent": "script", "host": "here", "token_hash": key, "nonce": key}
            end = {"state": RunState.ENDED, "ended": models.now(), "outcome": Outcome.FAILED}
            session.add(Run(ticket_id=ticket_id, **values, **end))


def make_trouble(context: JobContext, clock: Clock, tmp_path: Path) -> None:
    """Fill the store with one case of everything that the operator reports, but for what needs a live run."""
    engine = context.engine
    lost, asking, old, blocked, failing = (
        make(engine, title=title) for title in ("Lost", "Asking", "Old", "Blocked", "Failing")
    )
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == lost).values(assigned_to="claude"))
    lose_run(engine, lost)
    run_id = claim(engine, asking)
    with writing(engine) as session:
        report = reports.RunReport.model_validate({"verdict": "question", "question": {}, "summary": "Which?"})
        reports.apply_report(session, run_id, report, reports.RetryPolicy())
        force_status(session, old, TicketStatus.INBOX)
        block: dict[str, Any] = {"reason": "needs_human", "owner": "ghost", "next_action": "Look."}
        transitions.transition(session, blocked, "block", ALICE, **block)
        programs = [ProbeResult("claude", "/bin/claude", "1", True, False, "Log in.")]
        installed_programs.record_programs(session, "here", programs)
        for name in ("script", "codex", "claude"):
            agents.start_cooldown(session, name, clock.moment + timedelta(days=99), "overloaded", ALICE)
        folder = create_repository(tmp_path / "code")
        projects.add_project(session, NewProject(slug="web", name="Web", folder=str(folder)), ALICE)
    ahead = commit(folder, "later")
    git(folder, "update-ref", "refs/remotes/origin/main", ahead)
    git(folder, "reset", "--hard", "--quiet", "HEAD~1")
    (folder / "forgotten.txt").write_text("not committed")
    clock.advance(days=15)
    fail_runs(engine, failing, 3)
    fail_runs(engine, asking, 1)
    with writing(engine) as session:
        session.execute(update(Ticket).where(Ticket.id == failing).values(moved=clock.moment - timedelta(hours=2)))
        since = clock.moment - timedelta(minutes=20)
        disk = {
            "host": "",
            "name": "disk",
            "status": HealthStatus.FAILED,
            "detail": "The disk is full.",
            "remedy": "Free it.",
        }
        session.add(HealthResult(**disk, since=since, seen=clock.moment))
        for hours in range(12):
            start = clock.moment - timedelta(hours=hours, minutes=30)
            tasks.record_run(session, "landing", Trigger.TIMER, SKIPPED, start)
        tasks.record_heartbeat(session, "landing", "ok", summary={"reason": "another program lands"})


@pytest.mark.both_databases
def test_the_operator_reports_each_trouble_once_and_moves_nothing(
    context: JobContext, clock: Clock, tmp_path: Path
) -> None:
    make_trouble(context, clock, tmp_path)
    before = copy_state(context)

    first = operator_pass.run_pass(context, Trigger.TIMER)

    titles = list_open(context)
    here = f"operator:repository:{context.host}:web"
    assert titles.keys() == {
        *("check:disk", "operator:skipping:landing", "operator:stuck:1", "operator:unanswered:2", "operator:ageing:3"),
        *("operator:unowned:4", "operator:failing:ticket:5", "operator:failing:agent:script", "operator:idle:queue"),
        *("operator:agent:claude", f"{here}:dirty", f"{here}:behind"),
    }, first.summary
    assert titles["operator:stuck:1"] == "MC-1 is stuck: In progress without a run"
    assert titles["operator:failing:ticket:5"] == "MC-5 has failed 3 times in a row"
    assert titles["operator:skipping:landing"].endswith("done nothing for 12 h: another program lands")
    assert titles["operator:agent:claude"] == "claude cannot continue 1 open ticket: not logged in"
    assert titles[f"{here}:behind"] == "main of web is 1 commit behind origin/main"
    assert "MC-5: script is cooling down until" in titles["operator:idle:queue"]
    assert (first.outcome, first.summary["raised"], first.summary["filed"]) == (ACTED, 12, 12)
    assert sorted(title for _, title in list_filed(context)) == sorted(titles.values())
    with reading(context.engine) as session:
        own_events = session.scalars(
            select(TicketEvent.actor).where(TicketEvent.event_type.in_(("incident_opened", "inbox_filed")))
        )
        assert set(own_events) == {"operator"}
        [check] = [check for check in store_checks.check_store(session) if check.name == "incidents"]
        assert check.ok, "the verdict is about the board, not about the work on it"

    settle_items(context)
    second = operator_pass.run_pass(context, Trigger.TIMER)
    assert (second.outcome, len(list_filed(context))) == (NOOP, 12), "nothing is new"
    assert copy_state(context) == before

    claim_again(context, clock)
    clock.advance(hours=2)
    third = operator_pass.make_pass(context)
    assert {"operator:full:codex", "operator:stuck:1"} <= list_open(context).keys() - {"operator:idle:queue"}
    assert third.outcome is ACTED and third.summary["closed"] == 2, "the answer came, and something runs"


def claim_again(context: JobContext, clock: Clock) -> None:
    """Answer the question, and let codex be busy with both of its slots while a ticket waits for it."""
    numbers = [make(context.engine, title=f"Long {number}", assigned_to="codex") for number in range(3)]
    for number in numbers[:2]:
        claim(context.engine, number)
    with writing(context.engine) as session:
        transitions.transition(session, 2, "answer", ALICE, body="This one.")
        session.execute(
            update(Run).where(Run.state != RunState.ENDED).values(started=clock.moment, heartbeat=clock.moment)
        )


def test_a_condition_that_comes_back_is_filed_again_and_one_that_a_person_closed_is_not(
    context: JobContext, clock: Clock
) -> None:
    ticket_id = make(context.engine)
    block: dict[str, Any] = {"reason": "needs_human", "owner": "ghost", "next_action": "Look."}
    with writing(context.engine) as session:
        transitions.transition(session, ticket_id, "block", ALICE, **block)
    clock.advance(minutes=1)
    operator_pass.make_pass(context)
    with writing(context.engine) as session:
        incidents.close_incident(session, 1, "I think so.", ALICE)
        item = inbox_items.get_item(session, 1)
        assert item.action == {"type": "none", "reason": "The incident is closed: I think so."}
    assert operator_pass.make_pass(context).summary == {"raised": 1}, "reopened, as it was not gone"
    with writing(context.engine) as session:
        transitions.transition(session, ticket_id, "unblock", ALICE)
    assert operator_pass.make_pass(context).summary == {"closed": 1}
    clock.advance(minutes=1)
    with writing(context.engine) as session:
        transitions.transition(session, ticket_id, "block", ALICE, **block)
    clock.advance(minutes=1)
    assert operator_pass.make_pass(context).summary == {"raised": 1, "filed": 1}
    with reading(context.engine) as session:
        assert session.scalars(select(Incident.recurrence)).all() == [2]


@pytest.mark.parametrize("actor", [operator_pass.OPERATOR, follow_ups.SWEEP], ids=lambda actor: actor.name)
def test_neither_task_may_make_a_move_or_change_a_task(engine: Engine, actor: Actor) -> None:
    ticket_id = make(engine)
    with writing(engine) as session:
        for move in moves.MOVES.values():
            for status in move.sources:
                force_status(session, ticket_id, status)
                put_landing(session, ticket_id)
                with pytest.raises((IllegalMove, Forbidden)):
                    transitions.transition(session, ticket_id, move.name, actor, **FACTS.get(move.name, {}))
        for change in (tasks.enable_task, tasks.disable_task, tasks.run_now):
            with pytest.raises(Forbidden):
                change(session, "backup", actor)
        with pytest.raises(Forbidden):
            runtime_flags.set_flag(session, runtime_flags.PAUSE, "moving", actor)
        assert (session.get_one(Ticket, ticket_id).version, tasks.load_decisions(session)) == (1, {})


@pytest.mark.parametrize("is_maintained", [False, True])
def test_only_the_maintenance_policy_lets_the_operator_release_a_lost_ticket(
    context: JobContext, clock: Clock, is_maintained: bool
) -> None:
    lose_run(context.engine, make(context.engine))
    clock.advance(hours=1)

    result = operator_pass.make_pass(change_settings(context, maintenance=is_maintained))

    with reading(context.engine) as session:
        status = lookup.get_ticket(session, "1").status
        comments = [row.body for row in timeline.list_comments(session, 1) if row.author == "operator"]
    if is_maintained:
        assert (status, result.summary["tickets_released"]) == (TicketStatus.TODO, ["MC-1"])
        assert comments[0].startswith("[operator maintenance · ")
    else:
        assert (status, result.summary, comments) == (TicketStatus.IN_PROGRESS, {"raised": 1, "filed": 1}, [])


def test_a_full_inbox_keeps_no_incident_from_being_raised(
    context: JobContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an orchestrator nobody empties it, and the operator saw nothing any more."""
    lose_run(context.engine, make(context.engine))
    clock.advance(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(inbox_items, "MAX_OPEN_ITEMS", 0)
        result = operator_pass.make_pass(context)
    assert (result.outcome, result.summary["raised"], list_filed(context)) == (WARNING, 1, [])
    assert result.summary["problems"] == ["The inbox is full, so this was not filed: 1 item"]
    assert len(list_open(context)) == 1
    assert operator_pass.make_pass(context).summary == {"filed": 1}, "it is filed when there is room"


def break_one(context: JobContext, patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such column")

    patch.setitem(operator_pass.OBSERVATIONS, "ageing tickets", fail)


def break_all(context: JobContext, patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("no such table")

    patch.setattr(conditions, "record_observation", fail)


def hang_git(context: JobContext, patch: pytest.MonkeyPatch) -> None:
    def hang(*_: object) -> None:
        raise GitHung("git status did not end within 60 seconds")

    patch.setattr(checkouts, "observe_checkout", hang)


def lose_store(context: JobContext, patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("UPDATE", {}, Exception("database is locked"))

    patch.setattr(conditions, "record_observation", refuse)


@pytest.mark.parametrize(
    ("fault", "outcome", "text"),
    [
        (lambda *_: None, NOOP, ""),
        (break_one, WARNING, "The observation of ageing tickets failed: ValueError: no such column"),
        (hang_git, WARNING, "The repository of web was not observed: GitHung: git status did not end"),
        (break_all, FAILED, "The observation of health failed"),
        (lose_store, FAILED, "The store was not available"),
    ],
    ids=["nothing", "half", "no git", "wrong", "no store"],
)
def test_a_pass_that_did_nothing_or_half_never_ends_as_acted(
    context: JobContext,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[JobContext, pytest.MonkeyPatch], None],
    outcome: TaskOutcome,
    text: str,
) -> None:
    with writing(context.engine) as session:
        folder = create_repository(tmp_path / "code")
        projects.add_project(session, NewProject(slug="web", name="Web", folder=str(folder)), ALICE)
    fault(context, monkeypatch)
    result = operator_pass.run_pass(context, Trigger.TIMER)
    assert (result.outcome, result.again) == (outcome, fault in (hang_git, lose_store)), "what may soon be over"
    assert text in str(result.summary)
    with reading(context.engine) as session:
        assert session.scalars(select(TaskRun.outcome)).all() == [outcome]


def test_an_unobserved_repository_keeps_its_incident(
    context: JobContext, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = create_repository(tmp_path / "code")
    with writing(context.engine) as session:
        projects.add_project(session, NewProject(slug="web", name="Web", folder=str(folder)), ALICE)
    git(folder, "branch", "--move", "main", "elsewhere")
    assert operator_pass.make_pass(context).summary == {"raised": 1, "filed": 1}
    git(folder, "branch", "--move", "elsewhere", "main")
    with monkeypatch.context() as patch:
        hang_git(context, patch)
        operator_pass.make_pass(context)
    [title] = list_open(context).values()
    assert title.startswith(f"No run can start in the repository of web: {folder} has no branch main.")
    monkeypatch.setattr(repository_conditions, "OBSERVE_SECONDS", -1.0)
    assert "the others took -1 seconds" in operator_pass.make_pass(context).summary["problems"][0]
    monkeypatch.undo()
    assert operator_pass.make_pass(context).summary == {"closed": 1}
    folder.rename(tmp_path / "elsewhere")
    assert operator_pass.make_pass(context).summary["raised"] == 1, "a folder that is gone is a problem too"


# ------------------------------------------------------------------------------------------------------ follow-up-sweep


def make_overdue(context: JobContext, clock: Clock, minutes: float = 90, **facts: object) -> int:
    ticket_id = make(context.engine, **facts)
    set_check_in(context, ticket_id, clock.moment - timedelta(minutes=minutes))
    return ticket_id


def set_check_in(context: JobContext, ticket_id: int, moment: datetime) -> None:
    with writing(context.engine) as session:
        session.execute(update(Ticket).where(Ticket.id == ticket_id).values(expected_check_in=moment))


def sweep(context: JobContext) -> JobResult:
    return follow_up.run_pass(context, Trigger.TIMER)


def list_comments(context: JobContext) -> list[str]:
    with reading(context.engine) as session:
        return list(session.scalars(select(TicketComment.body).order_by(TicketComment.id)))


def test_a_missed_check_in_is_commented_on_once_then_escalated_once(context: JobContext, clock: Clock) -> None:
    clock.moment = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
    ticket_id = make_overdue(context, clock)
    for title in ("Closed", "Asking"):
        make_overdue(context, clock, title=title)
    with writing(context.engine) as session:
        transitions.transition(session, 2, "cancel", ALICE)
        force_status(session, 3, TicketStatus.NEEDS_INPUT)
    before = copy_state(context)

    assert sweep(context).summary["tickets_commented"] == ["MC-1"], (
        "neither a closed ticket nor one that waits for a person"
    )
    assert list_comments(context) == ["[follow-up] 90 min past expected check-in (2026-03-01T08:00:00Z)"]
    clock.advance(minutes=50)
    assert (sweep(context).outcome, list_open(context)) == (NOOP, {})
    clock.advance(minutes=20)
    assert (sweep(context).outcome, len(list_comments(context))) == (ACTED, 1)
    assert list_open(context) == {f"follow-up:{ticket_id}": "MC-1 missed its check-in of 2026-03-01 08:00 UTC"}
    assert list_filed(context) == [("follow-up-sweep", "MC-1 missed its check-in of 2026-03-01 08:00 UTC")]
    settle_items(context)
    clock.advance(hours=9)
    assert (sweep(context).outcome, len(list_filed(context))) == (NOOP, 1)
    assert copy_state(context) == before

    set_check_in(context, ticket_id, clock.moment - timedelta(minutes=5))
    assert sweep(context).summary["closed"] == 1
    assert list_comments(context)[1:] == ["[follow-up] 5 min past expected check-in (2026-03-01T19:35:00Z)"]
    clock.advance(hours=2)
    assert (sweep(context).summary["raised"], len(list_filed(context))) == (1, 2)


def test_a_sweep_that_did_nothing_or_half_never_ends_as_acted(
    context: JobContext, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sweep(context).outcome is NOOP, "nothing is overdue"
    make_overdue(context, clock)
    make_overdue(context, clock)
    with single_flight.hold_host_lock(context, follow_up.TASK):
        assert sweep(context).outcome is SKIPPED
    add_comment = timeline.add_comment

    def refuse_first(session: Any, ticket_id: int, *rest: Any) -> TicketComment:
        if ticket_id == 1:
            raise ValueError("<secret>\nof it")
        return add_comment(session, ticket_id, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(timeline, "add_comment", refuse_first)
        half = sweep(context)
    assert (half.outcome, half.summary["tickets_commented"]) == (WARNING, ["MC-2"])
    assert half.summary["problems"] == ["MC-1 has no comment: ValueError: <secret>"]
    remind = follow_ups.remind

    def move_on_first(session: Any, ticket: Ticket) -> bool:
        session.execute(update(Ticket).values(expected_check_in=clock.moment + timedelta(days=1)))
        return remind(session, ticket)

    monkeypatch.setattr(follow_ups, "remind", move_on_first)
    assert (sweep(context).outcome, len(list_comments(context))) == (NOOP, 1), "somebody set a new check-in meanwhile"


def test_streaks_count_from_the_newest_run() -> None:
    outcomes = ("failed", "lost", "failed", "done", "failed", "failed")
    rows: Any = [Run(agent=agent, outcome=outcome) for agent, outcome in zip("aabaab", outcomes, strict=True)]
    streaks = ticket_conditions.find_streaks(rows, lambda row: row.agent, 2)
    assert {agent: len(streak) for agent, streak in streaks.items()} == {"a": 2, "b": 2}
