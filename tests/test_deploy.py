from __future__ import annotations

import configparser
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import insert

from database import reading, writing
from models import TaskState
from tickets.operations import task_files, tasks
from tickets.shared import runtime_flags

from .jobs.installation import ALICE, Installation
from .waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
UNITS = sorted((ROOT / "deploy/systemd").iterdir())
SERVICES = [unit for unit in UNITS if unit.suffix == ".service"]


def read(unit: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    return parser


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_stopping_a_service_spares_the_agents(unit: Path) -> None:
    service = read(unit)["Service"]

    assert service["KillMode"] == "process"
    assert service["UMask"] == "0077"


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_starts_programs_that_are_part_of_the_checkout(unit: Path) -> None:
    service = read(unit)["Service"]
    home = service["WorkingDirectory"]

    for command in (service["ExecStart"], service.get("ExecStartPre", "")):
        for word in command.split():
            relative = word.removeprefix(f"{home}/")
            if relative.endswith((".py",)) or relative.startswith("bin/"):
                assert (ROOT / relative).is_file(), word


def test_the_board_is_restarted_since_a_reload_would_keep_the_old_code() -> None:
    assert "ExecReload" not in read(ROOT / "deploy/systemd/mission-control.service")["Service"]


@pytest.mark.parametrize("timer", [unit for unit in UNITS if unit.suffix == ".timer"], ids=lambda unit: unit.name)
def test_every_timer_has_its_service_and_repeats(timer: Path) -> None:
    assert timer.with_suffix(".service").is_file()
    section = read(timer)["Timer"]
    assert "OnCalendar" in section or int(section["OnUnitInactiveSec"]) >= 60
    assert section["FixedRandomDelay"] == "true", "the timers of several users do not start at once"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = home / ".config/systemd/user"
    folder.mkdir(parents=True)
    for unit in UNITS:
        (folder / unit.name).write_text(unit.read_text().replace("%h/mission-control", str(ROOT)))
    (tmp_path / "runtime").mkdir(mode=0o700)
    environment = {"PATH": os.defpath, "HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}

    checked = subprocess.run(
        ["systemd-analyze", "--user", "--recursive-errors=no", "verify", *(str(folder / unit.name) for unit in UNITS)],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (checked.returncode, checked.stderr) == (0, "")


def start_unit(unit: Path, installation: Installation, key: str = "ExecStart") -> subprocess.Popen[str]:
    """Start the command of a service as it is written, with the checkout in its usual place."""
    argv = read(unit)["Service"][key].replace("%h/mission-control", str(ROOT)).split()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(argv, cwd=ROOT, env=installation.environment, text=True, **streams)  # type: ignore[call-overload,no-any-return]


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=180)
    return process.returncode, output


def test_the_command_of_every_service_runs_as_written(template: Path, tmp_path: Path) -> None:
    installation = Installation(template, tmp_path / "home")
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "so that the canary need not travel", ALICE)
        names = task_files.list_names(task_files.SHIPPED_TASKS)
        session.execute(insert(TaskState), [{"task": name, "enabled": False, "changed_by": "alice"} for name in names])

    def is_scheduling() -> bool:
        with reading(installation.engine) as session:
            return tasks.SCHEDULER in tasks.load_heartbeats(session)

    running_checks = {"mission-control": installation._answers, "mc-scheduler": is_scheduling}
    try:
        for unit in SERVICES:
            if "ExecStartPre" in read(unit)["Service"]:
                assert finish(start_unit(unit, installation, "ExecStartPre"))[0] == 0
            process = start_unit(unit, installation)
            if is_running := running_checks.get(unit.stem):
                wait_until(lambda: is_running() or process.poll() is not None, 60, description=unit.stem)  # noqa: B023
                process.terminate()
            code, output = finish(process)
            assert code == 0, (unit.name, output)
            assert is_running or '"outcome": "' in output, (unit.name, output)
    finally:
        installation.close()
