"""The ledger of scheduled tasks: which slots run, why others are missed, and that none is without a row."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import Engine, update

from database import reading, writing
from models import CatchUp, MissReason, TaskOutcome, Ticket, TicketStatus, Trigger
from tickets.schedule import cron, ledger, slot_plan, task_files, ticket_tasks
from tickets.schedule.cron import Task
from tickets.schedule.slot_plan import Causes, MissedSlots
from tickets.shared import runtime_flags
from tickets.shared.actors import Actor
from tickets.shared.errors import ConflictError, Forbidden, Invalid, ProofRequired

from .test_spine import ALICE

BERLIN, HOUR, MINUTE = ZoneInfo("Europe/Berlin"), timedelta(hours=1), timedelta(minutes=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
R = MissReason


def build_task(schedule: str = "0 * * * *", rule: CatchUp = CatchUp.ONCE, **fields: object) -> Task:
    head = {"schedule": schedule, "command": ["true"], "catch_up": rule.value, "enabled": True, "description": "x"}
    return task_files.build_task("report", head | fields, "Look at the *numbers*.")


def plan(task: Task, after: datetime, moment: datetime, **causes: object) -> slot_plan.SlotPlan:
    facts = {"started": NOON - timedelta(days=30)} | causes
    return slot_plan.plan_slots(task, after, moment, ZoneInfo("UTC"), timedelta(), Causes(**facts))  # type: ignore[arg-type]


def summarize(missed: list[MissedSlots]) -> list[tuple[int, MissReason]]:
    return [(slots.count, slots.reason) for slots in missed]


@pytest.mark.parametrize(
    ("rule", "late", "due", "missed"),
    [
        (CatchUp.ONCE, 30 * MINUTE, NOON + 3 * HOUR, [(2, R.NOT_RUNNING)]),
        (CatchUp.SKIP, 30 * MINUTE, None, [(3, R.NOT_RUNNING)]),
        (CatchUp.SKIP, timedelta(seconds=20), NOON + 3 * HOUR, [(2, R.NOT_RUNNING)]),
        (CatchUp.ALL, 30 * MINUTE, NOON + HOUR, []),
    ],
)
def test_slots_of_a_downtime_are_made_up_for_by_the_rule(
    rule: CatchUp, late: timedelta, due: datetime | None, missed: list[tuple[int, MissReason]]
) -> None:
    moment = NOON + 3 * HOUR + late
    slots = plan(build_task(rule=rule), NOON, moment, started=moment)
    assert (slots.due, summarize(slots.missed)) == (due, missed)


def test_a_week_of_missed_minutes_is_one_row_and_longer_ones_are_bounded() -> None:
    week = plan(build_task("* * * * *", CatchUp.SKIP), NOON, NOON + timedelta(days=7), is_enabled=False)
    assert week.due is None
    assert week.missed == [MissedSlots(NOON + MINUTE, NOON + timedelta(days=7), 10_080, R.DISABLED)]

    year = plan(build_task("* * * * *"), NOON, NOON + timedelta(days=365))
    assert year.due == NOON + timedelta(days=365)
    assert [(slots.first, slots.count) for slots in year.missed] == [(NOON + MINUTE, slot_plan.MAX_COUNT - 1)]

    every = plan(build_task("* * * * *", CatchUp.ALL), NOON, NOON + timedelta(minutes=150))
    assert (every.due, summarize(every.missed)) == (NOON + 51 * MINUTE, [(50, R.BUSY)])


def test_each_missed_slot_has_the_reason_of_its_time() -> None:
    causes = {
        "started": NOON + HOUR,
        "sleeps": [(NOON + 90 * MINUTE, NOON + 150 * MINUTE)],
        "run_ended": NOON + 3 * HOUR,
    }
    slots = plan(build_task(), NOON, NOON + 5 * HOUR, **causes)
    assert slots.due == NOON + 5 * HOUR
    assert summarize(slots.missed) == [(1, R.NOT_RUNNING), (1, R.ASLEEP), (1, R.STILL_RUNNING), (1, R.BUSY)]


def test_nothing_that_was_due_before_a_person_changed_the_file_is_made_up_for() -> None:
    change_time = NOON + 150 * MINUTE
    assert plan(build_task(), NOON, change_time + MINUTE, changed=change_time).due is None
    assert plan(build_task(), NOON, change_time + 40 * MINUTE, changed=change_time).due == NOON + 3 * HOUR


@pytest.mark.parametrize("schedule", ["30 2 * * *", "0,30 2 * * *", "*/30 * * * *", "15 1-4 * * *", "30 */2 * * *"])
@pytest.mark.parametrize("day", ["2026-03-28", "2026-10-24"])
def test_slots_around_a_clock_change_are_the_same_forwards_and_backwards(schedule: str, day: str) -> None:
    task, start = build_task(schedule), datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    end, forwards, offset = start + timedelta(days=2), [start], timedelta(seconds=42)
    while (time := cron.find_next_time(task, forwards[-1], BERLIN, offset)) <= end:
        forwards.append(time)
    backwards = list(cron.list_past_times(task, start, end, BERLIN, offset))
    assert list(reversed(backwards)) == [time.astimezone(UTC) for time in forwards[1:]]
    assert len(forwards) > 2


def test_a_task_has_slots_in_its_own_zone_and_an_hour_that_the_clocks_double_runs_it_once() -> None:
    task = build_task("30 2 * * *", zone="Europe/Berlin")
    before, doubled = datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert plan(task, before, doubled + MINUTE).due == doubled
    assert plan(task, doubled, doubled + 2 * HOUR).due is None
    skipped = datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert plan(task, skipped - HOUR, skipped + MINUTE).due == skipped
    half_hours = build_task("*/30 * * * *", CatchUp.ALL, zone="Europe/Berlin")
    assert plan(half_hours, doubled, doubled + 2 * HOUR).due == doubled + 30 * MINUTE


# The store


@pytest.mark.both_databases
def test_missed_slots_of_one_reason_are_one_row(engine: Engine) -> None:
    task = build_task()
    with writing(engine) as session:
        for hour, reason in enumerate((R.DISABLED, R.DISABLED, R.ASLEEP, R.DISABLED), 1):
            moment = NOON + hour * HOUR
            ledger.record_missed(session, task, "here", MissedSlots(moment, moment, 1, reason))
            session.flush()
        ledger.record_missed(session, task, "there", MissedSlots(NOON, NOON, 1, R.DISABLED))
    with reading(engine) as session:
        views = ledger.list_slots(session, task.name)
        assert ledger.find_last_slot(session, task.name, "here") == NOON + 4 * HOUR
        older = ledger.list_slots(session, task.name, before=views[1].slot.id)
    rows = [(view.slot.host, view.slot.count, view.slot.due, view.slot.until) for view in views]
    assert rows == [
        ("here", 1, NOON + 4 * HOUR, NOON + 4 * HOUR),
        ("here", 1, NOON + 3 * HOUR, NOON + 3 * HOUR),
        ("here", 2, NOON + HOUR, NOON + 2 * HOUR),
        ("there", 1, NOON, NOON),
    ]
    assert [view.slot.id for view in older] == [view.slot.id for view in views[2:]]
    assert {view.did_work for view in views} == {False} and ledger.count_missed(views) == 1


@pytest.mark.both_databases
def test_a_run_that_its_scheduler_did_not_survive_is_interrupted(engine: Engine) -> None:
    with writing(engine) as session:
        for host in ("here", "there"):
            ledger.begin_slot(session, build_task(), host, Trigger.TIMER, NOON, NOON)
        ledger.close_interrupted(session, "here")
    with reading(engine) as session:
        views = ledger.load_recent(session, ["report", "nothing"])
    assert {view.slot.host: (view.slot.reason, view.did_work) for view in views["report"]} == {
        "here": (R.INTERRUPTED, False),
        "there": (None, None),
    }
    assert views["nothing"] == []


def make_ticket(engine: Engine, task: Task) -> ticket_tasks.TicketResult:
    with writing(engine) as session:
        slot = ledger.begin_slot(session, task, "here", Trigger.TIMER, NOON, NOON)
        result = ticket_tasks.create_ticket(session, task, slot.id)
        ledger.end_slot(session, slot.id, NOON, result.outcome, result.reason)
        return result


@pytest.mark.both_databases
def test_a_task_with_a_ticket_has_done_its_work_when_that_is_done(engine: Engine) -> None:
    """It does nothing while its last ticket is open or the board is paused, and half its work until the ticket is done."""
    task = build_task(command=None, ticket={"title": "Read the numbers", "priority": "high", "acceptance": ["Seen"]})
    assert make_ticket(engine, task) == ticket_tasks.TicketResult(TaskOutcome.ACTED, "MC-1")
    assert make_ticket(engine, task).reason is R.STILL_RUNNING

    def judge() -> list[bool | None]:
        with reading(engine) as session:
            return [view.did_work for view in ledger.list_slots(session, task.name)]

    assert judge() == [False, None]
    for status, did_work in ((TicketStatus.CANCELLED, False), (TicketStatus.DONE, True)):
        with writing(engine) as session:
            session.execute(update(Ticket).values(status=status))
        assert judge() == [False, did_work]
    with writing(engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "Upgrade", ALICE)
    assert make_ticket(engine, task).reason is R.PAUSED
    with reading(engine) as session:
        ticket = session.get_one(Ticket, 1)
    assert (ticket.title, ticket.description, ticket.requester) == (
        "Read the numbers",
        "Look at the *numbers*.",
        "report",
    )


@pytest.mark.both_databases
def test_a_ticket_that_cannot_be_created_is_a_failure_and_leaves_nothing(engine: Engine) -> None:
    result = make_ticket(engine, build_task(command=None, ticket={"title": "x", "assigned_to": "gone"}))
    assert result.outcome is TaskOutcome.FAILED and result.problem and "gone" in result.problem
    with reading(engine) as session:
        assert session.get(Ticket, 1) is None
        [view] = ledger.list_slots(session, "report")
    assert (view.slot.outcome, view.did_work) == (TaskOutcome.FAILED, False)


# Files


def test_a_broken_file_is_one_problem_with_its_line_and_a_shipped_name_is_refused(tmp_path: Path) -> None:
    head = 'schedule: "0 8 * * *"\nenabled: true\ndescription: x\n'
    files = {
        "good": f"---\n{head}command: [mc_pickup.py]\n---\n",
        "zone": f"---\n{head}zone: Mars/Olympus\ncommand: [a]\n---\n",
        "torn": "---\nenabled: true\nschedule: [\n---\n",
        "both": f"---\n{head}command: [a]\nticket: {{title: x}}\n---\n",
        "tag": f"---\n{head}ticket:\n  title: x\n  tags: [Bad Tag]\n---\n",
        "code": f"---\n{head}command: !!python/object/apply:os.system ['touch /tmp/x']\n---\n",
        "deep": "---\n" + "[" * 5000 + "\n---\n",
        "backup": f"---\n{head}command: [rm]\n---\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.md").write_text(text)
    (tmp_path / "large.md").write_bytes(b"x" * (cron.MAX_FILE_BYTES + 1))
    (tmp_path / "latin.md").write_bytes(b"\xff")
    os.mkfifo(tmp_path / "pipe.md")  # reading it would never end
    loaded, problems = cron.TaskFolder(task_files.SHIPPED_TASKS, tmp_path).load()

    assert [name for name, task in loaded.items() if not task.is_shipped] == ["good"]
    assert loaded["backup"].is_shipped
    lines = {problem.split(".md: line ")[0]: problem.split(".md: line ")[1] for problem in problems}
    assert lines.keys() == files.keys() - {"good"} | {"large", "latin", "pipe"} and len(problems) == len(lines)
    assert lines["zone"].startswith("5: zone: ") and lines["tag"].startswith("7: ticket.tags.0: ")
    assert lines["torn"][0] == "4" and "shipped task has this name" in lines["backup"]
    duplicate = "ticket-pickup and good run the same command"
    assert cron.find_duplicates(loaded, {"good", "ticket-pickup"}) == [duplicate]


def save(engine: Engine, task: Task, own: Path, actor: Actor = ALICE, former: str | None = None) -> None:
    with writing(engine) as session:
        task_files.save_task(session, task, own, actor, former=former)


def test_a_persons_task_is_written_whole_and_text_stays_text(engine: Engine, tmp_path: Path) -> None:
    own = tmp_path / "tasks"
    hostile = 'x: !!python/none "\n---\ncommand: [rm, -rf]\n---\n'
    ticket = {"title": "- a: b # *c", "tags": ["bug"]}
    task = task_files.build_task(
        "mine", {"schedule": "0 8 * * *", "ticket": ticket, "enabled": True, "description": "a: [b"}, hostile
    )
    save(engine, task, own)
    loaded = task_files.require("mine", own)
    assert (loaded.head, loaded.prompt) == (task.head, hostile.strip())
    [file] = own.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600

    digest = task_files.read_digest("mine", own)
    script = ["sh", "-c", " if a;\n then b; fi " + "x" * 300, ""]
    edited = task_files.EditTask(schedule="0 9 * * *", ticket=None, command=script).apply(loaded)
    save(engine, edited, own, former=digest)
    head = task_files.require("mine", own).head
    assert (head.schedule, head.command) == ("0 9 * * *", script)
    with pytest.raises(ConflictError, match="has changed since"):
        save(engine, loaded, own, former=digest)
    with pytest.raises(ConflictError, match="is called mine already"):
        save(engine, loaded, own)


@pytest.mark.parametrize("name", ["../evil", "Mine", "a/b", "", "new", "x" * 42])
def test_a_task_is_named_by_a_strict_pattern(name: str) -> None:
    with pytest.raises(Invalid, match="lower-case letters"):
        task_files.build_task(name, {})


def test_only_people_schedule_commands_with_proof_and_nobody_edits_a_shipped_task(
    engine: Engine, tmp_path: Path
) -> None:
    own = tmp_path / "tasks"
    ticket = build_task(command=None, ticket={"title": "x"})
    unproven = Actor(ALICE.kind, "alice", has_proof=False)
    with pytest.raises(ProofRequired):
        save(engine, build_task(), own, unproven)
    with pytest.raises(Forbidden):
        save(engine, build_task(), own, Actor.system())
    with pytest.raises(Forbidden, match="read access only"):
        save(engine, ticket, own, Actor(ALICE.kind, "eve", writes=False))
    save(engine, ticket, own, unproven)
    with pytest.raises(ConflictError, match="shipped task"):
        task_files.require_own("backup", own)
    shipped = task_files.build_task("backup", {**build_task().head.model_dump(mode="json")})
    with pytest.raises(ConflictError, match="shipped task"):
        save(engine, shipped, own)
    assert [file.name for file in own.iterdir()] == ["report.md"]


@pytest.mark.parametrize(
    ("title", "name"),
    [("Read the Numbers!", "read-the-numbers"), ("Überprüfe 3×", "uberprufe-3"), ("日本", "task"), ("7 days", "days")],
)
def test_a_name_is_made_from_the_title(title: str, name: str) -> None:
    assert task_files.make_name(title) == name
    assert cron.NAME_PATTERN.fullmatch(task_files.make_name(title * 20))
