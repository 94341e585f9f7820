"""The reaper settles, deletes and copies; what it says is what it did."""

from __future__ import annotations

import json
import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import open_engine, reading, writing
from jobs import housekeeping, single_flight
from models import (
    DeliveryState,
    Outcome,
    QueuedMessage,
    Run,
    RunState,
    TaskOutcome,
    TaskRun,
    Ticket,
    TicketStatus,
    Trigger,
    now,
)
from tickets.conversation import messages
from tickets.conversation.messages import NewMessage
from tickets.runs import claims
from tickets.shared import lookup
from workers.host import private_dirs

from .house import ALICE, House
from .test_dying import SLOW_STEP, kill_wrapper

OLD = time.time() - 400 * 86_400


def aged(path: Path) -> Path:
    path.touch()
    os.utime(path, (OLD, OLD))
    return path


def test_a_message_that_a_run_did_not_take_for_half_an_hour_expires(house: House) -> None:
    ticket_id = house.ticket()
    with writing(house.engine) as session:
        run = claims.claim(session, ticket_id, "elsewhere").run
        message = messages.send(session, lookup.get(session, ticket_id), NewMessage(body="Hurry."), ALICE)
        assert messages.offer(session, run)
        session.execute(update(QueuedMessage).values(offered=now() - timedelta(minutes=31)))

    done = house.run_door("queue_reaper.py", "--trigger", "timer")

    said = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, said["outcome"], said["expired"]) == (0, "acted", 1)
    with reading(house.engine) as session:
        assert session.get_one(QueuedMessage, message.id).state is DeliveryState.EXPIRED
        [row] = session.scalars(select(TaskRun))
    assert (row.task, row.trigger, row.outcome) == ("queue-reaper", Trigger.TIMER, TaskOutcome.ACTED)


def test_it_settles_dead_runs_as_pickup_does(open_house: House) -> None:
    ticket_id = open_house.ticket(SLOW_STEP)
    open_house.make_pass()
    kill_wrapper(open_house, open_house.until_running(ticket_id))

    done = housekeeping.reap(open_house.bench)

    assert done.summary["reconciled"] == {"lost": 1}
    assert open_house.runs(ticket_id)[0].outcome is Outcome.LOST


def test_it_leaves_dead_runs_to_a_pickup_that_is_at_work(house: House) -> None:
    with single_flight.alone(house.bench, "pickup"):
        done = housekeeping.reap(house.bench)

    assert (done.outcome, done.summary["pickup"]) == (TaskOutcome.NOOP, "at work")


def test_files_go_when_nothing_needs_them_any_more(house: House) -> None:
    over, still_open = house.ticket(), house.ticket()
    with writing(house.engine) as session:
        gone, kept = (claims.claim(session, number, "here").run for number in (over, still_open))
        session.execute(update(Run).values(state=RunState.ENDED, ended=now() - timedelta(days=99)))
        session.execute(update(Ticket).where(Ticket.id == over).values({"status": TicketStatus.DONE}))
    folders = [house.bench.run_dir(run.id) for run in (gone, kept)]
    for folder in folders:
        (folder / "config").mkdir(parents=True)
    orphan, fresh = aged(house.settings.attachments_dir / "a"), house.settings.attachments_dir / "b"
    fresh.touch()
    log = aged(house.settings.logs_dir / "old.log")

    done = housekeeping.tidy(house.bench)

    assert done.summary["files"] == {"runs": 1, "attachments": 1, "logs": 1}
    assert [path.exists() for path in (*folders, orphan, fresh, log)] == [False, True, False, True, False]


def test_a_folder_that_resists_is_named_and_keeps_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = [house.settings.runs_dir / f"{number}.20200101T000000000000" for number in (1, 2, 3)]
    for folder in aside:
        folder.mkdir()
        aged(folder)
    log = aged(house.settings.logs_dir / "old.log")
    remove = private_dirs.remove

    def resist(folder: Path) -> None:
        if folder == aside[1]:
            raise PermissionError(13, "Permission denied")
        remove(folder)

    monkeypatch.setattr(private_dirs, "remove", resist)

    done = housekeeping.tidy(house.bench)

    assert [folder.exists() for folder in (*aside, log)] == [False, True, False, False]
    assert done.outcome is TaskOutcome.WARNING
    assert done.summary["problems"] == [f"{aside[1]} cannot be removed: Permission denied"]


def test_a_pass_deletes_many_rows_in_bounded_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tickets.operations.retention.BATCH", 10)
    long_ago = now() - timedelta(days=400)
    with writing(house.engine) as session:
        session.add_all(TaskRun(task="x", trigger=Trigger.TIMER, started=long_ago) for _ in range(35))

    assert housekeeping.tidy(house.bench).summary["rows"] == {"task_runs": 35}


def test_a_backup_opens_to_the_same_tickets_and_old_ones_go(house: House) -> None:
    house.ticket(title="Keep me")
    folder = house.settings.backups_dir
    old = [aged(folder / f"mc-2020010{day}T000000Z.db") for day in range(1, 6)]

    done = house.run_door("queue_reaper.py", "--backup")

    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["outcome"], said["removed"]) == ("acted", 3)
    assert [path.exists() for path in old] == [False, False, False, True, True]
    copy = open_engine(f"sqlite:///{folder / said['backup']}")
    with reading(copy) as session:
        assert session.scalars(select(Ticket.title)).all() == ["Keep me"]
    copy.dispose()


def test_a_backup_that_cannot_be_written_fails_and_says_so(house: House) -> None:
    house.settings.backups_dir.rmdir()
    house.settings.backups_dir.touch()

    done = house.run_door("queue_reaper.py", "--backup")

    assert done.returncode == 2 and "backups" in done.stderr


def test_a_killed_reaper_leaves_its_lock_free(house: House) -> None:
    holder = house.door("-m", "tests.jobs.holder")
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert housekeeping.reap(house.bench).outcome is TaskOutcome.NOOP


def test_a_damaged_store_is_said_in_one_line(house: House) -> None:
    with writing(house.engine):
        pass
    house.engine.dispose()
    Path(house.settings.home / "mc.db").write_bytes(b"this is no database, whatever it is called" * 40)

    done = house.run_door("queue_reaper.py")

    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["outcome"] == "failed"
