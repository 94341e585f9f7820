from __future__ import annotations

import pytest

from protocol import RunLimits
from workers.run.shutdown import LimitTimers, Shutdown, find_exhausted_budget
from workers.run.verdict import Cause

CAUSE = Cause("stopped", "Enough.", "operator")


def list_measures(ending: Shutdown) -> list[tuple[float, str]]:
    """Each measure with the moment it falls due, in steps of a quarter of a second."""
    measures: list[tuple[float, str]] = []
    for step in range(200):
        while measure := ending.due(step / 4):
            measures.append((step / 4, measure))
    return measures


def test_an_ending_goes_from_interrupt_to_kill() -> None:
    measures = [(0.0, "interrupt"), (2.0, "end"), (8.0, "terminate"), (11.0, "kill")]
    assert list_measures(Shutdown(CAUSE, 0.0, 8.0, interrupt=True)) == measures
    assert list_measures(Shutdown(CAUSE, 0.0, 8.0, interrupt=False)) == [(0.0, "end"), *measures[2:]]


@pytest.mark.parametrize("grace", [-5.0, 0.0, 3.0, 10.0, 3600.0])
def test_however_long_the_grace_the_kill_comes_within_15_seconds(grace: float) -> None:
    assert list_measures(Shutdown(CAUSE, 0.0, grace, interrupt=True))[-1][0] <= 13.0


def test_an_agent_whose_turn_is_over_is_ended_at_once() -> None:
    ending = Shutdown(CAUSE, 0.0, 8.0, interrupt=True)
    assert ending.due(0.0) == "interrupt"
    ending.hurry(0.5)
    assert ending.due(0.5) == "end"


def build_patience(**limits: float) -> LimitTimers:
    return LimitTimers(RunLimits(**limits), started=0.0, heard=0.0)  # type: ignore[arg-type]


def test_silence_counts_only_while_a_turn_runs() -> None:
    """An agent that waits for a person may wait."""
    patient = build_patience(silence_seconds=10)
    patient.restart_silence(1.0)
    assert patient.find_expired_limit(100.0) is None
    patient.track_turn(True, 2.0)
    cause = patient.find_expired_limit(12.0)
    assert cause
    assert cause.code == "silence"


def test_a_turn_is_measured_from_its_own_start() -> None:
    patient = build_patience(turn_seconds=10, silence_seconds=1000)
    patient.restart_silence(0.0)
    for start in (0.0, 20.0):
        patient.track_turn(True, start)
        assert patient.find_expired_limit(start + 9) is None
        patient.track_turn(False, start + 9)
    patient.track_turn(True, 40.0)
    cause = patient.find_expired_limit(51.0)
    assert cause
    assert cause.code == "turn"


@pytest.mark.parametrize(
    ("limits", "usage", "code"),
    [
        (RunLimits(), {"turns": 99, "input_tokens": 10**9, "cost_usd": 500}, None),
        (RunLimits(turns=3), {"turns": 4}, "turns"),
        (RunLimits(tokens=100), {"input_tokens": 60, "output_tokens": 41}, "tokens"),
        (RunLimits(tokens=100), {"input_tokens": 60, "output_tokens": 40}, None),
        (RunLimits(cost_usd=0.5), {"cost_usd": 0.51}, "cost_usd"),
        (RunLimits(cost_usd=0.5), {"cost_usd": None}, None),
        (RunLimits(cost_usd=0.5), None, None),
    ],
)
def test_an_allowance_is_spent_when_the_totals_pass_it(
    limits: RunLimits, usage: dict[str, float] | None, code: str | None
) -> None:
    cause = find_exhausted_budget(limits, usage)
    assert (cause.code if cause else None) == code
