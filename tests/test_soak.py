"""The parts of `bin/soak`: schedules, histories, trends and comparisons. The soak itself is no part of the suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine

from database import reading, writing
from failpoints import Failpoint
from models import MissReason, Run, TaskOutcome, Trigger
from soak import agent_program, break_each, checker, day, day_alerts, day_checks, scenarios
from soak.board import ProcessKind, open_board
from soak.break_each import HealthCause, HealthReading, draw_pairs, parse_health
from soak.checker import StoreContent
from soak.clients import KINDS, Client
from soak.day_alerts import ReceivedAlert
from soak.faults import EXCLUSIVE, FAULTS, INCIDENT_TITLE, BoardFault
from soak.history import Answer, ClientOperation, History
from soak.samples import Sample, compute_trends
from soak.schedule import LONG_LIVED, SHORT_LIVED, build_schedule
from tickets.conversation import messages
from tickets.conversation.messages import NewMessage
from tickets.lifecycle import transitions
from tickets.operations import inbox_items
from tickets.runs import claims, reports
from tickets.schedule import cron, ledger
from tickets.schedule.slot_plan import MissedSlots
from tickets.shared.inputs import NewTicket

from .test_architecture import ROOT
from .test_spine import ALICE
from .waiting import wait_until


def test_a_seed_gives_one_schedule_that_strikes_every_target_and_leaves_the_end_steady() -> None:
    schedule = build_schedule(7, 600)
    targets = {strike.target for strike in schedule}
    late = {strike.target for strike in schedule if strike.at > 360}

    assert schedule == build_schedule(7, 600) != build_schedule(8, 600)
    assert targets == {*LONG_LIVED, *SHORT_LIVED, *Failpoint}
    assert late.isdisjoint(LONG_LIVED)
    assert all(first.at < second.at for first, second in pairwise(schedule))


def test_an_operation_is_unknown_until_one_of_its_requests_was_answered(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    answers: list[list[Answer]] = [
        [Answer.UNKNOWN, Answer.OK],
        [Answer.UNKNOWN, Answer.FAILED],
        [Answer.FAILED],
    ]
    for number, tries in enumerate(answers):
        history.record(ClientOperation("create", str(number), tries=tries))

    assert history.count() == {"create": {"ok": 1, "failed": 1, "unknown": 1}}
    assert history.repeats == 2
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 3


def test_a_trend_is_flat_until_its_growth_exceeds_the_limit() -> None:
    samples = [
        Sample(at, "scheduler 1", "threads", value) for at, value in ((0, 90), (20, 90), (30, 2), (40, 4), (50, 6))
    ]
    [steep] = compute_trends(samples, since=10)
    [level] = compute_trends([replace(sample, value=3) for sample in samples], since=0)

    assert (steep.samples, steep.first, steep.last, round(steep.hourly), round(steep.growth)) == (3, 2, 6, 720, 4)
    assert level.is_flat and not replace(steep, growth=5).is_flat


def record(kind: str, key: str, subject: str = "", answer: Answer = Answer.OK) -> ClientOperation:
    return ClientOperation(kind, key, subject, [answer])


@pytest.fixture
def content(engine: Engine) -> StoreContent:
    """A store in which one ticket was created, written to, worked and completed."""
    with writing(engine) as session:
        body = NewTicket.model_validate({"title": "script k1", "assigned_to": "script", "gate": "none"})
        ticket = transitions.create_ticket(session, body, ALICE)
        messages.queue_message(session, ticket, NewMessage(body="Message k1-0."), ALICE)
        transitions.transition(session, ticket.id, "park", ALICE, wake={"kind": "manual"})
        transitions.transition(session, ticket.id, "wake", ALICE)
        run = claims.claim_ticket(session, ticket.id, "here").run
        report = reports.RunReport.model_validate({"verdict": "done", "summary": "Done."})
        reports.apply_report(session, run.id, report, reports.RetryPolicy())
    with reading(engine) as session:
        return checker.load_content(session)


def compare(content: StoreContent, *operations: ClientOperation) -> list[str]:
    history = History(Path("/dev/null"))
    for operation in operations:
        history.record(operation)
    checks = (checker.check_tickets, checker.check_messages, checker.check_comments, checker.check_moves)
    return [
        *(text for check in checks for text in check(content, history)),
        *checker.check_events(content),
        *checker.check_runs(content),
    ]


def test_the_comparison_finds_what_was_lost_doubled_or_ended_wrong(content: StoreContent) -> None:
    create, message = record("create", "k1"), record("message", "k1-0", "MC-1")
    park = record("park", "k1", "MC-1")
    [run] = content.runs

    assert compare(content, create, message, park) == []
    assert compare(content, create, message, park, record("create", "k2")) == ["ticket k2 was answered ok and is lost"]
    assert compare(content, message, park) == ["a ticket k1 exists that nobody created"]
    assert compare(content, create, record("message", "k1-0", answer=Answer.FAILED), park) == [
        "message k1-0 was refused and exists"
    ]
    assert compare(content, create, message, park, park) == ["MC-1: park was answered 2 to 2 times and made 1 times"]
    doubled = replace(content, messages=[*content.messages] * 2, events=content.events[::-1])
    assert compare(doubled, create, message, park) == [
        "message k1-0 exists 2 times",
        "the events of ticket 1 are not in order",
    ]
    later = Run(id=2, ticket_id=1, generation=3, state="running", started=run.started, outcome=None)
    assert compare(replace(content, runs=[run, later]), create, message, park) == [
        "run 2 has not ended",
        "the generations of ticket 1 are [1, 3]",
        f"run 2 of ticket 1 began before run {run.id} had ended",
        "MC-1 is done after runs that ended as ['done', 'None']",
    ]


def test_the_agent_of_a_soak_carries_out_the_orders_in_a_text() -> None:
    text = "# Prompt\n\n    soak: ask answer-k1 Which?\nsoak: done All of it.\nprint: no order\n"
    assert list(agent_program.read_orders(text)) == [("ask", "answer-k1 Which?"), ("done", "All of it.")]


def test_a_seed_gives_pairs_of_faults_that_can_be_broken_together() -> None:
    pairs = draw_pairs(5, 20)
    names = {fault.name for fault in FAULTS}

    assert pairs == draw_pairs(5, 20) != draw_pairs(6, 20)
    assert len(set(pairs)) == 20 and all(first.combines and second.combines for first, second in pairs)
    assert not EXCLUSIVE & {frozenset({first.name, second.name}) for first, second in pairs}
    assert all(pair <= names for pair in EXCLUSIVE) and len(names) == len(FAULTS)


def read_report(verdict: str, *causes: tuple[str, str, list[str]]) -> HealthReading:
    rows = [{"check": {"name": name, "detail": detail}, "explains": explains} for name, detail, explains in causes]
    return parse_health({"verdict": verdict, "checks": [], "causes": rows})


def test_a_fault_is_named_by_its_check_and_its_words_and_every_other_cause_is_wrong() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "disk full")
    right = read_report("degraded", ("disk", "almost full: 1.0 GB free", []))

    assert break_each.is_named(fault, right) and not break_each.find_wrong_causes([fault], right)
    assert break_each.is_named(fault, read_report("degraded", ("home", "full", ["disk"])))
    assert not break_each.is_named(fault, read_report("degraded", ("disk", "mounted", [])))
    assert not break_each.is_named(fault, replace(right, verdict="working"))
    wrong = read_report("degraded", ("disk", "almost full: 1.0 GB free", []), ("git", "gave no answer", []))
    assert break_each.find_wrong_causes([fault], wrong) == [HealthCause("git", "gave no answer")]


def test_a_measurement_tells_the_seconds_and_every_wrong_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    broken_looks = [read_report("degraded", ("git", "hangs", [])), read_report("not working", ("tmux", "missing", []))]
    looks: list[HealthReading] = []

    @contextmanager
    def inject(_: Any) -> Iterator[None]:
        looks.extend(broken_looks)
        yield

    def read_health(_: Any) -> HealthReading:
        return looks.pop(0) if looks else read_report("working")

    monkeypatch.setattr(break_each, "read_health", read_health)
    monkeypatch.setattr(break_each, "POLL_SECONDS", 0)
    monkeypatch.setattr(break_each.BreakRun, "_close_incidents", lambda _: None)
    fault = BoardFault("tmux missing", "tmux", "missing", inject)
    run = break_each.BreakRun(None, can_mount=False)  # type: ignore[arg-type]

    result = run.measure(fault)

    assert result.turned["tmux missing"] is not None and result.cleared is not None
    assert list(result.wrong_causes) == ["git"] and not result.is_right
    assert "also named: git" in break_each.format_row(result)
    assert replace(result, wrong_causes={}).is_right
    unmounted = run.measure(replace(fault, needs_mount=True))
    assert unmounted.note and not unmounted.turned


def test_a_person_of_a_soak_brings_a_ticket_to_its_end_though_a_web_worker_is_killed(tmp_path: Path) -> None:
    """The whole of a soak in small: board, agent with its tools, client, failpoint, comparison."""
    with open_board(tmp_path) as board:
        board.start_board()
        history = History(tmp_path / "history.jsonl")
        client = Client(board, history, 0, seed=1, ending=threading.Event())
        (board.failpoints / Failpoint.COMMITTED).touch()

        client.work_ticket(next(kind for kind in KINDS if kind.name == "ask"), "k0-1")
        board.stop_board()

        assert checker.check_board(board, history) == []
        assert {operation.kind for operation in history.operations} >= {"create", "answer"}
        assert (board.failpoints / f"{Failpoint.COMMITTED}.reached").exists()
        assert len(board.agent_log.read_text().splitlines()) >= 2, "a prompt before the question, and one after it"
        wait_until(lambda: not board.list_processes(ProcessKind.WEB_WORKER, ProcessKind.AGENT), 120, "their end")


def test_the_health_checks_have_the_words_that_each_fault_expects() -> None:
    files = [*(ROOT / "tickets/operations").glob("*.py"), *(ROOT / "jobs/health").glob("*.py")]
    texts = "\n".join(file.read_text("utf-8") for file in files)
    raised_here = {INCIDENT_TITLE}
    assert [
        fault.fragment for fault in FAULTS if fault.fragment not in texts and fault.fragment not in raised_here
    ] == []


def test_two_hours_of_a_day_end_as_their_files_say_and_a_wrong_expectation_is_found() -> None:
    right = scenarios.load_scenarios(["given-up-after-three", "answered-before-the-digest"])
    expected = right[0].expect
    wrong = expected.model_copy(
        update={"status": "blocked", "alerts": expected.alerts[:1], "inbox": ["question pending"]}
    )

    result = day.play_day(
        [*right, right[0].model_copy(update={"name": "wrong", "expect": wrong})], 16 * 60 + 35, 18 * 60 + 31
    )

    assert result.problems == [
        "wrong: status done, expected blocked",
        f"wrong: alerts {expected.alerts}, expected {expected.alerts[:1]}",
        "wrong: inbox ['question acted none'], expected ['question pending']",
    ]
    assert (result.runs, result.items) == (9, 3)


def test_a_day_finds_slots_without_a_row_or_with_two_tasks_that_failed_and_open_items(engine: Engine) -> None:
    """A task of every ten minutes, of which the ledger lacks one slot, has one twice and one that is none."""
    task = cron.parse_task(
        "stars", "---\nschedule: '*/10 * * * *'\ncommand: ['true']\nenabled: true\ndescription: x\n---\n"
    )
    ten = datetime(2026, 3, 2, 10, tzinfo=UTC)
    due = [ten + timedelta(minutes=minute) for minute in (0, 20, 20, 25)]
    with writing(engine) as session:
        slots = [ledger.begin_slot(session, task, "here", Trigger.TIMER, time, time) for time in due]
        for slot, outcome in zip(slots, (TaskOutcome.ACTED, TaskOutcome.NOOP, TaskOutcome.FAILED), strict=False):
            ledger.end_slot(session, slot.id, slot.due, outcome)
        missed = MissedSlots(due[0] + timedelta(minutes=30), due[0] + timedelta(minutes=50), 3, MissReason.BUSY)
        ledger.record_missed(session, task, "here", missed)
        inbox_items.file_item(session, inbox_items.NewItem(kind="finding", title="Look"), ALICE)

        slot_problems = day_checks.list_slot_problems(
            session, task, ZoneInfo("UTC"), ten - timedelta(minutes=1), ten + timedelta(hours=1)
        )
        failures, items = day_checks.list_failed_tasks(session), day_checks.list_open_items(session, [])
        others = day_checks.list_other_problems(
            session, [], [ReceivedAlert("10:00", "Incident: x", "<1>", in_digest=False)]
        )

        assert slot_problems == [
            "slot 2026-03-02 10:10:00+00:00 of stars has no row in the ledger",
            "slot 2026-03-02 11:00:00+00:00 of stars has no row in the ledger",
            "slot 2026-03-02 10:20:00+00:00 of stars has 2 rows",
            "the ledger has 2026-03-02 10:25:00+00:00 of stars, which is no slot",
        ]
        assert [line.rpartition(" ")[2] for line in failures] == ["failed", "never"]
        assert items == ["item 1 is open: finding pending Look"]
        assert others == [
            "item finding pending belongs to no scenario: Look",
            "alert belongs to no scenario: Incident: x",
        ]


def test_a_day_finds_an_alert_that_came_twice() -> None:
    mails = []
    for key in ("<1@board>", "<2@board>", "<1@board>"):
        mails.append(EmailMessage())
        mails[-1]["Message-ID"], mails[-1]["Subject"] = key, f"Alert {key[1]}"

    assert day_alerts.list_repeated(mails) == ["alert “Alert 1” came 2 times"]
