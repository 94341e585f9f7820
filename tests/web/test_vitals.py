"""What the web measures of itself: threads, places and the store, for people and for Prometheus."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import reading, writing
from tests.waiting import wait_until
from tickets.operations import store_stats as sizes
from web.site.connection_limit import ConnectionLimit
from web.site.shared_values import Gauge, SharedValues

from .conftest import Api, Staged


def figure(text: str, name: str) -> float:
    match = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert match, f"{name} is not in\n{text}"
    return float(match[1])


def test_metrics_need_a_token_and_tell_what_was_answered(operator: Api, store: Engine) -> None:
    assert operator.client.get("/metrics").status_code in (302, 401)
    assert operator.client.get("/metrics", headers={"Authorization": "Bearer mc_wrong"}).status_code == 401
    operator.get("/tickets")
    text = operator.client.get("/metrics", headers={"Authorization": f"Bearer {operator.token}"}).get_data(as_text=True)
    assert figure(text, 'mc_answers_total{code="200",method="GET"}') >= 1
    assert figure(text, 'mc_answer_seconds_count{endpoint="tickets.list_tickets"}') >= 1
    assert figure(text, 'mc_check{check="web"}') == 1
    assert figure(text, f'mc_requests_running{{pid="{os.getpid()}"}}') == 1


def test_every_answer_says_how_long_the_server_worked(browser: FlaskClient) -> None:
    for path in ("/board", "/login", "/healthz", "/api/v1/tickets", "/nowhere"):
        assert re.fullmatch(r"app;dur=[0-9]+\.[0-9]", browser.get(path).headers["Server-Timing"])


def test_a_bucket_tells_how_many_of_its_places_are_taken() -> None:
    levels: list[float] = []
    slots = ConnectionLimit(2, levels.append)
    first, second = slots.take(), slots.take()
    assert first and second and slots.take() is None
    first.release()
    first.release()
    assert levels == [1, 2, 1]


def test_a_process_that_ended_stays_counted_without_its_gauges() -> None:
    values = SharedValues()
    gauge = Gauge(values, "open")
    values.declare([("answers",)])
    values.begin(3)
    values.add(("answers",), 2)
    gauge.set(1)
    assert values.gauges()[os.getpid()] == {("open",): 1}
    values.end(3)
    values.end(0)
    assert (values.totals()["answers",], values.gauges()) == (2, {})
    values.begin(3)
    values.add(("answers",))
    assert (values.totals()["answers",], values.gauges()) == (3, {os.getpid(): {("open",): 0}})


def test_a_made_up_method_gets_no_counter_of_its_own(operator: Api) -> None:
    operator.call("BREW", "/tickets")
    text = operator.client.get("/metrics", headers={"Authorization": f"Bearer {operator.token}"}).get_data(as_text=True)
    assert figure(text, 'mc_answers_total{code="other",method="other"}') >= 1 and "BREW" not in text


def test_the_store_is_counted_by_a_timer_and_shown(browser: FlaskClient, operator: Api, store: Engine) -> None:
    assert "Not measured yet" in browser.get("/health").get_data(as_text=True)
    operator.post("/tickets", {"title": "Greet"})
    with reading(store) as session:
        size_report = sizes.measure_store(session)
    with writing(store) as session:
        sizes.save_stats(session, size_report)
    assert (size_report.rows["tickets"], size_report.tickets) == (1, {"todo": 1})
    page = browser.get("/health").get_data(as_text=True)
    assert "Not measured yet" not in page and "ticket_events" in page


def test_whichever_worker_is_asked_answers_for_all_and_forgets_the_dead(stage: Staged) -> None:
    board = stage(MC_WEB_WORKERS=2)
    token = board.person("someone")

    def alive() -> set[str]:
        return set(re.findall(r'mc_requests_running{pid="(\d+)"}', board.page("/metrics", token)[0]))

    wait_until(lambda: len(alive()) == 2, 60, "figures of both workers")
    before = alive()
    listener = board.client()
    streams = r'mc_connections_open{bucket="events",pid="\d+"} 1\.0'
    wait_until(lambda: re.search(streams, board.page("/metrics", token)[0]), 60, "an open stream")
    os.kill(board.worker_pid(), signal.SIGKILL)
    wait_until(
        lambda: len(alive() - before) == 1 and len(alive()) == 2, 30, "a new worker in the place of the dead one"
    )
    listener.close()


def test_nothing_is_opened_before_the_fork(stage: Staged) -> None:
    """A thread or a connection of the master would be in every worker, without its owner."""
    master = Path(f"/proc/{stage().process.pid}")
    files = {str(file.readlink()) for file in (master / "fd").iterdir()}
    assert len(list((master / "task").iterdir())) == 1
    assert not [file for file in files if "mc.db" in file]
