from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.waiting import wait_until
from workers.host import processes
from workers.host.tmux import Tmux, TmuxError
from workers.run import launch
from workers.run.lock import is_held, was_started

from .fake_api import serving
from .runs import Run


@pytest.fixture
def tmux() -> Iterator[Tmux]:
    folder = Path(tempfile.mkdtemp(prefix="mc-t"))  # a socket's path must be short
    server = Tmux(f"mc-{uuid4().hex[:8]}", folder)
    yield server
    try:
        panes = server.list_panes()
    except TmuxError:
        panes = []
    for pane in panes:
        server.kill_pane(pane.id)
    shutil.rmtree(folder)


def test_a_run_is_worked_on_in_a_pane_that_shows_it(tmp_path: Path, tmux: Tmux) -> None:
    with serving() as api:
        run = Run(tmp_path, api.base, f"```sh\necho hello\ncat {tmp_path / 'gate'}\n```\n")
        os.mkfifo(tmp_path / "gate")
        pane = launch.start_wrapper(tmux, run.dir, run.spec)
        assert pane
        run.event("agent.delta")
        assert is_held(run.dir)
        assert [entry.session for entry in tmux.list_panes()] == ["mc-MC-3"]
        assert processes.find_by_marker(run.spec.marker)
        (tmp_path / "gate").write_text("go on\n")
        wait_until(lambda: api.reports, 60, "the report")
        wait_until(lambda: tmux.list_panes()[0].dead, description="the pane's end")
    assert api.reports[0]["verdict"] == "done"
    assert "▸ sh: echo hello" in tmux.capture(pane, 50)
    assert not is_held(run.dir)
    assert processes.find_by_marker(run.spec.marker) == []


def test_a_start_that_tmux_refuses_is_proven_not_to_have_happened(tmp_path: Path, tmux: Tmux) -> None:
    run = Run(tmp_path, "http://127.0.0.1:9", "x")
    missing = Tmux(tmux.name, tmux.folder, binary="no-such-tmux")
    with pytest.raises(launch.NotStarted, match="no-such-tmux"):
        launch.start_wrapper(missing, run.dir, run.spec)
    assert (run.dir / "revoked").exists()
    assert not was_started(run.dir)


def test_a_start_that_tmux_denies_although_it_happened_is_not_taken_back(tmp_path: Path, tmux: Tmux) -> None:
    """Regression: a completed start reported as a conflict left the ticket in todo while its agent ran."""
    liar = tmp_path / "tmux"
    liar.write_text(f'#!/bin/sh\n{shutil.which("tmux")} "$@" >/dev/null\necho garbage\n')
    liar.chmod(0o755)
    with serving() as api:
        run = Run(tmp_path, api.base, f"```sh\nwhile [ ! -e {tmp_path / 'gate'} ]; do sleep 0.1; done\n```\n")
        tmux.new_session("mc-other", ["sleep", "600"], tmp_path, {})
        false = Tmux(tmux.name, tmux.folder, binary=str(liar))
        with pytest.raises(TmuxError):
            false.list_panes()
        run.start()
        run.event("agent.step")
        assert launch.start_wrapper(false, run.dir, run.spec) is None
        assert not (run.dir / "revoked").exists()
        (tmp_path / "gate").touch()
        assert run.wait()["verdict"] == "done"
    run.clear()


def test_a_run_directory_is_never_written_twice(tmp_path: Path) -> None:
    run = Run(tmp_path, "http://127.0.0.1:9", "x")
    with pytest.raises(FileExistsError):
        launch.write_run_dir(run.dir, run.spec, "another prompt")
    assert (run.dir / "prompt.md").read_text() == "x"
