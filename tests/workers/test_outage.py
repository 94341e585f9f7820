"""What a run keeps when the server, or the wrapper itself, is killed."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port
from tests.waiting import wait_until
from workers.run import spool, verdict
from workers.run.launch import ROOT

from .fake_api import FakeApi, serving
from .runs import Run, build_scripted_fields, running


class Server:
    """The fake API as a process of its own, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        command = [sys.executable, "-m", "tests.workers.fake_api", str(self.port), str(self.folder)]
        self.process = subprocess.Popen(command, cwd=ROOT)
        wait_until(self._answers, description="the server")

    def kill(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait()

    def accepted(self) -> list[dict[str, Any]]:
        path = self.folder / "accepted.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    program = Server(tmp_path)
    program.up()
    yield program
    program.kill()


def start(folder: Path, base: str, *lines: str, **changes: Any) -> Any:
    return running(folder, base, "\n".join(lines), **build_scripted_fields(folder, **changes))


def test_a_server_killed_in_the_middle_of_a_run_gets_every_event_in_order(tmp_path: Path, server: Server) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    lines = ("many 300", f"wait {first}", "many 300", f"wait {second}", "many 300", "result DONE: all")
    with start(tmp_path, server.base, *lines) as run:
        wait_until(lambda: len(server.accepted()) > 300, 60, "the first events")
        server.kill()
        first.touch()
        wait_until(lambda: len(run.events("agent.text")) == 600, 60, "events while the server is down")
        server.up()
        second.touch()
        assert run.wait()["verdict"] == "done"
    spooled = [(event["run_seq"], event["event_type"]) for event in spool.replay_events(run.dir)]
    assert [(event["run_seq"], event["event_type"]) for event in server.accepted()] == spooled
    assert [seq for seq, _ in spooled] == list(range(1, len(spooled) + 1))
    assert spool.read_acknowledged(run.dir) == len(spooled)


def test_a_server_that_is_down_from_start_to_end_neither_blocks_nor_ends_a_run(tmp_path: Path) -> None:
    with start(tmp_path, "http://127.0.0.1:9", "many 50", "result DONE: alone") as run:
        wait_until(lambda: (run.dir / "report.json").exists(), 60, "the report on disk")
        assert run.wrapper
        run.wrapper.send_signal(signal.SIGTERM)  # nobody waits a minute for the server
        report = run.wait()
    assert report["verdict"] == "done"
    assert not (run.dir / "reported").exists()
    assert json.loads((run.dir / "exit.json").read_text())["reported"] is None
    assert len(list(spool.replay_events(run.dir))) > 50


def test_a_report_that_is_refused_stays_on_disk(tmp_path: Path) -> None:
    with serving() as api:
        api.statuses["report"] = 409
        with start(tmp_path, api.base, "result DONE: too late") as run:
            assert run.wait()["verdict"] == "done"
    assert (run.dir / "reported").read_text() == "409"
    assert api.reports == []


def test_a_report_is_tried_again_until_the_server_is_well(tmp_path: Path) -> None:
    with serving() as api:
        api.statuses["report"] = 500
        with start(tmp_path, api.base, "result DONE: in the end") as run:
            wait_until(lambda: sum(path.endswith("/report") for path, _ in api.posts) >= 2, 60, "a second attempt")
            api.statuses.clear()
            run.wait()
    assert [report["summary"] for report in api.reports] == ["in the end"]


def test_the_report_comes_after_the_last_event(tmp_path: Path) -> None:
    with serving() as api:
        api.statuses["events"] = 500
        with start(tmp_path, api.base, "many 20", "result DONE: x") as run:
            wait_until(lambda: (run.dir / "report.json").exists(), 60, "the report on disk")
            assert api.reports == []
            api.statuses.clear()
            run.wait()
    assert len(api.events) == len(list(spool.replay_events(run.dir)))
    assert api.posts[-1][0].endswith(("/report", "/heartbeat"))


# After the wrapper's death


def run_and_kill(folder: Path, api: FakeApi, *lines: str, until: str) -> Run:
    """A run whose wrapper was killed once an event of type `until` was on disk."""
    lines = (*lines, f"wait {folder / 'never'}")
    with running(folder, api.base, "\n".join(lines), **build_scripted_fields(folder)) as run:
        run.event(until)
        assert run.wrapper
        run.wrapper.kill()
        run.wrapper.wait()
        return run


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as fake:
        yield fake


def test_after_a_wrappers_death_its_spool_is_replayed_behind_what_was_acknowledged(
    tmp_path: Path, api: FakeApi
) -> None:
    run = run_and_kill(tmp_path, api, "many 100", "result thinking", until="agent.result")
    events = list(spool.replay_events(run.dir))
    assert [event["run_seq"] for event in events] == list(range(1, len(events) + 1))
    rest = list(spool.replay_events(run.dir, after=spool.read_acknowledged(run.dir)))
    assert api.events + rest == events[: len(api.events)] + rest
    assert len(api.events) <= spool.read_acknowledged(run.dir) + len(rest)


def test_after_a_wrappers_death_the_signal_is_the_verdict(tmp_path: Path, api: FakeApi) -> None:
    run = run_and_kill(tmp_path, api, "usage 70", "signal done It works", "say bye", until="agent.text")
    report = verdict.recover_report(run.dir)
    assert report
    assert (report["verdict"], report["summary"], report["observations"]) == ("done", "It works", None)
    assert report["usage"]["input_tokens"] == 70
    assert report["conversation_id"] == "c-1"


def test_after_a_wrappers_death_the_final_message_is_the_verdict(tmp_path: Path, api: FakeApi) -> None:
    run = run_and_kill(tmp_path, api, "result REVIEW: have a look", until="agent.result")
    report = verdict.recover_report(run.dir)
    assert report
    assert (report["verdict"], report["summary"]) == ("review", "have a look")


def test_nothing_is_recovered_from_a_run_that_has_said_nothing(tmp_path: Path, api: FakeApi) -> None:
    run = run_and_kill(tmp_path, api, "say DONE: not the end of a turn", until="agent.text")
    assert verdict.recover_report(run.dir) is None


def test_a_signal_with_another_runs_nonce_is_no_verdict(tmp_path: Path, api: FakeApi) -> None:
    run = run_and_kill(tmp_path, api, "signal done It works", "say bye", until="agent.text")
    signal_file = run.dir / "signal.json"
    signal_file.write_text(signal_file.read_text().replace(run.spec.nonce, "f" * 32))
    assert verdict.recover_report(run.dir) is None


def test_a_report_that_was_left_behind_is_recovered_as_it_is(tmp_path: Path) -> None:
    with start(tmp_path, "http://127.0.0.1:9", "result DONE: alone") as run:
        wait_until(lambda: (run.dir / "report.json").exists(), 60, "the report on disk")
    assert verdict.recover_report(run.dir) == run.report
