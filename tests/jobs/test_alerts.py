"""Channels of alerts against real servers on loopback: SMTP, a push service, and an address of Apprise."""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MessageHandler
from aiosmtpd.smtp import AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import failpoints
import secret_files
from database import reading, writing
from jobs import housekeeping
from jobs.alerts import alert_runner
from jobs.alerts.alert_runner import AlertRunner, ChannelWorker
from jobs.alerts.channel import SendFailed
from jobs.alerts.progress import merge_failures
from jobs.alerts.push_channel import MAX_PAYLOAD_BYTES, encode_payload, parse_retry_after
from models import AlertDelivery, AlertState, now
from tests.ports import free_port
from tests.waiting import wait_until
from tickets.alerts import channels, deliveries, subscriptions
from tickets.alerts.channels import ChannelRules
from tickets.alerts.subscriptions import NewSubscription
from tickets.lifecycle import transitions
from tickets.shared.inputs import NewTicket

from .installation import ALICE, Installation
from .push_service import PushService


class Mailbox(MessageHandler):
    """Keeps what a mail server gets."""

    def __init__(self) -> None:
        super().__init__()
        self.mails: list[Message[str, str]] = []

    def handle_message(self, message: Message[str, str]) -> None:
        self.mails.append(message)


class MailServer(Controller):
    """A mail server that knows one password."""

    def factory(self) -> Any:
        self.SMTP_kwargs |= {"authenticator": check_login, "auth_require_tls": False}
        return super().factory()  # type: ignore[no-untyped-call]


def check_login(_server: Any, _session: Any, _envelope: Any, _mechanism: str, login: LoginPassword) -> AuthResult:
    """Refuse a wrong password with an answer that repeats it, as some servers do."""
    if login.password == b"correct horse":
        return AuthResult(success=True, handled=False)
    return AuthResult(success=False, handled=False, message=f"535 5.7.8 No such password: {login.password.decode()}")


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    server = MailServer(box, hostname="127.0.0.1", port=port)
    server.start()
    yield box, port
    server.stop()


@pytest.fixture
def push_service() -> Iterator[PushService]:
    service = PushService()
    yield service
    service.close()


def open_channel(installation: Installation, name: str, options: dict[str, Any], **secrets: str) -> None:
    kind = channels.get_type(name)
    rules = ChannelRules.model_validate({"enabled": True, "kinds": {"blocked": "now"}})
    with writing(installation.engine) as session:
        channels.save_channel(session, kind, rules, kind.options.model_validate(options), ALICE)
    known_secrets = secret_files.read_channel_secrets(installation.settings, name)
    secret_files.write_channel_secrets(installation.settings, name, known_secrets | secrets)


def open_email(installation: Installation, port: int, password: str = "correct horse") -> None:
    options = {"host": "127.0.0.1", "port": port, "security": "none", "username": "mc", "sender": "mc@example.com"}
    open_channel(installation, "email", options | {"recipients": ["one@example.com"]}, password=password)


def block(installation: Installation, next_action: str = "Look at it") -> int:
    facts: dict[str, Any] = {"reason": "needs_human", "owner": "alice", "next_action": next_action}
    with writing(installation.engine) as session:
        ticket = transitions.create_ticket(session, NewTicket(title="Write a line", assigned_to="script"), ALICE)
        transitions.transition(session, ticket.id, "block", ALICE, **facts)
        return ticket.id


def unblock(installation: Installation, ticket_id: int) -> None:
    with writing(installation.engine) as session:
        transitions.transition(session, ticket_id, "unblock", ALICE)


def make_pass(installation: Installation, name: str, log: list[str] | None = None) -> None:
    """Make one pass of a channel in this thread."""
    lines: list[str] = [] if log is None else log
    with reading(installation.engine) as session:
        change_time = channels.get_channel(session, name).changed
    ChannelWorker(installation.context, name, change_time, lines.append)._make_pass()


def list_rows(installation: Installation, channel: str) -> list[AlertDelivery]:
    with reading(installation.engine) as session:
        return [row for row in reversed(deliveries.list_latest(session)) if row.channel == channel]


# E-mail


