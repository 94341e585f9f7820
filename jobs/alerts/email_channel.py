"""Alerts by e-mail over SMTP, as plain text, with one thread for each ticket.

The Message-ID follows from the key of the alert, so that a mail that is sent twice is recognised as one.
"""

from __future__ import annotations

import hashlib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from email.utils import formatdate

from tickets.alerts.alert import Alert, Urgency
from tickets.alerts.channels import EmailOptions

from .alert_text import format_text, locate_page
from .channel import ChannelSetup, SendFailed

TIMEOUT_SECONDS = 20.0
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
PERMANENT_CODE = 500
AUTHENTICATION_CODES = frozenset({530, 534, 535, 538})
"""Refusals of a log-in, which a person may put right while the alert waits."""


def build_channel(setup: ChannelSetup) -> EmailChannel:
    """Build the channel. Raises `SendFailed` for a password that would be sent without TLS."""
    options = EmailOptions.model_validate(dict(setup.options))
    if options.username and options.security == "none" and options.host not in LOOPBACK_HOSTS:
        raise SendFailed(f"{options.host} would get the password without TLS. Choose STARTTLS or TLS.")
    return EmailChannel(setup, options)


class EmailChannel:
    """Sends each alert as a mail to all recipients, and its settlement as another one of its thread."""

    name = "email"

    def __init__(self, setup: ChannelSetup, options: EmailOptions) -> None:
        self._options = options
        self._password = setup.secrets.get("password", "")
        self._board_url = setup.context.settings.public_url
        self._instance = setup.context.settings.instance

    def send(self, alert: Alert) -> str:
        message = self._build_message(alert, alert.key, format_text(alert, self._board_url))
        self._send_message(message)
        return str(message["Message-ID"])

    def settle(self, alert: Alert, reference: str, text: str) -> None:
        body = f"{text}\n\n{locate_page(alert, self._board_url)}"
        message = self._build_message(alert, f"{alert.key}:settled", body)
        message["In-Reply-To"] = reference
        self._send_message(message)

    def _build_message(self, alert: Alert, key: str, text: str) -> EmailMessage:
        """Build a mail. `EmailMessage` refuses a header with a line break."""
        message = EmailMessage()
        message["Subject"] = alert.title
        message["From"] = f"Mission Control <{self._options.sender}>"
        message["To"] = ", ".join(self._options.recipients)
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = self._make_message_id(key)
        message["Auto-Submitted"] = "auto-generated"
        if alert.subject or alert.ticket:
            message["References"] = self._make_message_id(f"thread:{alert.ticket or alert.subject}")
        if alert.urgency is Urgency.HIGH:
            message["Importance"] = "high"
        message.set_content(text)
        return message

    def _make_message_id(self, key: str) -> str:
        digest = hashlib.sha256(f"{self._instance}:{key}".encode()).hexdigest()[:32]
        return f"<{digest}@{self._options.sender.partition('@')[2]}>"

    def _send_message(self, message: EmailMessage) -> None:
        server = f"{self._options.host}:{self._options.port}"
        with _report_failures(server), self._connect() as client:
            refused_recipients = client.send_message(message)
        if refused_recipients:
            raise SendFailed(f"{server} refused {', '.join(refused_recipients)}.", is_permanent=True)

    def _connect(self) -> smtplib.SMTP:
        options = self._options
        if options.security == "tls":
            context = ssl.create_default_context()
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                options.host, options.port, timeout=TIMEOUT_SECONDS, context=context
            )
        else:
            client = smtplib.SMTP(options.host, options.port, timeout=TIMEOUT_SECONDS)
        if options.security == "starttls":
            client.starttls(context=ssl.create_default_context())
        if options.username:
            client.login(options.username, self._password)
        return client


@contextmanager
def _report_failures(server: str) -> Iterator[None]:
    """Convert the errors of SMTP. Their texts are the server's own words, which hold no password."""
    try:
        yield
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        names = ", ".join(error.recipients)
        raise SendFailed(f"{server} refused {names}.", is_permanent=min(codes) >= PERMANENT_CODE) from None
    except smtplib.SMTPResponseException as error:
        words = error.smtp_error.decode("utf-8", "replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
        is_permanent = error.smtp_code >= PERMANENT_CODE and error.smtp_code not in AUTHENTICATION_CODES
        raise SendFailed(f"{server} answered {error.smtp_code}: {words}", is_permanent=is_permanent) from None
    except ssl.SSLCertVerificationError as error:
        raise SendFailed(f"The certificate of {server} is not valid: {error.verify_message}.") from None
    except (smtplib.SMTPException, OSError) as error:
        raise SendFailed(f"{server} is unreachable: {error}") from None
