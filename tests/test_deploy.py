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
from tickets.schedule import task_files, tasks
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


def start_unit(unit: Path, installation: Installation) -> subprocess.Popen[str]:
    """Start the command of a service as it is written, with the checkout in its usual place."""
    argv = read(unit)["Service"]["ExecStart"].replace("%h/mission-control", str(ROOT)).split()
    environment = installation.environment | {"MC_WEB_WORKERS": "1"}
    return subprocess.Popen(
        argv, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def test_the_command_of_every_service_runs_as_written(template: Path, tmp_path: Path) -> None:
    installation = Installation(template, tmp_path / "home")
    with writing(installation.engine) as session:
        runtime_flags.set_flag(session, runtime_flags.PAUSE, "so that the canary need not travel", ALICE)
        names = task_files.list_names(task_files.SHIPPED_TASKS)
        session.execute(insert(TaskState), [{"task": name, "enabled": False, "changed_by": "alice"} for name in names])

    def is_scheduling() -> bool:
        with reading(installation.engine) as session:
            return tasks.SCHEDULER in tasks.load_heartbeats(session)

    checks = {"mission-control": installation.is_answering, "mc-scheduler": is_scheduling}
    processes: dict[str, subprocess.Popen[str]] = {}
    try:
        processes = {unit.stem: start_unit(unit, installation) for unit in SERVICES}
        for name, is_running in checks.items():
            wait_until(lambda: is_running() or processes[name].poll() is not None, 180, description=name)  # noqa: B023
            processes[name].terminate()
        outputs = {name: process.communicate(timeout=180)[0] for name, process in processes.items()}
        assert {name: process.returncode for name, process in processes.items()} == dict.fromkeys(processes, 0), outputs
        assert all('"outcome": "' in outputs[name] for name in processes.keys() - checks.keys()), outputs
    finally:
        for process in processes.values():
            process.kill()
        installation.close()
