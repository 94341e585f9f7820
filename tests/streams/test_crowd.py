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

EVENT_COUNT = 440
PROCESSES = 4


def append_story(server: Server) -> None:
    """Numbered events, one by one and in batches of twenty; all of them fit into one replay."""
    number = 0
    while number < EVENT_COUNT:
        batch = 20 if number % 100 == 80 else 1
        with writing(server.engine) as session:
            for n in range(number, number + batch):
                events.append(session, None, "note", {"n": n, "text": "x" * (n % 7) * 100}, ALICE)
        number += batch


def append_end(server: Server, crowds: list[subprocess.Popen[bytes]]) -> None:
    """Say "end" until everybody heard it: whoever was told to resync may have missed it the last time."""
    for crowd in crowds:
        for _ in range(60):
            with writing(server.engine) as session:
                events.append(session, None, "note", {"n": "end"}, ALICE)
            with suppress(subprocess.TimeoutExpired):
                crowd.wait(2)
                break


@contextmanager
def start_crowds(server: Server, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes of fifty clients; what they saw goes to files, which never fill up as a pipe does."""
    cursor = next(server.client().messages()).id
    argv = [sys.executable, "-m", "tests.streams.crowd", str(server.port), server.token, str(cursor)]
    with ExitStack() as stack:
        processes = []
        for seed in range(PROCESSES):
            file = stack.enter_context((folder / f"{seed}.json").open("wb"))
            processes.append(subprocess.Popen([*argv, str(seed)], cwd=ROOT, stdout=file))
            stack.callback(processes[-1].wait)
            stack.callback(processes[-1].kill)
        yield processes


def is_complete(entries: list[int | str]) -> bool:
    """Each number once and in order; a number may be left out only behind a resync."""
    numbers = [-1, *entries[:-1]] if "end" in entries else []
    for before, now in pairwise(numbers):
        if isinstance(before, int) and now not in (before + 1, "resync"):
            return False
    event_numbers = [n for n in entries if isinstance(n, int)]
    complete = "resync" in entries or event_numbers[-1:] == [EVENT_COUNT - 1]
    return complete and event_numbers == sorted(set(event_numbers))


@pytest.mark.slow
def test_two_hundred_clients_with_random_cuts_see_every_event_once_or_are_told_to_resync(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve(SSE_MAX_TOTAL_CLIENTS=300, MC_THREADS=330, MC_WEB_WORKERS=2)
    with start_crowds(server, tmp_path) as processes:
        append_story(server)
        append_end(server, processes)

    notes = [entries for place in range(PROCESSES) for entries in json.loads((tmp_path / f"{place}.json").read_bytes())]
    assert len(notes) == 200
    assert [entries for entries in notes if not is_complete(entries)] == []
    assert sum("resync" not in entries for entries in notes) > 100, "most were told everything"


def test_the_judge_of_a_story_finds_each_kind_of_fault() -> None:
    whole: list[int | str] = [*range(EVENT_COUNT), "end"]

    assert is_complete(whole)
    assert is_complete([0, 1, "resync", 40, *range(41, EVENT_COUNT), "end"])
    assert is_complete([0, 1, "resync", "end"])
    assert not is_complete([0, 1, 3, *range(4, EVENT_COUNT), "end"])
    assert not is_complete([0, 1, 1, *range(2, EVENT_COUNT), "end"])
    assert not is_complete([0, 2, 1, *range(3, EVENT_COUNT), "end"])
    assert not is_complete([*range(EVENT_COUNT - 1), "end"])
    assert not is_complete([0, 1, "resync", 1, *range(2, EVENT_COUNT), "end"])
    assert not is_complete([])
