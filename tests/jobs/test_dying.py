"""What becomes of runs whose wrapper, board or start dies: nothing is lost, nothing is doubled, nothing lives on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from database import reading, writing
from jobs import reconcile
from models import (
    EvidenceSource,
    Failure,
    Incident,
    Outcome,
    Run,
    RunState,
    TaskOutcome,
    Ticket,
    TicketEvent,
    TicketStatus,
    format_timestamp,
    now,
)
from tests.waiting import wait_until
from tickets.runs import claims, external, reports
from workers.host import processes
from workers.host.processes import Identity
from workers.run import spool, verdict

from .installation import ALICE, Installation

SLOW_STEP = 'echo begun; python3 -c "import time; time.sleep(60)"'


def kill_wrapper(installation: Installation, run: Run) -> None:
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not installation.is_wrapper_alive(run), description="the wrapper's death")


def find_carriers(installation: Installation, run: Run) -> list[Identity]:
    return processes.find_by_marker(installation.context.marker(run.id))


def test_parking_a_running_ticket_ends_its_agent_and_leaves_a_record(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket(SLOW_STEP)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)
    assert find_carriers(served_installation, run)

    served_installation.move(ticket_id, "park", wake={"kind": "manual"})
    served_installation.make_pass()

    wait_until(
        lambda: not find_carriers(served_installation, run), timeout=60, description="the end of all its processes"
    )
    ended = wait_until(
        lambda: [r for r in served_installation.runs(ticket_id) if r.outcome], description="the end of the run"
    )
    assert ended[0].outcome is Outcome.STOPPED
    assert served_installation.get(ticket_id).status is TicketStatus.WAITING
    assert "RUNTIME TERMINAL STATE" in "\n".join(served_installation.comments(ticket_id))


def test_a_stop_that_the_board_cannot_tell_is_carried_out_by_the_dispatcher(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket(SLOW_STEP)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)
    served_installation.close_board()

    served_installation.move(ticket_id, "cancel")
    with writing(served_installation.engine) as session:
        condition = TicketEvent.event_type == "run_stop_requested"
        session.execute(update(TicketEvent).where(condition).values(ts=now() - timedelta(seconds=8)))
    assert served_installation.make_pass().summary["reconciled"] == {"terminated": 1}

    wait_until(
        lambda: {c.pid for c in find_carriers(served_installation, run)} <= {run.pid},
        timeout=60,
        description="the agent's end",
    )
    with writing(served_installation.engine) as session:
        session.execute(update(TicketEvent).where(condition).values(ts=now() - timedelta(seconds=30)))
    wait_until(
        lambda: "claimed" in served_installation.make_pass().summary and served_installation.runs()[0].outcome,
        description="its end",
    )
    assert served_installation.runs(ticket_id)[0].outcome is Outcome.STOPPED and not find_carriers(
        served_installation, run
    )


def test_a_killed_wrapper_is_lost_with_its_record_and_its_orphans_are_ended(served_installation: Installation) -> None:
    ticket_id = served_installation.ticket(SLOW_STEP)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)
    kill_wrapper(served_installation, run)
    assert find_carriers(served_installation, run), "the agent outlives its wrapper"
    socket = served_installation.settings.run_socket(run.id)
    assert socket.exists()

    done = served_installation.make_pass()

    assert (done.outcome, done.summary["reconciled"]) == (TaskOutcome.WARNING, {"lost": 1})
    assert not find_carriers(served_installation, run)
    assert not socket.exists(), "the soak found the sockets of killed wrappers"
    [lost] = served_installation.runs(ticket_id)
    assert (lost.outcome, lost.failure) == (Outcome.LOST, Failure.KILLED)
    comments = "\n".join(served_installation.comments(ticket_id))
    assert "RUNTIME TERMINAL STATE" in comments and "Runtime transcript sweep" in comments and "begun" in comments
    assert served_installation.get(ticket_id).status is TicketStatus.TODO


def test_a_verdict_left_on_disk_is_recovered_with_every_event(installation: Installation) -> None:
    """The board is never there: everything comes from the run's own disk."""
    ticket_id = installation.ticket("for n in 1 2 3 4 5 6 7 8 9; do echo line $n; done")
    installation.make_pass()
    [run] = installation.runs(ticket_id)
    folder = installation.context.run_dir(run.id)
    wait_until((folder / verdict.REPORT_FILE).exists, timeout=60, description="the report on disk")
    for wrapper in find_carriers(installation, run):
        processes.send_signal(wrapper, signal.SIGKILL)
    wait_until(lambda: not installation.is_wrapper_alive(run), description="the wrapper's death")
    with writing(installation.engine) as session:
        session.execute(update(Run).values(started=now() - timedelta(minutes=2)))

    assert installation.make_pass().summary["reconciled"] == {"recovered": 1}

    assert installation.get(ticket_id).status is TicketStatus.IN_REVIEW
    with reading(installation.engine) as session:
        rows = session.scalars(select(TicketEvent.run_seq).where(TicketEvent.run_seq.is_not(None)))
        stored_seqs = [number or 0 for number in rows]
    spool_seqs = [event["run_seq"] for event in spool.replay_events(folder)]
    assert len(stored_seqs) == len(set(stored_seqs)) and set(stored_seqs) <= set(spool_seqs)
    assert max(stored_seqs) == max(spool_seqs)
    assert installation.make_pass().summary["reconciled"] == {}


