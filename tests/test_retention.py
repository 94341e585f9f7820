"""Every table that grows by itself is kept short, and nothing else is deleted."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from database import reading, writing
from jobs import housekeeping, job_context
from jobs.job_context import JobContext
from models import (
    AgentSession,
    AlertDelivery,
    AlertKind,
    Base,
    CatchUp,
    DeliveryState,
    HealthResult,
    Heartbeat,
    IdempotencyKey,
    InboxItem,
    InboxState,
    Incident,
    IncidentState,
    Lease,
    Login,
    LoginLink,
    MessageKind,
    ProjectDraft,
    Quarantined,
    QueuedMessage,
    RequestState,
    Run,
    RunRequest,
    RunState,
    TaskRun,
    TaskSlot,
    TelegramMessage,
    Ticket,
    TicketEvent,
    TicketMessage,
    TicketStatus,
    Trigger,
    now,
)
from settings import Retention, Settings
from tickets.operations import retention
from tickets.shared.canary import CANARY

from .test_sessions import claimed
from .test_spine import make
from .workers.repositories import create_repository, git

pytestmark = pytest.mark.both_databases

DAYS = Retention().model_dump()
OLD = now() - timedelta(days=400)
NEW = now() - timedelta(minutes=1)

Row = Callable[[int, int], list[Any]]

EXAMPLES: dict[str, Row] = {
    "ticket_events": lambda t, r: [
        TicketEvent(
            ticket_id=t, seq=900 + n, event_type="agent.text", payload_json={}, actor="a", run_id=r, run_seq=n, ts=ts
        )
        for n, ts in enumerate((OLD, NEW), 1)
    ],
    "ticket_messages": lambda t, r: [
        TicketMessage(ticket_id=t, run_id=r, kind=MessageKind.TEXT, author="a", created=c, seq=1, changed=1)
        for c in (OLD, NEW)
    ],
    "queued_messages": lambda t, r: [
        QueuedMessage(uuid=f"u{n}", ticket_id=t, author="a", body="b", state=state, created=c, seq=1, changed=1)
        for n, (state, c) in enumerate(
            [(DeliveryState.ACCEPTED, OLD), (DeliveryState.QUEUED, OLD), (DeliveryState.EXPIRED, NEW)]
        )
    ],
    "run_requests": lambda t, r: [
        RunRequest(ticket_id=t, run_id=r, request=str(n), kind="question", payload={}, state=state, created=c)
        for n, (state, c) in enumerate([(RequestState.WITHDRAWN, OLD), (RequestState.PENDING, OLD)])
    ],
    "sessions": lambda t, r: [
        AgentSession(id="gone", program="claude", last_seen=OLD),
        AgentSession(id="open", program="claude", last_seen=OLD, ticket_id=t),
    ],
    "tickets": lambda t, r: [
        Ticket(
            identifier=f"CANARY-{n}", title="Canary", status=status, requester=CANARY, assigned_to=CANARY, created=ts
        )
        for n, (status, ts) in enumerate(((TicketStatus.DONE, OLD), (TicketStatus.TODO, OLD), (TicketStatus.DONE, NEW)))
    ],
    "task_slots": lambda t, r: [
        TaskSlot(task="x", host="h", trigger=Trigger.TIMER, due=s, until=s, catch_up=CatchUp.ONCE) for s in (OLD, NEW)
    ],
    "task_runs": lambda t, r: [TaskRun(task="x", trigger=Trigger.TIMER, started=s, ended=s) for s in (OLD, NEW)],
    "health_checks": lambda t, r: [
        HealthResult(host=str(c), name="disk", status="ok", detail="1 GB", seen=c) for c in (OLD, NEW)
    ],
    "heartbeats": lambda t, r: [Heartbeat(check=str(c), status="ok", ts=c) for c in (OLD, NEW)],
    "inbox_items": lambda t, r: [
        InboxItem(kind="question", title="t", state=state, created=OLD, settled=settled)
        for state, settled in [(InboxState.ACTED, OLD), (InboxState.PENDING, None), (InboxState.ACTED, NEW)]
    ],
    "alert_deliveries": lambda t, r: [
        AlertDelivery(channel="email", key=f"{n}", kind=AlertKind.DONE, ticket_id=t, alert={}, created=created, due=due)
        for n, (created, due) in enumerate([(OLD, None), (OLD, OLD), (NEW, None)])
    ],
    "incidents": lambda t, r: [
        Incident(fingerprint=str(n), title="t", state=state, last_seen=OLD)
        for n, state in enumerate([IncidentState.CLOSED, IncidentState.OPEN])
    ],
    "quarantine": lambda t, r: [
        Quarantined(ticket_id=t, run_id=r, kind="report", reason="late", payload="{}", created=c) for c in (OLD, NEW)
    ],
    "project_drafts": lambda t, r: [
        ProjectDraft(source="/srv", clone=False, author="a", answered=answered, created=OLD)
        for answered in (OLD, NEW, None)
    ],
    "idempotency_keys": lambda t, r: [
        IdempotencyKey(actor="a", key=str(c), fingerprint="f", created=c) for c in (OLD, NEW)
    ],
    "logins": lambda t, r: [Login(secret_hash=str(e), name="n", expires=e) for e in (OLD, NEW)],
    "login_links": lambda t, r: [LoginLink(secret_hash=str(e), name="n", expires=e) for e in (OLD, NEW)],
    "telegram_messages": lambda t, r: [
        TelegramMessage(chat_id=1, message_id=n, alert_key=f"event:{n}", part=0, key=f"{n}", alert={}, created=at)
        for n, at in enumerate((OLD, NEW))
    ],
    "leases": lambda t, r: [Lease(name=str(u), holder="h", until=u) for u in (OLD, NEW)],
}


def test_every_table_has_a_rule_or_a_stated_reason_to_have_none() -> None:
    ruled = {rule.table for rule in retention.list_rules(DAYS)}

    assert ruled | set(retention.PERMANENT_TABLES) == set(Base.metadata.tables)
    assert not ruled & set(retention.PERMANENT_TABLES)
    assert ruled == set(EXAMPLES)


@pytest.mark.parametrize("table", sorted(EXAMPLES))
def test_a_rule_deletes_what_is_old_and_settled_and_nothing_else(engine: Engine, table: str) -> None:
    run = claimed(engine, make(engine))
    mapped = Base.metadata.tables[table]
    with writing(engine) as session:
        before = session.scalar(select(func.count()).select_from(mapped)) or 0
        rows = EXAMPLES[table](run.ticket_id, run.id)
        session.add_all(rows)
    rule = next(rule for rule in retention.list_rules(DAYS) if rule.table == table)

    with writing(engine) as session:
        assert retention.prune_table(session, rule) == 1

    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(mapped)) == before + len(rows) - 1


@pytest.mark.parametrize(("of_ticket", "event_type"), [(False, "dispatch_refused"), (True, "external.built")])
def test_what_belongs_to_no_ticket_and_what_services_report_goes_too(
    engine: Engine, of_ticket: bool, event_type: str
) -> None:
    """A pass that is refused each minute leaves an event each time, and a service may report without end."""
    ticket_id = make(engine)
    place = {"ticket_id": ticket_id, "seq": 900} if of_ticket else {}
    with writing(engine) as session:
        session.add(TicketEvent(event_type=event_type, payload_json={}, actor="a", ts=OLD, **place))
        session.execute(update(TicketEvent).where(TicketEvent.event_type == "ticket_created").values(ts=OLD))
    rule = next(rule for rule in retention.list_rules(DAYS) if rule.table == "ticket_events")
    with writing(engine) as session:
        assert retention.prune_table(session, rule) == 1
    with reading(engine) as session:
        assert session.scalars(select(TicketEvent.event_type)).all() == ["ticket_created"]
        assert session.get_one(Ticket, ticket_id).pruned_seq == (900 if of_ticket else 0)


def test_the_files_of_a_run_go_only_when_its_ticket_is_over(engine: Engine) -> None:
    over, still_open = claimed(engine, make(engine)), claimed(engine, make(engine))
    with writing(engine) as session:
        session.execute(update(Run).values(state=RunState.ENDED, ended=OLD))
        assert retention.find_expired_runs(session, [over.id, still_open.id], 30) == []
        session.execute(update(Ticket).where(Ticket.id == over.ticket_id).values({"status": "done"}))
        assert retention.find_expired_runs(session, [over.id, still_open.id, 99], 30) == [over.id]


@pytest.fixture
def context(engine: Engine, tmp_path: Path) -> JobContext:
    settings = Settings(home=tmp_path / "home")
    settings.ensure_home()
    return job_context.build_context(settings, engine)


def make_old(path: Path) -> None:
    path.touch()
    os.utime(path, (OLD.timestamp(), OLD.timestamp()))


def make_runs(context: JobContext) -> tuple[list[Path], list[Path]]:
    over, still_open = (claimed(context.engine, make(context.engine)) for _ in range(2))
    with writing(context.engine) as session:
        session.execute(update(Run).values(state=RunState.ENDED, ended=OLD))
        session.execute(update(Ticket).where(Ticket.id == over.ticket_id).values({"status": "done"}))
    folders = [context.run_dir(run.id) for run in (over, still_open)]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders[:1], folders[1:]


def make_slots(context: JobContext) -> tuple[list[Path], list[Path]]:
    repository = create_repository(context.settings.home / "repository")
    slots = [context.settings.worktrees_dir / "web" / f"pool-{number}.20200101T000000000000" for number in (1, 2)]
    for slot in slots:
        git(repository, "worktree", "add", "--detach", str(slot))
    make_old(slots[0])
    return slots[:1], slots[1:]


def make_files(folder: Path, old: str, *new: str) -> tuple[list[Path], list[Path]]:
    make_old(folder / old)
    for name in new:
        (folder / name).touch()
    return [folder / old], [folder / name for name in new]


NEWEST_BACKUPS = [f"mc-2999010{day}T000000Z.db" for day in (1, 2, 3)]
FILES: dict[str, Callable[[JobContext], tuple[list[Path], list[Path]]]] = {
    "runs": make_runs,
    "attachments": lambda context: make_files(context.settings.attachments_dir, "old", "new"),
    "logs": lambda context: make_files(context.settings.logs_dir, "old.log", "new.log"),
    "slots": make_slots,
    "backups": lambda context: make_files(context.settings.backups_dir, "mc-20200101T000000Z.db", *NEWEST_BACKUPS),
}


@pytest.mark.parametrize("kind", sorted(FILES))
def test_files_over_age_are_deleted_alone_and_the_deletion_is_reported(context: JobContext, kind: str) -> None:
    is_backup = kind == "backups"
    if is_backup and context.engine.dialect.name == "postgresql":
        return  # it is backed up with its own tools
    old, new = FILES[kind](context)

    housekeeping.run_pass(context, "backup" if is_backup else "retention", Trigger.TIMER)
    housekeeping.run_pass(context, "retention", Trigger.TIMER)

    assert [path.exists() for path in (*old, *new)] == [False] * len(old) + [True] * len(new)
    with reading(context.engine) as session:
        kinds = {row.name: row.last for row in retention.list_kinds(session, DAYS)}
    assert {name for name, last in kinds.items() if last} == {kind}
    assert set(FILES) | set(EXAMPLES) == set(kinds)
    last = kinds[kind]
    assert last is not None and last.count == len(old) and now() - last.at < timedelta(hours=1)
