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
    loaded_settings = settings.load().model_copy(update={"max_workers": 100_000})
    context = replace(
        job_context.build_context(loaded_settings, open_engine(loaded_settings.database_url)), host="test"
    )
    while True:
        with reading(context.engine) as session:
            tickets = dispatch_plan.plan_dispatch(session, context.limits).claim
        if not tickets:
            break
        for ticket in tickets:
            try:
                with writing(context.engine, partial(claims.require_claimable, ticket_id=ticket.id)) as session:
                    claim = dispatch_pass.claim_if_open(session, context, ticket.id, dispatch_pass.PassCounts())
            except DomainError:
                continue
            if claim:
                print(claim.run.ticket_id, flush=True)
