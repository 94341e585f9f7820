from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from workers.contract import spec
from workers.contract.spec import InvalidSpec

from .runs import build_spec


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Any]:
    spec.write_spec(tmp_path, build_spec(tmp_path))
    data: dict[str, Any] = json.loads((tmp_path / "spec.json").read_text())
    return data


def test_a_spec_reads_back_as_it_was_written_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    run_spec = build_spec(tmp_path, check=("make", "test"))
    spec.write_spec(tmp_path, run_spec)
    assert spec.read_spec(tmp_path) == run_spec
    assert (tmp_path / "spec.json").stat().st_mode & 0o777 == 0o600


def test_a_missing_key_is_refused_by_its_name(data: dict[str, Any]) -> None:
    del data["nonce"]
    with pytest.raises(InvalidSpec, match="missing key: nonce"):
        spec.parse_spec(data)


def test_an_unknown_key_is_refused_by_its_name(data: dict[str, Any]) -> None:
    data["limits"]["patience"] = 3
    with pytest.raises(InvalidSpec, match=r"unknown key: limits\.patience"):
        spec.parse_spec(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("run_id", "12"),
        ("run_id", True),
        ("mode", "batch"),
        ("argv", "--x"),
        ("env", {"A": 1}),
        ("title", None),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_its_key(data: dict[str, Any], key: str, value: object) -> None:
    with pytest.raises(InvalidSpec, match=f"wrong value for {key}"):
        spec.parse_spec(data | {key: value})


def test_a_spec_from_before_there_were_forks_and_plans_is_read(data: dict[str, Any]) -> None:
    """Regression: the verdict of a run that was alive during an upgrade was lost."""
    del data["forks"], data["plan"]
    old = spec.parse_spec(data)
    assert (old.forks, old.plan) == (None, False)


def test_a_spec_of_another_version_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpec, match="version 2"):
        spec.parse_spec(data | {"version": 2})


def test_a_second_spec_never_replaces_the_first(tmp_path: Path) -> None:
    spec.write_spec(tmp_path, build_spec(tmp_path))
    with pytest.raises(FileExistsError):
        spec.write_spec(tmp_path, build_spec(tmp_path))
