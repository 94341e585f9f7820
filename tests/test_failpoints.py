from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import failpoints
from failpoints import Failpoint

ROOT = Path(__file__).resolve().parent.parent
REACH = "import failpoints as f; f.kill_at(f.Failpoint.CLAIMED); print('alive', end='')"


def reach(**variables: str) -> subprocess.CompletedProcess[str]:
    command, environment = [sys.executable, "-S", "-c", REACH], {"PATH": os.environ["PATH"], **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def test_an_armed_point_kills_the_first_process_that_reaches_it_and_no_other(tmp_path: Path) -> None:
    (tmp_path / Failpoint.CLAIMED).touch()

    results = [reach(), *(reach(**{failpoints.VARIABLE: str(tmp_path)}) for _ in range(2))]

    assert [(result.returncode, result.stdout) for result in results] == [
        (0, "alive"),
        (-signal.SIGKILL, ""),
        (0, "alive"),
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["claimed.reached"]


def test_every_point_is_at_one_place_of_the_product() -> None:
    sources = [file.read_text() for folder in ("jobs", "web", "workers") for file in (ROOT / folder).rglob("*.py")]
    places = re.findall(r"kill_at\(Failpoint\.(\w+)\)", "\n".join(sources))
    assert sorted(places) == sorted(Failpoint.__members__)