def test_garbage_in_what_a_dead_run_left_strands_neither_the_run_nor_what_came_after_it(
    installation: Installation,
) -> None:
    """An event that the store cannot keep was tried at each pass for ever, and so was a report with odd particulars."""
    ticket_id = installation.ticket("true")
    with writing(installation.engine) as session:
        run = claims.claim_ticket(session, ticket_id, installation.context.host).run
        session.execute(update(Run).values(started=now() - timedelta(minutes=2)))
    folder = installation.context.run_dir(run.id)
    folder.mkdir(mode=0o700)
    payloads = ({"text": "before"}, {"text": "half a letter \ud800"}, {"text": "after"})
    events = [
        {"run_seq": seq, "ts": format_timestamp(now()), "event_type": "agent.text", "payload": payload}
        for seq, payload in enumerate(payloads, 1)
    ]
    (folder / spool.CURRENT_FILE).write_text("".join(json.dumps(event) + "\n" for event in events))
    report = {"verdict": "review", "summary": "Look.", "observations": {"check": {"exit_code": 0}}}
    (folder / verdict.REPORT_FILE).write_text(json.dumps(report))

    assert installation.make_pass().summary["reconciled"] == {"recovered": 1}

    assert installation.get(ticket_id).status is TicketStatus.IN_REVIEW
    with reading(installation.engine) as session:
        query = select(TicketEvent.event_type, TicketEvent.payload_json).where(TicketEvent.run_seq.is_not(None))
        rows = [(kind, payload.get("text")) for kind, payload in session.execute(query.order_by(TicketEvent.run_seq))]
    assert rows == [("agent.text", "before"), ("agent.raw", None), ("agent.text", "after")]


def test_a_wrapper_killed_at_its_check_leaves_a_verdict_with_gits_facts(served_installation: Installation) -> None:
    served_installation.project(check=["python3", "-c", "import time; time.sleep(60)"])
    ticket_id = served_installation.ticket("echo hello >line.txt", project="web")
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)

    def checking() -> bool:
        with reading(served_installation.engine) as session:
            began = TicketEvent.event_type == "run.check_started"
            return session.scalar(select(TicketEvent.id).where(began)) is not None

    wait_until(checking, timeout=60, description="the check")
    kill_wrapper(served_installation, run)

    assert served_installation.make_pass().summary["reconciled"] == {"recovered": 1}

    assert served_installation.get(ticket_id).status is TicketStatus.IN_REVIEW
    facts = {fact.kind for fact in served_installation.evidence(ticket_id) if fact.source is EvidenceSource.FACT}
    assert {"commit", "diff"} <= facts and "check" not in facts
    assert not find_carriers(served_installation, run), "the check command is ended too"


