"""The page of alerts: a channel is set up, its secret is never shown again, and a test and an answer take the real path."""

from __future__ import annotations

import json
import stat

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, select, update

from database import reading, writing
from models import DeliveryState, Login, QueuedMessage, now
from settings import Settings
from tickets.alerts import channels, subscriptions
from tickets.operations import tokens
from web.site import template_filters

from .conftest import OWN_PAGE, Api, csrf_token

EMAIL = {
    "enabled": "yes",
    "host": "127.0.0.1",
    "port": "2525",
    "security": "none",
    "username": "mc",
    "secret-password": "correct horse battery",
    "sender": "mc@example.com",
    "recipients": "one@example.com, two@example.com",
    "kind-needs_you": "now",
    "kind-done": "digest",
    "quiet_hours": "22:00-07:00",
}
PUSH = {"contact": "mailto:you@example.com", "enabled": "yes"}


def post(browser: FlaskClient, path: str, fields: dict[str, str]) -> tuple[int, str]:
    answer = browser.post(path, data={"csrf": csrf_token(browser)} | fields, headers=OWN_PAGE, follow_redirects=True)
    return answer.status_code, answer.text


def test_a_channel_is_set_up_and_tested_and_its_secret_is_never_shown_again(
    browser: FlaskClient, engine: Engine, settings: Settings
) -> None:
    status, page = post(browser, "/settings/alerts/email", EMAIL)
    assert (status, "E-mail is saved." in page) == (200, True)
    file = settings.secrets_dir / "alerts-email.json"
    assert json.loads(file.read_text()) == {"password": EMAIL["secret-password"]}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    wrong = EMAIL | {"recipients": "one@example.com\r\nBcc: evil@example.com", "quiet_hours": "22:00"}
    status, page = post(browser, "/settings/alerts/email", wrong)
    assert status == 422 and page.count('aria-invalid="true"') == 2
    status, page = post(browser, "/settings/alerts/email", EMAIL | {"secret-password": ""})
    assert "Saved. Leave empty to keep it." in page and EMAIL["secret-password"] not in page
    assert json.loads(file.read_text()) == {"password": EMAIL["secret-password"]}
    with reading(engine) as session:
        row = channels.get_channel(session, "email")
        assert (row.kinds, row.quiet_hours) == ({"needs_you": "now", "done": "digest"}, "22:00-07:00")
        assert row.options["recipients"] == ["one@example.com", "two@example.com"]
    assert "Save its settings first" in post(browser, "/settings/alerts/apprise/test", {})[1]
    status, page = post(browser, "/settings/alerts/apprise", {"enabled": "yes"})
    assert status == 422 and "needed to turn this channel on" in page
    assert "The test is on its way" in post(browser, "/settings/alerts/email/test", {})[1]
    assert "Test alert from Mission Control" in browser.get("/settings/alerts/deliveries").text
    with writing(engine) as session:
        session.execute(update(Login).values(created=now() - tokens.PROOF_LIFETIME))
    status, page = post(browser, "/settings/alerts/email", EMAIL)
    assert (status, "Passwords cannot be kept" in page, EMAIL["secret-password"] in page) == (403, True, False)


def test_only_known_push_services_are_subscribed_to(browser: FlaskClient, operator: Api, engine: Engine) -> None:
    assert "Web push is saved" in post(browser, "/settings/alerts/push", PUSH)[1]
    keys = {"p256dh": "B" + "A" * 86, "auth": "A" * 22}
    for endpoint in (
        "https://evil.example/push",
        "http://fcm.googleapis.com/x",
        "https://fcm.googleapis.com.evil.example/x",
    ):
        assert post(browser, "/settings/alerts/push/subscriptions", keys | {"endpoint": endpoint})[0] == 422
    subscription = keys | {"endpoint": "https://fcm.googleapis.com/fcm/send/abc"}
    assert post(browser, "/settings/alerts/push/subscriptions", subscription)[0] == 200
    with writing(engine) as session:
        session.execute(update(Login).values(created=now() - tokens.PROOF_LIFETIME))
    another = keys | {"endpoint": "https://fcm.googleapis.com/fcm/send/def"}
    assert post(browser, "/settings/alerts/push/subscriptions", another)[0] == 403, "its texts outlast the log-in"
    with reading(engine) as session:
        [row] = subscriptions.list_subscriptions(session)
    assert post(browser, f"/settings/alerts/push/subscriptions/{row.id}/remove", {})[0] == 200
    with reading(engine) as session:
        assert subscriptions.list_subscriptions(session) == []


def test_a_message_that_was_not_delivered_is_sent_again_or_dismissed_on_its_ticket(
    browser: FlaskClient, operator: Api, engine: Engine
) -> None:
    operator.post("/tickets", {"title": "Write a line", "assigned_to": "script"})
    for text in ("Use the other file.", "Stop."):
        operator.post("/tickets/MC-1/messages", {"body": text})
    with writing(engine) as session:
        session.execute(update(QueuedMessage).values(state=DeliveryState.EXPIRED))
    page = browser.get("/ticket/MC-1").text
    assert page.count("Send again") == 4  # each in its form, and a link in the conversation
    assert "The message is queued again." in post(browser, "/ticket/MC-1/messages/1/resend", {})[1]
    assert "The message is dismissed." in post(browser, "/ticket/MC-1/messages/2/dismiss", {})[1]
    assert "already been sent again" in post(browser, "/ticket/MC-1/messages/2/resend", {})[1]
    with reading(engine) as session:
        rows = [(row.body, row.state) for row in session.scalars(select(QueuedMessage).order_by(QueuedMessage.id))]
    assert rows[2:] == [("Use the other file.", DeliveryState.QUEUED)]


def test_a_viewer_sees_no_channel(viewer: Api) -> None:
    headers = {"Authorization": f"Bearer {viewer.token}"}
    assert viewer.client.get("/settings/alerts", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("user_agent", "name"),
    [
        (
            "Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 Chrome/140.0.0.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("", "Unknown browser"),
    ],
)
def test_a_browser_is_named_for_people(user_agent: str, name: str) -> None:
    assert template_filters.format_browser(user_agent) == name
