"""Live routes: the addresses that tickets name are fetched from the hosts that their projects list, and recorded once."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

from sqlalchemy import Engine, select

from database import reading, writing
from jobs import housekeeping, single_flight
from jobs.evidence import live_routes as job
from jobs.evidence.live_routes import RouteChecker
from jobs.task_recorder import JobResult
from models import Evidence, EvidenceStatus, TaskOutcome, Trigger
from tests.test_landing import project
from tests.test_spine import ALICE, make
from tests.waiting import wait_until
from tests.workers.loopback_site import Site, respond, serving
from tickets.shared import lookup
from tickets.workflow import live_routes
from tickets.workflow.live_routes import CheckRoute, RouteResult

from .test_flight import build_context


def request(engine: Engine, *urls: str) -> None:
    with writing(engine) as session:
        for url in urls:
            live_routes.request_check(session, lookup.get_ticket(session, "MC-1"), CheckRoute(url=url), ALICE)


def load_facts(engine: Engine) -> list[Evidence]:
    with reading(engine) as session:
        return list(session.scalars(select(Evidence).order_by(Evidence.id)))


def test_requested_addresses_are_fetched_from_listed_hosts_and_recorded_once(engine: Engine, tmp_path: Path) -> None:
    context = build_context(engine, tmp_path / "home", "here")
    with serving(Site()) as site:
        site.answers |= {"/": respond(body=b"up"), "/gone": respond(404, b"no")}
        site.answers["/away"] = respond(302, Location="http://localhost:1/")
        with writing(engine) as session:
            project(session).live_hosts = [f"127.0.0.1:{site.port}", "*.0.0.2:*"]
        make(engine, project="web")
        assert job.make_pass(context).outcome is TaskOutcome.NOOP, "nothing is requested"
        refused_urls = (site.url("/away"), "http://127.0.0.1:1/", f"http://127.0.0.2:{site.port}/")
        request(engine, site.url("/"), site.url("/gone"), *refused_urls)
        with single_flight.hold_lease(context, job.TASK):
            skipped = housekeeping.run_pass(context, job.TASK, Trigger.TIMER)
        assert skipped.outcome is TaskOutcome.SKIPPED and "held_by" in skipped.summary
        with reading(engine) as session:
            routes = live_routes.list_pending(session, "here")
        result = housekeeping.run_pass(context, job.TASK, Trigger.TIMER)
    with writing(engine) as session:
        assert not any(live_routes.record_result(session, route, RouteResult(200)) for route in routes)

    assert (result.outcome, result.summary["recorded"], result.summary["without_answer"]) == ("acted", 5, 3)
    up, missing_page, *others = load_facts(engine)
    assert (up.status, up.summary) == (EvidenceStatus.OK, f"{site.url('/')}: status 200, 2 bytes")
    assert (up.data or {})["sha256"] == hashlib.sha256(b"up").hexdigest()
    assert (missing_page.status, missing_page.summary) == (
        EvidenceStatus.FAILED,
        f"{site.url('/gone')}: status 404, 2 bytes",
    )
    assert {fact.status for fact in others} == {EvidenceStatus.FAILED}
    for fact, problem in zip(others, ("localhost:1", "127.0.0.1:1", "private or loopback address"), strict=True):
        assert problem in fact.summary
    assert [target for target, *_ in site.requests if target != "GET /away"].count("GET /") == 1


def test_the_scheduler_fetches_at_once_unless_the_task_is_disabled(engine: Engine, tmp_path: Path) -> None:
    context, passes, enabled = build_context(engine, tmp_path / "home", "here"), threading.Semaphore(0), [False]
    log: list[str] = []

    def work() -> JobResult:
        passes.release()
        raise OSError("no network")

    checker = RouteChecker(context, work, lambda: enabled[0], log.append)
    with writing(engine) as session:
        project(session).live_hosts = ["127.0.0.1:1"]
    make(engine, project="web")
    enabled[0] = True
    assert not checker.tick(), "nothing is requested"
    request(engine, "http://127.0.0.1:1/")
    enabled[0] = False
    assert not checker.tick()
    enabled[0] = True
    assert checker.tick()
    assert passes.acquire(timeout=60)
    wait_until(lambda: log == ["fetching live routes: OSError: no network"], 60)
    checker._thread.join(60)
    assert not checker.tick(), "after a failure the addresses are left to the task"