def test_no_event_and_no_verdict_is_lost_when_the_board_is_killed_during_a_run(installation: Installation) -> None:
    ticket_id = installation.ticket(
        "for n in 1 2 3 4 5 6; do echo line $n; python3 -c 'import time; time.sleep(0.5)'; done"
    )
    board = installation.start_board_process()
    installation.make_pass()
    run = installation.wait_until_running(ticket_id)
    board.kill()
    board.communicate()
    spool_file = installation.context.run_dir(run.id) / spool.CURRENT_FILE
    size = spool_file.stat().st_size
    wait_until(lambda: spool_file.stat().st_size > size, description="events while the board is down")

    installation.start_board_process()

    installation.until(ticket_id, TicketStatus.IN_REVIEW)
    with reading(installation.engine) as session:
        texts = session.scalars(
            select(TicketEvent.payload_json).where(TicketEvent.event_type == "agent.tool_result")
        ).all()
    assert [text["output"] for text in texts] == ["".join(f"line {n}\n" for n in range(1, 7))]
    [ended] = installation.runs(ticket_id)
    assert ended.outcome is Outcome.DONE


@pytest.fixture
def remains(installation: Installation) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """A ticket whose last run has reported and ended, but not all that it has started."""
    ticket_id = installation.ticket("true")
    with writing(installation.engine) as session:
        run = claims.claim_ticket(session, ticket_id, installation.context.host).run
        failed = reports.RunReport(verdict="failed", failure={"class": "network", "message": "gone"})
        reports.apply_report(session, run.id, failed, reports.RetryPolicy(backoff_seconds=0))
    left = subprocess.Popen(["sleep", "60"], env={"MC_RUN_ID": installation.context.marker(run.id).partition("=")[2]})
    yield ticket_id, left
    left.kill()
    left.wait()


Remains = tuple[int, subprocess.Popen[bytes]]


def backdate_end(installation: Installation) -> None:
    with writing(installation.engine) as session:
        session.execute(update(Run).values(ended=now() - timedelta(minutes=1)))


