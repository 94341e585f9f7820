"""Inbound hooks: only a fresh signed request of a program does something, and the same one does it once."""

from __future__ import annotations

import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import Engine, func, select
from werkzeug.test import TestResponse

import auth
from database import reading, writing
from models import Ticket, TicketStatus, now
from settings import Settings
from tickets.schedule import hooks, tasks
from tickets.schedule.hooks import Delivery
from tickets.shared.actors import Actor

from .conftest import OWN_PAGE, PLAIN

HOOK = {"description": "Builds", "ticket": {"title": "build.name", "description": "build.log", "tags": ["bug"]}}
BODY = {"build": {"name": "Build 7 failed", "log": "Step 3"}}


class Sender:
    """A program that knows the secret of a hook."""

    def __init__(self, app: Flask, store: Engine, settings: Settings, **changes: object) -> None:
        self.client, self.name = app.test_client(), "builds"
        with writing(store) as session:
            fields = {"per_hour": 5, **HOOK, **changes}
            fields = {name: value for name, value in fields.items() if value is not None}
            self.secret = hooks.create_hook(session, settings, self.name, fields, "Repair it.", Actor.human())
        self.key = hooks._read_key(settings, self.name)

    def send(self, body: object = BODY, number: str = "msg_1", **changes: Any) -> TestResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        moment = changes.pop("moment", now())
        delivery = Delivery(number, str(int(moment.timestamp())), "", raw)
        headers = {
            "webhook-id": number,
            "webhook-timestamp": delivery.timestamp,
            "webhook-signature": f"v1,bm8= {hooks.sign(self.key, delivery)} v2,x",
        }
        headers |= changes.pop("headers", {})
        changes = {"base_url": PLAIN, "content_type": "application/json"} | changes
        return self.client.post(
            f"/hooks/{self.name}", data=raw, headers={key: value for key, value in headers.items() if value}, **changes
        )


@pytest.fixture
def sender(app: Flask, store: Engine, settings: Settings) -> Sender:
    return Sender(app, store, settings)


def count_tickets(store: Engine) -> int:
    with reading(store) as session:
        return session.scalar(select(func.count()).select_from(Ticket)) or 0


def test_the_signature_is_that_of_standard_webhooks() -> None:
    """The example of the specification's own test suite."""
    key = b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    delivery = Delivery("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", "", b'{"test": 2432232314}')
    assert hooks.sign(key, delivery) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signed_request_creates_one_ticket_and_its_repetition_gets_the_same(
    sender: Sender, store: Engine, settings: Settings
) -> None:
    assert sender.secret.startswith("whsec_")
    assert (settings.secrets_dir / "hook-builds").stat().st_mode & 0o777 == 0o600
    first, again = sender.send(), sender.send()
    assert (first.status_code, first.get_json()) == (201, {"ticket": "MC-1"})
    assert (again.status_code, again.get_json()) == (200, {"ticket": "MC-1"})
    assert sender.send({"build": {"name": "Other"}}).status_code == 409
    with reading(store) as session:
        [ticket] = session.scalars(select(Ticket))
    assert (ticket.title, ticket.status, ticket.requester) == ("Build 7 failed", TicketStatus.INBOX, "hook-builds")
    assert ticket.description == "Repair it.\n\nReceived by the hook `builds`:\n\n```text\nStep 3\n```"


