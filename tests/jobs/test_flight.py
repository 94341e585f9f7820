"""Single flight between machines that share a store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from database import writing
from jobs import dispatch_pass, job_context, single_flight
from jobs.host_state import ObservationError
from jobs.job_context import JobContext
from models import Incident, Lease, Outcome, Run, TaskOutcome, now
from settings import Settings
from tests.test_spine import ALICE, make
from tickets.lifecycle import transitions
from tickets.runs import claims, reports
from tickets.shared import runtime_flags

pytestmark = [pytest.mark.postgres, pytest.mark.parametrize("url", ["postgresql"], indirect=True)]


def build_context(engine: Engine, home: Path, machine_name: str) -> JobContext:
    settings = Settings(home=home, machine_name=machine_name)
    settings.ensure_home()
    return job_context.build_context(settings, engine)


def test_two_machines_with_one_store_take_turns(engine: Engine, tmp_path: Path) -> None:
    context = build_context(engine, tmp_path / "one", "one")
    other_context = build_context(engine, tmp_path / "two", "two")

    with single_flight.hold_lease(context, "pickup"):
        with (
            pytest.raises(single_flight.AlreadyRunning, match=r"^one$"),
            single_flight.hold_lease(other_context, "pickup"),
        ):
            pass
        with single_flight.hold_lease(other_context, "retention"):
            pass
    with single_flight.hold_lease(other_context, "pickup"):
        pass


def test_a_machine_goes_on_with_the_lease_of_its_killed_program_and_others_wait_for_its_end(
    engine: Engine, tmp_path: Path
) -> None:
    """A pickup that was killed in its pass kept its own machine from dispatching for five minutes too."""
    context = build_context(engine, tmp_path / "one", "one")
    other_context = build_context(engine, tmp_path / "two", "two")
    with writing(engine) as session:
        runtime_flags.take_lease(session, "pickup", "one", single_flight.LEASE_SECONDS)

    with pytest.raises(single_flight.AlreadyRunning), single_flight.hold_lease(other_context, "pickup"):
        pass
    with single_flight.hold_lease(context, "pickup"), writing(engine) as session:
        session.execute(update(Lease).where(Lease.name == "pickup").values(until=now() - timedelta(seconds=1)))
        assert runtime_flags.take_lease(session, "pickup", "two", single_flight.LEASE_SECONDS) is None
    with writing(engine) as session:
        assert session.get_one(Lease, "pickup").holder == "two", (
            "a lease that ran out is not ended by its former holder"
        )


def test_two_homes_of_one_name_do_not_settle_each_others_runs(engine: Engine, tmp_path: Path) -> None:
    """The second home took the first one's runs for starts that never happened, and gave their tickets away."""
    context = build_context(engine, tmp_path / "one", "same")
    other_context = build_context(engine, tmp_path / "two", "same")
    assert dispatch_pass.make_pass(context).outcome is TaskOutcome.NOOP

    second_pass = dispatch_pass.make_pass(other_context)

    assert second_pass.outcome is TaskOutcome.FAILED
    assert f"set another machine_name in {tmp_path / 'two' / 'config.toml'}" in second_pass.summary["error"]
    with writing(engine) as session:
        assert session.scalars(select(Incident.fingerprint)).all() == [dispatch_pass.UNOBSERVABLE]
    assert dispatch_pass.make_pass(context).outcome is TaskOutcome.NOOP
    with pytest.raises(ObservationError), single_flight.hold_lease(other_context, "retention"):
        pass


def test_a_ticket_goes_on_where_its_branch_is_while_that_host_is_at_work(engine: Engine, tmp_path: Path) -> None:
    """The next run began on another host, on a new branch without the commits of the first one."""
    context = build_context(engine, tmp_path / "one", "one")
    other_context = build_context(engine, tmp_path / "two", "two")
    ticket_id = make(engine)
    with writing(engine) as session:
        run = claims.claim_ticket(session, ticket_id, "one").run
        claims.record_workspace(session, run.id, branch="mc/MC-1")
        reports.apply_report(session, run.id, reports.RunReport(verdict="question"), reports.RetryPolicy())
        transitions.transition(session, ticket_id, "answer", ALICE, body="Yes.")

    def count_waiting(host: JobContext) -> int:
        counts = dispatch_pass.PassCounts()
        dispatch_pass._choose_tickets(host, counts, False)
        return counts.skipped[dispatch_pass.OTHER_HOST]

    with single_flight.hold_lease(context, "pickup"):
        assert (count_waiting(context), count_waiting(other_context)) == (0, 1)
    with writing(engine) as session:
        session.execute(update(Lease).values(until=now() - timedelta(seconds=1)))
    assert count_waiting(other_context) == 0, "nobody waits for a host that is gone"
    with writing(engine) as session:
        session.execute(update(Lease).values(until=now() + timedelta(seconds=99)))
        session.execute(update(Run).values(outcome=Outcome.LOST))
    assert count_waiting(other_context) == 0, "a run that was declared dead is done anew elsewhere"
