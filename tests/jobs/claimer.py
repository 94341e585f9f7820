"""A dispatcher without the single-flight lock: claims whatever it can until the queue is empty, and prints what it got."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import settings
from database import open_engine, reading, writing
from jobs import dispatch_pass, job_context
from tickets.dispatch import dispatch_plan
from tickets.runs import claims
from tickets.shared.errors import DomainError

if __name__ == "__main__":
    chosen = settings.load().model_copy(update={"max_workers": 100_000})
    here = replace(job_context.set_up(chosen, open_engine(chosen.database_url)), host="test")
    while True:
        with reading(here.engine) as session:
            wanted = dispatch_plan.plan(session, here.limits).claim
        if not wanted:
            break
        for ticket in wanted:
            try:
                with writing(here.engine, partial(claims.require_claimable, ticket_id=ticket.id)) as session:
                    claim = dispatch_pass.claim_if_open(session, here, ticket.id, dispatch_pass.Tally())
            except DomainError:
                continue
            if claim:
                print(claim.run.ticket_id, flush=True)
