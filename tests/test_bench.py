from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.rows import ResultRow, WaitTimeout, build_percentile_rows, compute_percentile, wait_until

PACE = "pace of this machine"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    return tmp_path / "results.json"


def test_a_percentile_is_the_value_below_which_that_share_lies() -> None:
    assert compute_percentile([3, 1, 2], 50) == 2
    assert compute_percentile(range(1000), 99) == 990
    assert compute_percentile([7], 99) == 7
    assert [row.value for row in build_percentile_rows("x", [0.5])] == [500, 500]


def test_what_never_comes_is_named() -> None:
    with pytest.raises(WaitTimeout, match="rain did not happen within 0 seconds"):
        wait_until(lambda: None, "rain", seconds=0)


def test_a_measurement_that_breaks_is_told_and_does_not_hide_the_others(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail_measurement() -> Iterator[ResultRow]:
        yield ResultRow("began", 1, "s")
        raise RuntimeError("the disk is away")

    monkeypatch.setattr(
        bench, "MEASUREMENTS", {"broken": fail_measurement, "whole": lambda: iter([ResultRow("ended", 2, "s")])}
    )

    assert bench.main([]) == 1
    assert "the disk is away" in capsys.readouterr().err
    names = [row["name"] for row in json.loads(results.read_text())["rows"]]
    assert names == [PACE, "began", PACE, "ended", PACE]


def test_every_measurement_says_what_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(bench.MEASUREMENTS)
    assert all(len(line.split()) > 3 for line in lines)
    with pytest.raises(SystemExit):
        bench.main(["no-such-thing"])
