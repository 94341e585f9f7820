"""A dispatcher without the single-flight lock: claims whatever it can until the queue is empty, and prints what it got."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import settings
from jobs import bench, passes
from models import open_engine, reading, writing
from tickets.dispatch import dispatch
from tickets.runs import runs
from tickets.shared.errors import DomainError

if __name__ == "__main__":
    chosen = settings.load().model_copy(update={"max_workers": 100_000})
    here = replace(bench.set_up(chosen, open_engine(chosen.database_url)), host="test")
    while True:
        with reading(here.engine) as session:
            wanted = dispatch.plan(session, here.limits).claim
        if not wanted:
            break
        for ticket in wanted:
            try:
                with writing(here.engine, partial(runs.require_claimable, ticket_id=ticket.id)) as session:
                    claim = passes.claim_if_open(session, here, ticket.id, passes.Tally())
            except DomainError:
                continue
            if claim:
                print(claim.run.ticket_id, flush=True)