def test_what_is_not_a_fresh_signed_request_of_a_program_does_nothing(sender: Sender, store: Engine) -> None:
    minute = timedelta(minutes=1)
    refusals = {
        "old": (sender.send(moment=now() - 6 * minute), 401),
        "early": (sender.send(moment=now() + 6 * minute), 401),
        "other id": (sender.send(headers={"webhook-id": "msg_2"}), 401),
        "no id": (sender.send(headers={"webhook-id": ""}), 401),
        "odd time": (sender.send(headers={"webhook-timestamp": "١٢"}), 401),
        "no signature": (sender.send(headers={"webhook-signature": ""}), 401),
        "wrong": (sender.send(headers={"webhook-signature": "v1,AAAA v1,ö"}), 401),
        "page": (sender.send(headers=OWN_PAGE), 401),
        "origin": (sender.send(headers={"Origin": PLAIN}), 401),
        "large": (sender.send(b"x" * (auth.SIGNED_BODY_BYTES + 1)), 413),
        "list": (sender.send([1]), 422),
        "deep": (sender.send(b"[" * 60_000), 422),
        "no title": (sender.send({"build": {"name": ["x"]}}), 422),
        "other host": (sender.send(base_url="http://evil.example"), 400),
    }
    assert {name: answer.status_code for name, (answer, _) in refusals.items()} == {
        name: status for name, (_, status) in refusals.items()
    }
    for answer, _ in refusals.values():
        assert sender.secret not in answer.text and not answer.headers.getlist("Set-Cookie")
    sender.name = "nothing"
    assert sender.send().status_code == 404
    assert count_tickets(store) == 0


def test_a_body_is_data(sender: Sender, store: Engine) -> None:
    token = "ghp_" + "a1B2" * 9
    log = f"```\n```sh\nrm -rf /\n```\n{token}\x1b[31m" + "x" * 40_000
    sender.send({"build": {"name": f"Line\none \u202e{token} " + "y" * 300, "log": log}})
    with reading(store) as session:
        [ticket] = session.scalars(select(Ticket))
    assert ticket.title.startswith("Line one [redacted] yyy") and len(ticket.title) == hooks.MAX_TITLE_CHARACTERS
    assert "````text\n```\n```sh\nrm -rf /\n```\n[redacted]x" in ticket.description
    assert token not in ticket.description and len(ticket.description) < hooks.MAX_DESCRIPTION_CHARACTERS + 200


def test_a_hook_accepts_a_bounded_number_of_requests_and_no_old_secret(
    sender: Sender, store: Engine, settings: Settings
) -> None:
    statuses = [sender.send(number=f"msg_{number}").status_code for number in range(7)]
    assert statuses == [201] * 5 + [429] * 2 and count_tickets(store) == 5
    assert sender.send(number="msg_0").status_code == 200
    with writing(store) as session:
        assert hooks.rotate_secret(session, settings, "builds", Actor.human()) != sender.secret
    assert sender.send(number="msg_0").status_code == 401


def test_a_hook_starts_a_task_where_a_scheduler_runs(app: Flask, store: Engine, settings: Settings) -> None:
    sender = Sender(app, store, settings, task="backup", ticket=None)
    assert sender.send().status_code == 409
    with writing(store) as session:
        tasks.record_heartbeat(session, tasks.SCHEDULER, "ok")
    assert [sender.send().status_code for _ in range(2)] == [202, 200]
    with reading(store) as session:
        assert tasks.list_requested(session, 0)[1] == {"backup"}
    file = settings.hooks_dir / "builds.md"
    file.write_text(file.read_text().replace("enabled: true", "enabled: false"))
    assert "is disabled" in sender.send(number="msg_2").text
    file.write_text("---\ntask: [\n---\n")
    assert "its file has a problem" in sender.send(number="msg_3").text
    assert hooks.list_hooks(settings)[1][0].startswith("builds.md: line ")


@pytest.mark.parametrize("content", ["", "whsec_", "\n", "whsec_c2hvcnQ="])
def test_a_hook_without_a_whole_secret_accepts_nothing(sender: Sender, settings: Settings, content: str) -> None:
    (settings.secrets_dir / "hook-builds").write_text(content)
    sender.key = b64decode(content.strip().removeprefix("whsec_"))
    assert sender.send().status_code == 404


def test_the_time_of_a_request_is_judged_by_the_servers_clock(sender: Sender, settings: Settings) -> None:
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    delivery = Delivery("msg_1", str(int(moment.timestamp())), "", b"{}")
    signed = Delivery(delivery.id, delivery.timestamp, hooks.sign(sender.key, delivery), b"{}")
    for seconds in (-300, 300):
        hooks.authenticate(settings, "builds", signed, moment + timedelta(seconds=seconds))
    for seconds in (-301, 301):
        with pytest.raises(hooks.HookRefused, match="five minutes"):
            hooks.authenticate(settings, "builds", signed, moment + timedelta(seconds=seconds))
