"""The reaper settles, deletes and copies; what it says is what it did."""

from __future__ import annotations

import json
import os
import signal
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import open_engine, reading, writing
from jobs import host_state, housekeeping, single_flight
from models import (
    DeliveryState,
    Outcome,
    QueuedMessage,
    Run,
    TaskOutcome,
    TaskRun,
    Ticket,
    Trigger,
    now,
)
from tickets.conversation import messages
from tickets.conversation.messages import NewMessage
from tickets.runs import claims
from tickets.shared import lookup
from workers.host import private_dirs

from .installation import ALICE, Installation
from .test_dying import SLOW_STEP, kill_wrapper

OLD_TIME = time.time() - 400 * 86_400


def create_old_file(path: Path) -> Path:
    path.touch()
    os.utime(path, (OLD_TIME, OLD_TIME))
    return path


def test_a_message_that_a_run_did_not_take_for_half_an_hour_expires(installation: Installation) -> None:
    ticket_id = installation.ticket()
    with writing(installation.engine) as session:
        run = claims.claim_ticket(session, ticket_id, "elsewhere").run
        message = messages.queue_message(
            session, lookup.get_ticket(session, ticket_id), NewMessage(body="Hurry."), ALICE
        )
        assert messages.offer_messages(session, run)
        session.execute(update(QueuedMessage).values(offered=now() - timedelta(minutes=31)))
        session.execute(update(Run).values(heartbeat=now()))

    done = installation.run_program("queue_reaper.py", "--trigger", "timer")

    summary = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, summary["outcome"], summary["expired"]) == (0, "acted", 1)
    with reading(installation.engine) as session:
        assert session.get_one(QueuedMessage, message.id).state is DeliveryState.EXPIRED
        [row] = session.scalars(select(TaskRun))
    assert (row.task, row.trigger, row.outcome) == ("queue-reaper", Trigger.TIMER, TaskOutcome.ACTED)


def test_it_settles_dead_runs_as_pickup_does(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket(SLOW_STEP)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)
    draft = served_installation.context.run_dir(run.id) / "report.json.new"
    draft.touch()
    socket = served_installation.settings.run_socket(run.id)
    housekeeping.reap_queue(served_installation.context)
    assert socket.exists() and draft.exists(), "its wrapper is alive"
    kill_wrapper(served_installation, run)

    done = housekeeping.reap_queue(served_installation.context)

    assert done.summary["reconciled"] == {"lost": 1}
    assert not socket.exists() and not draft.exists(), "nothing of a killed wrapper is left"
    assert host_state.list_panes(served_installation.context) == []  # nothing is left of the run but its log
    assert served_installation.runs(ticket_id)[0].outcome is Outcome.LOST


def test_it_leaves_dead_runs_to_a_pickup_that_is_at_work(installation: Installation) -> None:
    with single_flight.hold_lease(installation.context, "pickup"):
        done = housekeeping.reap_queue(installation.context)

    assert (done.outcome, done.summary["pickup"]) == (TaskOutcome.NOOP, "at work")


def test_a_host_that_cannot_be_observed_is_looked_at_again_in_a_moment(
    installation: Installation, tmp_path: Path
) -> None:
    """Regression: tmux was back, and the failure was named until the next pass, five minutes later."""
    tmux = replace(installation.context.tmux, binary=str(tmp_path / "tmux"))
    done = housekeeping.reap_queue(replace(installation.context, tmux=tmux))
    assert (done.outcome, done.again) == (TaskOutcome.FAILED, True)


def test_a_clock_that_jumps_deletes_nothing(installation: Installation) -> None:
    """Regression: with a clock that was wrong by years, the next pass deleted every event and log within seconds."""
    log = create_old_file(installation.settings.logs_dir / "old.log")

    first = housekeeping.run_pass(installation.context, "retention", Trigger.TIMER)
    with writing(installation.engine) as session:
        session.execute(update(TaskRun).values(started=now() - timedelta(days=15)))
    doubtful = housekeeping.run_pass(installation.context, "retention", Trigger.TIMER)
    is_log_spared = log.exists()
    later = housekeeping.run_pass(installation.context, "retention", Trigger.TIMER)

    assert [done.outcome for done in (first, doubtful, later)] == ["skipped", "skipped", "acted"]
    assert "15 days ago" in doubtful.summary["reason"]
    assert (is_log_spared, log.exists()) == (True, False)


def test_a_folder_that_resists_is_named_and_keeps_no_other(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [installation.settings.runs_dir / f"{number}.20200101T000000000000" for number in (1, 2, 3)]
    for folder in folders:
        folder.mkdir()
        create_old_file(folder)
    log = create_old_file(installation.settings.logs_dir / "old.log")
    remove = private_dirs.remove_tree

    def resist(folder: Path) -> None:
        if folder == folders[1]:
            raise PermissionError(13, "Permission denied")
        remove(folder)

    monkeypatch.setattr(private_dirs, "remove_tree", resist)

    done = housekeeping.apply_retention(installation.context)

    assert [folder.exists() for folder in (*folders, log)] == [False, True, False, False]
    assert done.outcome is TaskOutcome.WARNING
    assert done.summary["problems"] == [f"{folders[1]} cannot be removed: Permission denied"]


def test_a_pass_deletes_many_rows_in_bounded_batches(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tickets.operations.retention.BATCH", 10)
    long_ago = now() - timedelta(days=400)
    with writing(installation.engine) as session:
        session.add_all(TaskRun(task="x", trigger=Trigger.TIMER, started=long_ago) for _ in range(35))

    assert housekeeping.apply_retention(installation.context).summary["rows"] == {"task_runs": 35}


def test_a_backup_opens_to_the_same_tickets_and_old_ones_go(installation: Installation) -> None:
    installation.ticket(title="Keep me")
    folder = installation.settings.backups_dir
    old = [create_old_file(folder / f"mc-2020010{day}T000000Z.db") for day in range(1, 6)]

    done = installation.run_program("queue_reaper.py", "--backup")

    summary = json.loads(done.stdout.splitlines()[-1])
    assert (summary["outcome"], summary["removed"]) == ("acted", 3)
    assert [path.exists() for path in old] == [False, False, False, True, True]
    copy = open_engine(f"sqlite:///{folder / summary['backup']}")
    with reading(copy) as session:
        assert session.scalars(select(Ticket.title)).all() == ["Keep me"]
    copy.dispose()


def test_a_backup_that_cannot_be_written_fails_and_says_so(installation: Installation) -> None:
    installation.settings.backups_dir.rmdir()
    installation.settings.backups_dir.touch()

    done = installation.run_program("queue_reaper.py", "--backup")

    assert done.returncode == 2 and "backups" in done.stderr
    assert json.loads(done.stdout)["repeat"], "it may succeed in a moment"


def test_a_killed_reaper_leaves_its_lock_free(installation: Installation) -> None:
    holder = installation.start_program("-m", "tests.jobs.holder")
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert housekeeping.reap_queue(installation.context).outcome is TaskOutcome.NOOP


def test_a_damaged_store_is_said_in_one_line(installation: Installation) -> None:
    with writing(installation.engine):
        pass
    installation.engine.dispose()
    Path(installation.settings.home / "mc.db").write_bytes(b"this is no database, whatever it is called" * 40)

    done = installation.run_program("queue_reaper.py")

    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert json.loads(done.stdout)["outcome"] == "failed"
