"""The kill schedule of a soak: which process is killed when, drawn from a seed alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from failpoints import Failpoint

from .board import ProcessKind

FIRST_SECONDS = 4.0
GAP_SECONDS = (2.5, 6.0)
STEADY_SHARE = 0.4
"""The last part of a soak, in which the processes that live as long as the board are left alone and measured."""
CALM_SECONDS = 5.0
"""The time before the end in which nothing is killed."""
LONG_LIVED = (
    ProcessKind.SERVE,
    ProcessKind.SUPERVISOR,
    ProcessKind.WEB_MASTER,
    ProcessKind.WEB_WORKER,
    ProcessKind.SCHEDULER,
)
SHORT_LIVED = (
    ProcessKind.TMUX,
    ProcessKind.PICKUP,
    ProcessKind.REAPER,
    ProcessKind.WRAPPER,
    ProcessKind.AGENT,
    ProcessKind.TOOLS,
)
BOARD_POINTS = frozenset({Failpoint.CLAIMED, Failpoint.STARTED, Failpoint.MERGED, Failpoint.COMMITTED})
"""Failpoints at which the scheduler or a web worker is killed."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One kill, `at` seconds after the start.

    `target` is a kind of process or a failpoint. `choice`, from 0 to 1, chooses among several processes. `delay` is the
    age in seconds at which a program that is started for the kill is killed.
    """

    at: float
    target: ProcessKind | Failpoint
    choice: float
    delay: float


def build_schedule(seed: int, seconds: float) -> list[Strike]:
    """Build the kills of a soak. Each target comes once before any comes again, in an order drawn from the seed."""
    draw = random.Random(seed)  # noqa: S311 - a schedule, no secret
    steady_from = seconds * (1 - STEADY_SHARE)
    targets = _cycle_targets(draw)
    strikes: list[Strike] = []
    at = FIRST_SECONDS
    while at < seconds - CALM_SECONDS:
        target = next(targets)
        if at < steady_from or not _ends_long_lived(target):
            strikes.append(Strike(round(at, 2), target, draw.random(), round(draw.uniform(0.1, 1.2), 2)))
            at += draw.uniform(*GAP_SECONDS)
    return strikes


def _cycle_targets(draw: random.Random) -> Iterator[ProcessKind | Failpoint]:
    while True:
        targets: list[ProcessKind | Failpoint] = [*LONG_LIVED, *SHORT_LIVED, *Failpoint]
        draw.shuffle(targets)
        yield from targets


def _ends_long_lived(target: ProcessKind | Failpoint) -> bool:
    return target in LONG_LIVED or target in BOARD_POINTS
