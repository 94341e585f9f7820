"""The promise on lost events: two hundred clients with random cuts miss nothing and see nothing twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from database import writing
from tickets.shared import events

from .conftest import ALICE, ROOT, Server

TOTAL = 440
PROCESSES = 4


def story(server: Server) -> None:
    """Numbered events, one by one and in batches of twenty; all of them fit into one replay."""
    number = 0
    while number < TOTAL:
        batch = 20 if number % 100 == 80 else 1
        with writing(server.engine) as session:
            for n in range(number, number + batch):
                events.append(session, None, "note", {"n": n, "text": "x" * (n % 7) * 100}, ALICE)
        number += batch


def end(server: Server, crowds: list[subprocess.Popen[bytes]]) -> None:
    """Say "end" until everybody heard it: whoever was told to resync may have missed it the last time."""
    for crowd in crowds:
        for _ in range(60):
            with writing(server.engine) as session:
                events.append(session, None, "note", {"n": "end"}, ALICE)
            with suppress(subprocess.TimeoutExpired):
                crowd.wait(2)
                break


@contextmanager
def crowds(server: Server, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes of fifty clients; what they saw goes to files, which never fill up as a pipe does."""
    cursor = next(server.client().messages()).id
    argv = [sys.executable, "-m", "tests.streams.crowd", str(server.port), server.token, str(cursor)]
    with ExitStack() as stack:
        started = []
        for seed in range(PROCESSES):
            file = stack.enter_context((folder / f"{seed}.json").open("wb"))
            started.append(subprocess.Popen([*argv, str(seed)], cwd=ROOT, stdout=file))
            stack.callback(started[-1].wait)
            stack.callback(started[-1].kill)
        yield started


def sound(seen: list[int | str]) -> bool:
    """Each number once and in order; a number may be left out only behind a resync."""
    numbers = [-1, *seen[:-1]] if "end" in seen else []
    for before, now in pairwise(numbers):
        if isinstance(before, int) and now not in (before + 1, "resync"):
            return False
    heard = [n for n in seen if isinstance(n, int)]
    complete = "resync" in seen or heard[-1:] == [TOTAL - 1]
    return complete and heard == sorted(set(heard))


@pytest.mark.slow
def test_two_hundred_clients_with_random_cuts_see_every_event_once_or_are_told_to_resync(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(SSE_MAX_TOTAL_CLIENTS=300, MC_THREADS=330, MC_WEB_WORKERS=2)
    with crowds(server, tmp_path) as started:
        story(server)
        end(server, started)

    notes = [seen for place in range(PROCESSES) for seen in json.loads((tmp_path / f"{place}.json").read_bytes())]
    assert len(notes) == 200
    assert [seen for seen in notes if not sound(seen)] == []
    assert sum("resync" not in seen for seen in notes) > 100, "most were told everything"


def test_the_judge_of_a_story_finds_each_kind_of_fault() -> None:
    whole: list[int | str] = [*range(TOTAL), "end"]

    assert sound(whole)
    assert sound([0, 1, "resync", 40, *range(41, TOTAL), "end"])
    assert sound([0, 1, "resync", "end"])
    assert not sound([0, 1, 3, *range(4, TOTAL), "end"])
    assert not sound([0, 1, 1, *range(2, TOTAL), "end"])
    assert not sound([0, 2, 1, *range(3, TOTAL), "end"])
    assert not sound([*range(TOTAL - 1), "end"])
    assert not sound([0, 1, "resync", 1, *range(2, TOTAL), "end"])
    assert not sound([])