def test_no_run_starts_while_anything_of_the_last_one_lives(
    installation: Installation, remains: Remains, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, left = remains
    monkeypatch.setattr(reconcile, "MARGIN_SECONDS", 600)

    done = installation.make_pass()

    assert (done.summary["claimed"], done.summary["skipped"], done.again) == ([], {"previous_run": 1}, True)
    left.kill()
    left.wait()
    assert installation.make_pass().summary["claimed"] == ["MC-1"]


def test_what_does_not_end_with_its_run_is_ended(installation: Installation, remains: Remains) -> None:
    """A process left by a run that had long ended kept its ticket from starting for ever, and nobody was told."""
    _, left = remains
    backdate_end(installation)

    assert installation.make_pass().summary["claimed"] == ["MC-1"]

    assert left.wait() == -signal.SIGKILL


def test_what_cannot_be_ended_is_told_and_asked_for_no_more_often_than_the_timer(
    installation: Installation, remains: Remains, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id, left = remains
    backdate_end(installation)
    monkeypatch.setattr(processes, "stop", lambda *_: [Identity(left.pid, "", "")])

    done = installation.make_pass()

    assert (done.summary["claimed"], done.summary["skipped"], done.again) == ([], {"undead": 1}, False)
    assert done.outcome is TaskOutcome.WARNING
    with reading(installation.engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert (incident.ticket_id, incident.severity) == (ticket_id, "critical") and str(left.pid) in incident.detail


def test_retries_end_after_exactly_as_many_runs_as_allowed(served_installation: Installation) -> None:
    """Each attempt fails in another way: the same failure twice would stop earlier."""
    ticket_id = served_installation.ticket("exit 1")
    for word in ("red", "green", "blue"):
        with writing(served_installation.engine) as session:
            values = {"description": f"```sh\necho {word}\nexit 1\n```", "not_before": None}
            session.execute(update(Ticket).where(Ticket.id == ticket_id).values(**values))
        wait_until(lambda: served_installation.make_pass().summary["claimed"] == ["MC-1"], description="the claim")
        served_installation.until(ticket_id, TicketStatus.TODO, TicketStatus.BLOCKED)

    ticket = served_installation.get(ticket_id)
    assert ticket.status is TicketStatus.BLOCKED and ticket.block is not None
    assert ticket.block["reason"] == "exhausted"
    assert len(served_installation.runs(ticket_id)) == served_installation.settings.retry_limit
    assert served_installation.make_pass().summary["claimed"] == []


def test_a_claim_whose_start_never_happened_is_given_back(installation: Installation) -> None:
    ticket_id = installation.ticket("true")
    with writing(installation.engine) as session:
        run = claims.claim_ticket(session, ticket_id, installation.context.host).run
    assert installation.make_pass().summary["reconciled"] == {}, "a start is given its time"

    with writing(installation.engine) as session:
        session.execute(update(Run).values(started=now() - timedelta(minutes=1)))

    assert installation.make_pass().summary["reconciled"] == {"not_started": 1}
    assert (installation.context.run_dir(run.id) / "revoked").exists()
    assert installation.get(ticket_id).status is TicketStatus.TODO


def test_a_run_is_not_taken_for_another_of_its_number_from_before_a_backup_was_restored(
    served_installation: Installation,
) -> None:
    """The store was restored, so that numbers are given again; the folders of their first runs are still there."""
    strange = served_installation.context.run_dir(1)
    strange.mkdir(mode=0o700)
    (strange / spool.CURRENT_FILE).write_text(
        json.dumps({"run_seq": 1, "event_type": "agent.text", "payload": {}}) + "\n"
    )
    (strange / verdict.REPORT_FILE).write_text(json.dumps({"verdict": "review", "summary": "Of another ticket."}))
    ticket_id = served_installation.ticket("true")

    assert served_installation.make_pass().summary["claimed"] == ["MC-1"]

    served_installation.until(ticket_id, TicketStatus.IN_REVIEW)
    assert [run.summary for run in served_installation.runs(ticket_id)] == ["1 step ran."]
    [aside] = served_installation.settings.runs_dir.glob("1.*")
    assert "Of another ticket." in (aside / verdict.REPORT_FILE).read_text()


def test_a_start_that_fails_gives_the_ticket_back_with_the_reason(installation: Installation) -> None:
    installation.project(copy_files=[".env"])
    ticket_id = installation.ticket("true", project="web")

    done = installation.make_pass()

    assert (done.outcome, done.summary["not_started"]) == (TaskOutcome.WARNING, ["MC-1"])
    ticket = installation.get(ticket_id)
    assert ticket.status is TicketStatus.TODO and ".env does not exist" in (ticket.failure_reason or "")
    assert "RUNTIME TERMINAL STATE" in "\n".join(installation.comments(ticket_id))


def test_runs_of_another_machine_are_left_alone(installation: Installation) -> None:
    ticket_id = installation.ticket("true")
    with writing(installation.engine) as session:
        claims.claim_ticket(session, ticket_id, "another-machine")
        session.execute(update(Run).values(started=now() - timedelta(days=1)))

    assert installation.make_pass().summary["reconciled"] == {}
    assert installation.runs(ticket_id)[0].state is RunState.STARTING


def test_an_external_run_that_says_nothing_does_not_hold_its_ticket_for_ever(installation: Installation) -> None:
    ticket_id = installation.ticket("true")
    with writing(installation.engine) as session:
        run, _ = external.open_run(session, ticket_id, external.ExternalRun(agent="elsewhere"), ALICE)
    installation.move(ticket_id, "park", wake={"kind": "manual"})
    installation.make_pass()
    assert installation.runs()[0].state is RunState.STOPPING, "it has a moment to report"

    with writing(installation.engine) as session:
        early = now() - timedelta(minutes=1)
        session.execute(update(TicketEvent).where(TicketEvent.run_id == run.id).values(ts=early))
    installation.make_pass()

    assert installation.runs()[0].state is RunState.ENDED
    assert installation.get(ticket_id).status is TicketStatus.WAITING


def test_an_undead_run_blocks_its_ticket_and_no_other_run_starts(
    served_installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = served_installation.ticket(SLOW_STEP)
    served_installation.make_pass()
    run = served_installation.wait_until_running(ticket_id)
    kill_wrapper(served_installation, run)
    left = find_carriers(served_installation, run)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "stop", lambda *_: left)
        assert served_installation.make_pass().summary["reconciled"] == {"undead": 1}
        assert served_installation.get(ticket_id).status is TicketStatus.BLOCKED
        served_installation.move(ticket_id, "unblock")
        assert served_installation.make_pass().summary["claimed"] == []
    with reading(served_installation.engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert incident.fingerprint == f"undead:{run.id}" and str(left[0].pid) in incident.detail

    done = served_installation.make_pass()

    assert done.summary["claimed"] == ["MC-1"], "once it is proven dead, the next run starts"
    assert len(served_installation.runs(ticket_id)) == 2


def is_tmux_server(process: Identity) -> bool:
    return "start-server" in processes.read_command(process.pid)


def test_a_tmux_server_of_another_version_is_replaced_once_its_runs_have_ended(
    served_installation: Installation, tmp_path: Path
) -> None:
    """Regression: after an upgrade of tmux nothing started any more until a person had found and killed the old server."""
    installation, tmux = served_installation, served_installation.context.tmux
    ticket_id = installation.ticket(f"until [ -e {tmp_path}/go ]; do sleep 0.1; done")
    installation.make_pass()
    run = installation.wait_until_running(ticket_id)
    [server] = [
        process for process in processes.find_by_marker(f"TMUX_TMPDIR={tmux.folder}") if is_tmux_server(process)
    ]
    upgraded = tmp_path / "tmux"
    upgraded.write_text(
        f"#!/bin/sh\nif [ -e /proc/{server.pid} ]; then echo 'protocol version mismatch (client 9, server 8)' >&2; exit 1; fi\n"
        'exec tmux "$@"\n'
    )
    upgraded.chmod(0o755)
    installation.context = replace(installation.context, tmux=replace(tmux, binary=str(upgraded)))

    refusal = installation.make_pass()
    is_run_spared = processes.is_alive(server) and installation.is_wrapper_alive(run)
    (tmp_path / "go").touch()
    installation.until(ticket_id, TicketStatus.IN_REVIEW)
    wait_until(lambda: installation.make_pass().outcome is not TaskOutcome.FAILED, description="a pass")
    wait_until(lambda: not processes.is_alive(server), description="the end of the old server")

    assert refusal.outcome is TaskOutcome.FAILED and "another version of tmux" in refusal.summary["error"]
    assert is_run_spared


@pytest.mark.parametrize(
    "program",
    ["", "#!/bin/sh\nexit 1\n", "#!/bin/sh\nsleep 60\n", "#!/bin/sh\necho gibberish\n"],
    ids=["missing", "failing", "hanging", "garbage"],
)
def test_nothing_starts_while_tmux_cannot_be_believed(installation: Installation, tmp_path: Path, program: str) -> None:
    ticket_id = installation.ticket("true")
    binary = tmp_path / "tmux"
    if program:
        binary.write_text(program)
        binary.chmod(0o755)
    installation.context = replace(
        installation.context, tmux=replace(installation.context.tmux, binary=str(binary), timeout=0.5)
    )

    results = [installation.make_pass() for _ in range(2)]

    assert [result.outcome for result in results] == [TaskOutcome.FAILED] * 2
    assert installation.runs() == [] and installation.get(ticket_id).status is TicketStatus.TODO
    with reading(installation.engine) as session:
        incident = session.scalars(select(Incident)).one()
    assert (incident.fingerprint, incident.count, incident.severity) == ("pickup:unobservable", 2, "critical")
