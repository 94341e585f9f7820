"""The section of Telegram on the page of alerts: a code is shown once, and what is paired can be removed."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine

import auth
from database import reading, writing
from jobs import job_context
from settings import Settings
from tickets.alerts import telegram_log, telegram_pairing
from tickets.shared import lookup

from ..jobs.test_telegram import ANN, Setup
from ..telegram_server import TOKEN, serve_bot
from ..test_alerts import collect, open_channel
from .conftest import OWN_PAGE, csrf_token
from .test_alerts import post

GROUP = -1001234
TRIALS = int(os.environ.get("MC_ANSWER_TRIALS", "20"))
"""More of them: `MC_ANSWER_TRIALS=200 bin/test tests/web/test_telegram.py`."""


def test_a_bot_is_set_up_and_an_account_is_paired_and_removed(
    browser: FlaskClient, engine: Engine, settings: Settings
) -> None:
    assert "Pair an account" not in browser.get("/settings/alerts").text
    status, page = post(browser, "/settings/alerts/telegram", {"enabled": "yes", "secret-token": TOKEN})
    assert (status, "Telegram is saved." in page, TOKEN in page) == (200, True, False)
    file = settings.secrets_dir / "alerts-telegram.json"
    assert (json.loads(file.read_text()), stat.S_IMODE(file.stat().st_mode)) == ({"token": TOKEN}, 0o600)

    page = post(browser, "/settings/alerts/telegram/code", {})[1]
    match = re.search(r"/pair ([A-Z2-9]{10})<", page)
    assert match is not None and "acts as operator" in page
    with writing(engine) as session:
        assert telegram_pairing.pair_account(session, match[1], 11, "<b>@ann</b>") == "operator"
        telegram_pairing.add_chat(session, GROUP)
        telegram_pairing.update_chat(session, GROUP, "Team <1>", is_forum=True)
        telegram_pairing.record_chat_problem(session, GROUP, "Forbidden: bot was kicked")
        telegram_log.open_bot(session, 123456789)
        telegram_log.record_name(session, 123456789, "mc_test_bot")
        telegram_log.record_problem(session, 123456789, "Telegram answered 401: Unauthorized")
    page = browser.get("/settings/alerts").text
    for text in ("&lt;b&gt;@ann&lt;/b&gt;", "Team &lt;1&gt;", "Forbidden: bot was kicked", "401: Unauthorized"):
        assert text in page
    assert match[1] not in page
    assert "https://t.me/mc_test_bot?start=" in post(browser, "/settings/alerts/telegram/code", {})[1]

    assert "no longer acts as operator" in post(browser, "/settings/alerts/telegram/people/11/remove", {})[1]
    assert "gets no more alerts" in post(browser, f"/settings/alerts/telegram/chats/{GROUP}/remove", {})[1]
    assert post(browser, "/settings/alerts/telegram/people/11/remove", {})[0] == 404
    with reading(engine) as session:
        assert telegram_pairing.list_people(session) == [] == telegram_pairing.list_chats(session)


@pytest.mark.both_databases
def test_of_a_form_a_notification_and_a_button_at_once_exactly_one_answers(
    app: Flask, browser: FlaskClient, engine: Engine, settings: Settings
) -> None:
    """Through the places themselves: the form of the ticket's page, the route of the service worker, the bot's handler."""
    cookie = browser.get_cookie(auth.get_cookie_name(settings))
    phone = app.test_client()
    phone.set_cookie(auth.get_cookie_name(settings), cookie.value if cookie else "")
    form, note = ({"csrf": csrf_token(client)} for client in (browser, phone))
    for name in ("telegram", "push"):
        open_channel(engine, name)
    with serve_bot() as server:
        server.add_chat(ANN)
        context = job_context.build_context(settings.model_copy(update={"telegram_api_url": server.url}), engine)
        setup = Setup(context, server)
        setup.pair(ANN, ANN)
        handler = setup.build_handler()
        for _ in range(TRIALS):
            ticket_id, alert = setup.send_question("Yes", "No")
            collect(engine, "push")
            with reading(engine) as session:
                ticket = lookup.get_ticket(session, ticket_id)
            press = server.press(ANN, server.messages[-1].buttons["Yes"])
            fields = form | {"version": str(ticket.version), "choice-0": "No"}
            page, push, _ = call_at_once(
                partial(browser.post, f"/ticket/{ticket.identifier}/answer", data=fields, headers=OWN_PAGE),
                partial(phone.post, "/alerts/answer", data=note | {"key": alert.key, "choice": "2"}, headers=OWN_PAGE),
                partial(handler.handle, press),
            )
            results = (page.status_code, push.status_code, server.list_answers()[-1])
            assert set(results[:2]) <= {303, 200, 409}
            assert [results[0] == 303, results[1] == 200, results[2] == f"{alert.ticket}: Yes"].count(True) == 1, (
                results
            )
            assert [move for move, _ in setup.list_moves(ticket_id)].count("answer") == 1


def call_at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make calls in threads of their own, which begin together, and return their results in this order."""
    together = threading.Barrier(len(calls))

    def call(function: Callable[[], Any]) -> Any:
        together.wait()
        return function()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))