def test_mails_of_a_ticket_are_one_thread_of_plain_text_and_sent_twice_after_a_kill_alone(
    installation: Installation, mailbox: tuple[Mailbox, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    box, port = mailbox
    open_email(installation, port)
    ticket_id = block(installation, "<b>Look</b> at it")

    def die(_point: failpoints.Failpoint) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(failpoints, "kill_at", die)
        with pytest.raises(KeyboardInterrupt):
            make_pass(installation, "email")
    make_pass(installation, "email")
    assert len(box.mails) == 1  # the attempt may still be under way
    with monkeypatch.context() as patch:
        for module in (deliveries, alert_runner):
            patch.setattr(module, "now", lambda: now() + deliveries.ATTEMPT_TIMEOUT)
        make_pass(installation, "email")
    unblock(installation, ticket_id)
    make_pass(installation, "email")
    first, repeated, last = box.mails
    assert first["Message-ID"] == repeated["Message-ID"] == last["In-Reply-To"] != last["Message-ID"]
    assert first["References"] == last["References"] and first["X-RcptTo"] == "one@example.com"
    assert first["Subject"] == last["Subject"] == "MC-1 is blocked: Write a line"
    assert first.get_content_type() == "text/plain"
    assert "<b>Look</b> at it" in str(first.get_payload()) and installation.settings.instance not in str(first)
    assert "Unblocked by alice." in str(last.get_payload())
    assert [row.state for row in list_rows(installation, "email")] == [AlertState.SETTLED]


def test_a_refused_log_in_is_tried_again_and_a_password_never_goes_without_tls(
    installation: Installation, mailbox: tuple[Mailbox, int]
) -> None:
    box, port = mailbox
    open_email(installation, port, password="wrong horse")
    block(installation)
    log: list[str] = []
    make_pass(installation, "email", log)
    [row] = list_rows(installation, "email")
    assert (row.state, row.attempts, box.mails) == (AlertState.PENDING, 1, [])
    assert row.due and "answered 535" in row.reason and "wrong horse" not in row.reason + "".join(log)

    options = {"host": "mail.example.com", "security": "none", "username": "mc", "sender": "mc@example.com"}
    open_channel(installation, "email", options | {"recipients": ["one@example.com"]}, password="correct horse")
    with writing(installation.engine) as session:
        deliveries.request_test(session, "email", ALICE)
    make_pass(installation, "email")
    test = list_rows(installation, "email")[-1]
    assert (test.state, test.reason) == (
        AlertState.FAILED,
        "mail.example.com would get the password without TLS. Choose STARTTLS or TLS.",
    )


def make_certificate(folder: Path) -> Path:
    """Make a certificate for the loopback address, in one file with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now() - timedelta(days=1))
    certificate = (
        builder.not_valid_after(now() + timedelta(days=1)).add_extension(address, False).sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private_key + certificate.public_bytes(serialization.Encoding.PEM))
    return file


def test_a_mail_is_sent_only_to_a_server_whose_certificate_is_valid(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, port, certificate = Mailbox(), free_port(), make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = MailServer(box, hostname="127.0.0.1", port=port, tls_context=context, require_starttls=True)
    server.start()
    options = {"host": "127.0.0.1", "port": port, "username": "mc", "sender": "mc@example.com"}
    open_channel(installation, "email", options | {"recipients": ["one@example.com"]}, password="correct horse")
    for is_trusted in (False, True):
        if is_trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with writing(installation.engine) as session:
            deliveries.request_test(session, "email", ALICE)
        make_pass(installation, "email")
    server.stop()
    first_row, last_row = list_rows(installation, "email")
    assert first_row.state is AlertState.FAILED and "certificate of 127.0.0.1" in first_row.reason
    assert last_row.state is AlertState.SENT and len(box.mails) == 1


# Web push


def open_push(installation: Installation, service: PushService, *paths: str) -> None:
    secret_files.ensure_push_key(installation.settings)
    open_channel(installation, "push", {"contact": "mailto:you@example.com"})
    with writing(installation.engine) as session:
        for path in paths:
            body = NewSubscription.model_validate(service.describe_subscription(path))
            subscriptions.add_subscription(session, body, "Firefox", ALICE)


@pytest.fixture
def push_installation(template: Path, tmp_path: Path, push_service: PushService) -> Iterator[Installation]:
    installation = Installation(template, tmp_path / "home", push_hosts=(push_service.netloc,))
    yield installation
    installation.close()


def test_a_push_message_is_encrypted_signed_and_replaced_when_it_is_settled(
    push_installation: Installation, push_service: PushService
) -> None:
    installation = push_installation
    open_push(installation, push_service, "/one")
    ticket_id = block(installation, "Look " * 1000)
    make_pass(installation, "push")
    unblock(installation, ticket_id)
    make_pass(installation, "push")
    first, last = push_service.messages
    assert first.size <= 4096 and first.headers["Content-Encoding"] == "aes128gcm"
    assert first.claims["aud"] == f"http://{push_service.netloc}" and first.claims["sub"] == "mailto:you@example.com"
    assert 0 < first.claims["exp"] - time.time() < 24 * 3600
    assert (first.payload["title"], first.payload["href"]) == ("MC-1 is blocked: Write a line", "/ticket/MC-1")
    assert (last.payload["tag"], last.payload["body"]) == (first.payload["tag"], "Unblocked by alice.")
    assert last.headers["Topic"] == first.headers["Topic"] and len(first.headers["Topic"]) == 32


def test_the_key_of_push_messages_is_made_once_and_backed_up(push_installation: Installation) -> None:
    settings = push_installation.settings
    for _ in range(2):
        secret_files.ensure_push_key(settings)
        key = secret_files.read_public_push_key(settings)
        housekeeping.back_up_store(push_installation.context)
        copy = settings.backups_dir / "alerts-push.json"
        assert json.loads(copy.read_text())["public_key"] == key and copy.stat().st_mode & 0o777 == 0o600


def test_a_browser_that_is_gone_is_removed_and_a_busy_service_is_waited_for(
    push_installation: Installation, push_service: PushService
) -> None:
    installation = push_installation
    open_push(installation, push_service, "/kept", "/gone", "/moved")
    push_service.answers = {
        "/gone": [(410, {})],
        "/kept": [(429, {"Retry-After": "600"})],
        "/moved": [(307, {"Location": "/kept"})],
    }
    block(installation)
    make_pass(installation, "push")
    [row] = list_rows(installation, "push")
    assert row.state is AlertState.PENDING and row.due is not None
    assert 500 < (row.due - now()).total_seconds() <= 600
    assert "answered 429" in row.reason and "redirects" in row.reason
    with reading(installation.engine) as session:
        places = [row.endpoint.rpartition("/")[2] for row in subscriptions.list_subscriptions(session)]
    assert places == ["kept", "moved"]
    assert push_service.messages == []


def test_a_push_payload_fits_whatever_it_says() -> None:
    actions = [{"action": str(number), "title": "é" * 100} for number in range(8)]
    for body in ("é" * 1000, "😀" * 3000, "\\" * 2000, ""):
        encoded = encode_payload({"title": "t" * 200, "body": body, "actions": actions, "href": "/", "key": "k"})
        assert len(encoded) <= MAX_PAYLOAD_BYTES and json.loads(encoded)["title"] == "t" * 200
    assert parse_retry_after("120") == 120 and parse_retry_after("soon") is None
    assert parse_retry_after("Thu, 01 Jan 2026 00:00:00 GMT") == 0


# Apprise


class Receiver(HTTPServer):
    """A server that keeps the JSON it gets, and refuses the paths of `refused_paths`."""

    def __init__(self) -> None:
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.refused_paths: set[str] = set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_refused = self.path in receiver.refused_paths
                if not is_refused:
                    receiver.bodies.append((self.path, body))
                self.send_response(503 if is_refused else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


def test_a_retry_by_apprise_goes_to_those_alone_that_have_not_got_it_beside_a_server_that_hangs(
    installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    receiver = Receiver()
    receiver.refused_paths = {"/second"}
    urls = "\n".join(f"json://user:secret-word@127.0.0.1:{receiver.server_port}/{path}" for path in ("first", "second"))
    log: list[str] = []
    runner = AlertRunner(installation.context, log.append)
    with socket.create_server(("127.0.0.1", 0)) as silent_server:
        open_email(installation, silent_server.getsockname()[1])
        open_channel(installation, "apprise", {}, urls=urls)
        block(installation)

        def tick_until_sent(state: AlertState) -> bool:
            runner.tick(is_changed=True)
            [*rows] = list_rows(installation, "apprise")
            return [(row.state, bool(row.reason)) for row in rows] == [(state, state is AlertState.PENDING)]

        wait_until(lambda: tick_until_sent(AlertState.PENDING), description="the failed attempt")
        receiver.refused_paths.clear()
        with writing(installation.engine) as session:
            session.query(AlertDelivery).filter_by(channel="apprise").update({"due": now()})
        wait_until(lambda: tick_until_sent(AlertState.SENT), description="the second attempt")
        [hung] = list_rows(installation, "email")
        assert (hung.state, hung.attempts) == (AlertState.PENDING, 1)
        runner.stop()
    assert [path for path, _ in receiver.bodies] == ["/first", "/second"]
    assert receiver.bodies[0][1]["title"] == "MC-1 is blocked: Write a line"
    assert "secret-word" not in caplog.text + "".join(log)
    wait_until(lambda: not runner.is_busy, description="the end of the hung attempt")
    receiver.shutdown()
    receiver.server_close()


def test_a_channel_is_loaded_when_it_is_used() -> None:
    """The memory of an idle scheduler must not grow by what it does not use."""
    probe = (
        "import sys, mc_scheduler; print(sorted(set(sys.modules) & "
        "{'smtplib', 'http_ece', 'py_vapid', 'apprise', 'cryptography', 'requests', 'jobs.alerts.alert_runner'}))"
    )
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"


def test_a_failure_of_several_targets_is_permanent_only_when_all_are() -> None:
    merged = merge_failures([SendFailed("a", 5.0), SendFailed("b", None, is_permanent=True)])
    assert (merged.message, merged.retry_after, merged.is_permanent) == ("a b", 5.0, False)
