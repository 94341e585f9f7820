"""The scheduled programs as commands, with the same behaviour as under the timers."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from .common import require_operator

ROOT = Path(__file__).resolve().parent.parent
_PASS_ARGUMENTS = {"ignore_unknown_options": True, "help_option_names": []}


def _exec_program(program: str, *arguments: str) -> NoReturn:
    """Replace this process by the program, so that exit code and signals are its own."""
    require_operator()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, str(ROOT / program), *arguments])  # noqa: S606 - argv, no shell


@click.command(context_settings=_PASS_ARGUMENTS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def pickup(arguments: tuple[str, ...]) -> None:
    """Make one dispatch pass (mc_pickup.py, see also --dry-run)."""
    _exec_program("mc_pickup.py", *arguments)


@click.command(context_settings=_PASS_ARGUMENTS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def reap(arguments: tuple[str, ...]) -> None:
    """Settle dead runs and expire messages (queue_reaper.py)."""
    _exec_program("queue_reaper.py", *arguments)


@click.command(context_settings=_PASS_ARGUMENTS)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def land(arguments: tuple[str, ...]) -> None:
    """Land approved tickets (mc_land.py)."""
    _exec_program("mc_land.py", *arguments)


@click.command(context_settings=_PASS_ARGUMENTS, short_help="Report what needs attention (mc_operator.py).")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def operator(arguments: tuple[str, ...]) -> None:
    """Observe the board and report what needs attention (mc_operator.py, see also --follow-up)."""
    _exec_program("mc_operator.py", *arguments)


@click.command("run-task")
@click.argument("name")
def run_task(name: str) -> None:
    """Run the scheduled task NAME now (mc_scheduler.py)."""
    _exec_program("mc_scheduler.py", "--run", name)


COMMANDS: tuple[click.Command, ...] = (pickup, reap, land, operator, run_task)
