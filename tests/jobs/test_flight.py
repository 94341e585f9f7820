"""Single flight between machines that share a store."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine

from jobs import job_context, single_flight
from settings import Settings


@pytest.mark.postgres
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_two_machines_with_one_store_take_turns(engine: Engine, tmp_path: Path) -> None:
    homes = [Settings(home=tmp_path / name) for name in ("one", "two")]
    for home in homes:
        home.ensure_home()
    context = job_context.build_context(homes[0], engine)
    other_context = replace(job_context.build_context(homes[1], engine), host="another-machine")

    with single_flight.hold_lease(context, "pickup"):
        with (
            pytest.raises(single_flight.AlreadyRunning, match=socket.gethostname()),
            single_flight.hold_lease(other_context, "pickup"),
        ):
            pass
        with single_flight.hold_lease(other_context, "retention"):
            pass
    with single_flight.hold_lease(other_context, "pickup"):
        pass
