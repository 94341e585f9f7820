"""Nothing of a run outlives it, not even what hides from its run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.waiting import wait_until
from workers.host import processes
from workers.host.processes import Identity

from .fake_api import FakeApi, serving
from .runs import Run, build_scripted_fields, running


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


def find_hidden_process(run: Run, place: Path) -> Identity:
    """The process that has left tree, session and environment of its run."""
    wait_until(place.exists, description="the hidden process")
    identity = processes.identify(int(place.read_text()))
    assert identity
    assert identity not in run.survivors(), "it was meant to hide"
    return identity


def test_a_process_that_hides_is_gone_when_its_run_is_stopped(tmp_path: Path, api: FakeApi) -> None:
    place = tmp_path / "hidden.pid"
    with running(tmp_path, api.base, f"hide {place}\ndeaf", **build_scripted_fields(tmp_path)) as run:
        orphan = find_hidden_process(run, place)
        api.control["stop"] = {"reason": "Parked.", "code": "parked", "grace_seconds": 1}
        wait_until(lambda: not processes.is_alive(orphan), timeout=15, description="the end of the hidden process")
        assert run.wait()["verdict"] == "stopped"
        assert run.survivors() == []


def test_a_process_that_hides_is_gone_when_its_agent_was_killed(tmp_path: Path, api: FakeApi) -> None:
    place = tmp_path / "hidden.pid"
    with running(tmp_path, api.base, f"hide {place}\nwait {place}\nkill", **build_scripted_fields(tmp_path)) as run:
        assert run.wait()["verdict"] == "failed"
        assert processes.identify(int(place.read_text())) is None


def test_orphans_that_end_by_themselves_are_reaped_while_the_run_goes_on(tmp_path: Path, api: FakeApi) -> None:
    place = tmp_path / "hidden.pid"
    with running(
        tmp_path, api.base, f"hide {place}\nwait {tmp_path / 'never'}", **build_scripted_fields(tmp_path)
    ) as run:
        orphan = find_hidden_process(run, place)
        os.kill(orphan.pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{orphan.pid}").exists(), description="its burial")
