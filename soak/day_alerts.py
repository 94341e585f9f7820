"""The alerts of a simulated day: the real runner and channel of e-mail, a mail server, and what has arrived when."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage

from database import reading
from jobs.alerts.alert_runner import AlertRunner
from jobs.job_context import JobContext
from tickets.shared import events

from .day_clock import DayClock
from .mail_server import MailServer

DIGEST_SUBJECT = re.compile(r"^\d+ alerts?$")
IDENTIFIER = re.compile(r"\bMC-\d+\b")
POLL_SECONDS = 0.002


@dataclass(slots=True)
class ReceivedAlert:
    """An alert as it came: the time of day, its text, the message that it came in, and how it was settled."""

    at: str
    text: str
    message_id: str
    in_digest: bool
    settlement: str = ""

    @property
    def identifier(self) -> str | None:
        """The ticket that it is about."""
        return find_identifier(self.text)

    def describe(self, title: str | None) -> str:
        """Describe it in the words of a scenario file, which do not repeat the ticket's title."""
        text = IDENTIFIER.sub("@", self.text).removesuffix(f": {title}")
        settlement = f" -> {self.settlement}" if self.settlement else ""
        return f"{self.at} {'digest ' if self.in_digest else ''}{text}{settlement}"


def find_identifier(text: str) -> str | None:
    """Find the first ticket that a text names."""
    match = IDENTIFIER.search(text)
    return match[0] if match else None


class DayAlerts:
    """Sends and collects alerts. `tick` is called each minute and waits until everything that is due was sent."""

    def __init__(self, context: JobContext, clock: DayClock) -> None:
        self.server = MailServer()
        self.received: list[ReceivedAlert] = []
        self.problems: list[str] = []
        self._clock = clock
        self._runner = AlertRunner(context, self.problems.append)
        self._context = context
        self._last_event = 0
        self._mail_count = 0

    def tick(self) -> None:
        with reading(self._context.engine) as session:
            last_event = events.get_last_id(session)
        self._runner.tick(is_changed=last_event != self._last_event)
        self._last_event = last_event
        pause = threading.Event()
        while self._runner.is_busy:
            pause.wait(POLL_SECONDS)
        new_mails = self.server.mails[self._mail_count :]
        self._mail_count += len(new_mails)
        for mail in new_mails:
            self._read_mail(mail)

    def close(self) -> None:
        self._runner.stop()
        self.server.close()

    def _read_mail(self, mail: EmailMessage) -> None:
        subject, lines = " ".join(mail["Subject"].split()), str(mail.get_content()).splitlines()  # folded when long
        if original := mail["In-Reply-To"]:
            [alert] = [alert for alert in self.received if alert.message_id == original]
            alert.settlement += lines[0]
        elif DIGEST_SUBJECT.match(subject):
            texts = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
            self.received += [self._build_alert(text, mail, in_digest=True) for text in texts]
        else:
            self.received.append(self._build_alert(subject, mail, in_digest=False))

    def _build_alert(self, text: str, mail: EmailMessage, *, in_digest: bool) -> ReceivedAlert:
        return ReceivedAlert(f"{self._clock.moment:%H:%M}", text, str(mail["Message-ID"]), in_digest)


def list_repeated(mails: Sequence[EmailMessage]) -> list[str]:
    """List the messages that came more than once."""
    counts = Counter(str(mail["Message-ID"]) for mail in mails)
    subjects = {str(mail["Message-ID"]): str(mail["Subject"]) for mail in mails}
    return [f"alert “{subjects[key]}” came {count} times" for key, count in counts.items() if count > 1]
