"""The section of Telegram on the page of alerts: a code is shown once, and what is paired can be removed."""

from __future__ import annotations

import json
import re
import stat

from flask.testing import FlaskClient
from sqlalchemy import Engine

from database import reading, writing
from settings import Settings
from tickets.alerts import telegram_log, telegram_pairing

from ..telegram_server import TOKEN
from .test_alerts import post

GROUP = -1001234


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
