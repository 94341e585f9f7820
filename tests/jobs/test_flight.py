"""Single flight between machines that share a store."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jobs import bench, flight
from settings import Settings


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_machines_with_one_store_take_turns(engine: Engine, tmp_path: Path) -> None:
    homes = [Settings(home=tmp_path / name) for name in ("one", "two")]
    for home in homes:
        home.ensure_home()
    here = bench.set_up(homes[0], engine)
    there = replace(bench.set_up(homes[1], engine), host="another-machine")

    with flight.alone(here, "pickup"):
        with pytest.raises(flight.Held, match=socket.gethostname()), flight.alone(there, "pickup"):
            pass
        with flight.alone(there, "retention"):
            pass
    with flight.alone(there, "pickup"):
        pass
