"""Processes are told apart for good, and stopping one leaves nothing alive."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from tests.waiting import wait_until
from workers.host import processes
from workers.host.processes import Identity

DAEMON = """
import os, signal, sys, time
folder = sys.argv[1]
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(f"{folder}/daemon", "w") as file:
            file.write(str(os.getpid()))
        open(f"{folder}/ready", "w").close()
        time.sleep(300)
    os._exit(0)
os.wait()
time.sleep(300)
"""
"""Leaves a child that forked twice, has a session of its own and ignores TERM."""

STUBBORN = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1] + "/ready", "w").close()
time.sleep(300)
"""


@pytest.fixture
def marker() -> Iterator[str]:
    marker = f"MC_RUN_ID=test-{uuid4().hex}"
    yield marker
    for left in processes.find_by_marker(marker):
        processes.send_signal(left, signal.SIGKILL)


def start(source: str, marker: str, folder: Path) -> subprocess.Popen[bytes]:
    name, value = marker.split("=")
    process = subprocess.Popen([sys.executable, "-c", source, str(folder)], env={**os.environ, name: value})
    wait_until((folder / "ready").exists, description="the process to be ready")
    return process


def identity_of(pid: int) -> Identity:
    identity = processes.identify(pid)
    assert identity
    return identity


def test_a_living_process_is_the_same_and_a_dead_one_is_not(tmp_path: Path, marker: str) -> None:
    process = start(STUBBORN, marker, tmp_path)
    identity = identity_of(process.pid)
    assert processes.is_alive(identity)
    process.kill()
    wait_until(lambda: not processes.is_alive(identity), description="the zombie to count as gone")
    process.wait()
    assert processes.identify(process.pid) is None


def test_a_recycled_pid_is_another_process_and_is_never_signalled(tmp_path: Path, marker: str) -> None:
    bystander = start("import sys, time; open(sys.argv[1] + '/ready', 'w'); time.sleep(300)", marker, tmp_path)
    earlier = replace(identity_of(bystander.pid), started="1")
    assert not processes.is_alive(earlier)
    assert not processes.send_signal(earlier, signal.SIGKILL)
    assert processes.stop(earlier, f"MC_RUN_ID={uuid4().hex}", grace_seconds=0.1) == []
    assert bystander.poll() is None
    bystander.kill()
    bystander.wait()


def test_a_process_of_an_earlier_boot_is_gone() -> None:
    assert not processes.is_alive(replace(identity_of(os.getpid()), boot_id="an earlier boot"))


def test_a_child_that_forked_twice_is_found_by_its_marker_and_killed(tmp_path: Path, marker: str) -> None:
    process = start(DAEMON, marker, tmp_path)
    daemon = identity_of(int((tmp_path / "daemon").read_text()))
    assert daemon in processes.find_by_marker(marker)
    assert daemon not in processes.list_tree(process.pid)
    assert processes.stop(identity_of(process.pid), marker, grace_seconds=1) == []
    assert process.wait() == -signal.SIGTERM
    assert not processes.is_alive(daemon)
    assert processes.find_by_marker(marker) == []


def test_what_a_dead_process_left_behind_is_still_swept(tmp_path: Path, marker: str) -> None:
    process = start(DAEMON, marker, tmp_path)
    identity = identity_of(process.pid)
    process.kill()
    process.wait()
    assert processes.find_by_marker(marker)
    assert processes.stop(identity, marker, grace_seconds=1) == []
    assert processes.find_by_marker(marker) == []


def test_a_process_that_ignores_term_is_killed_after_its_grace(tmp_path: Path, marker: str) -> None:
    process = start(STUBBORN, marker, tmp_path)
    assert processes.stop(identity_of(process.pid), marker, grace_seconds=0.2) == []
    assert process.wait() == -signal.SIGKILL


def test_a_child_with_a_cleaned_environment_dies_with_its_tree(tmp_path: Path, marker: str) -> None:
    source = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '300'], env={}, start_new_session=True)\n"
        "open(sys.argv[1] + '/child', 'w').write(str(child.pid))\n"
        "open(sys.argv[1] + '/ready', 'w').close()\n"
        "time.sleep(300)\n"
    )
    process = start(source, marker, tmp_path)
    child = identity_of(int((tmp_path / "child").read_text()))
    assert processes.list_tree(process.pid) == [identity_of(process.pid), child]
    assert processes.stop(identity_of(process.pid), marker, grace_seconds=1) == []
    process.wait()
    assert not processes.is_alive(child)


def test_whoever_stops_a_run_is_spared_though_it_carries_the_marker(tmp_path: Path, marker: str) -> None:
    source = (
        "import os, subprocess, sys\n"
        "from workers.host import processes\n"
        "child = subprocess.Popen(['sleep', '300'])\n"
        "left = processes.stop(processes.identify(child.pid), sys.argv[1], 1)\n"
        "print(left, child.wait())\n"
    )
    name, value = marker.split("=")
    done = subprocess.run(
        [sys.executable, "-c", source, marker],
        env={**os.environ, name: value, "PYTHONPATH": str(Path(processes.__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert (done.returncode, done.stdout) == (0, f"[] {-signal.SIGTERM}\n")


def test_a_process_without_a_known_start_is_never_signalled(tmp_path: Path, marker: str) -> None:
    process = start(STUBBORN, marker, tmp_path)
    assert not processes.send_signal(Identity(process.pid, "", ""), signal.SIGKILL)
    assert process.poll() is None
    process.kill()
    process.wait()


def test_where_there_is_no_proc_a_stopped_process_is_reported_as_left_over(
    tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start(STUBBORN, marker, tmp_path)
    monkeypatch.setattr(processes, "PROC", tmp_path / "no-proc")
    monkeypatch.setattr(processes, "KILL_SECONDS", 0.1)
    unknown = Identity(process.pid, "", "")
    assert processes.identify(process.pid) == unknown
    assert processes.stop(unknown, marker, grace_seconds=0.05) == [unknown]
    assert process.poll() is None
    process.kill()
    process.wait()
    assert processes.identify(process.pid) is None


STOP_WHILE_LOCKED = """
import os, signal, threading
from workers.host import stop_signals
stopping = threading.Event()
stop_signals.call_on_stop(stopping.set)
with stopping._cond:
    os.kill(os.getpid(), signal.SIGTERM)
print(stopping.wait(60))
"""


def test_a_signal_that_comes_while_a_program_begins_to_wait_stops_it() -> None:
    """Regression: the handler waited for the lock of the event, which the main thread held, and the scheduler never ended."""
    done = subprocess.run(
        [sys.executable, "-c", STOP_WHILE_LOCKED], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout == "True\n", done.stderr
