"""Channels of alerts: their rules, edited on the page of the settings, and the options of each kind of channel.

Secrets are in a file of their own (`secret_files.py`), never in the store.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints
from sqlalchemy import exists, or_, select, true, update
from sqlalchemy.orm import Session

from database import fetch_rows
from models import AlertChannel, AlertDelivery, AlertKind, AlertState, now
from tickets.shared import events, rights
from tickets.shared.actors import Actor
from tickets.shared.errors import NotFound
from tickets.shared.inputs import Body, explain_pattern
from tickets.shared.quiet_hours import QuietHours
from tickets.shared.rights import Act

from .alert import Alert

QUIET_HOURS_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$"
CLOCK_PATTERN = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
DEFAULT_DIGEST_TIME = "08:00"


class AlertMode(StrEnum):
    """How alerts of a kind are sent: each at once, or all of a day in one digest."""

    NOW = "now"
    DIGEST = "digest"


RULED_KINDS = tuple(kind for kind in AlertKind if kind not in (AlertKind.DIGEST, AlertKind.TEST))
DEFAULT_KINDS = {kind.value: AlertMode.NOW.value for kind in RULED_KINDS if kind is not AlertKind.DONE}
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]


def _require_span(text: str) -> str:
    start, end = text.split("-")
    if start == end:
        raise ValueError("begins and ends at the same time")
    return text


HoursText = Annotated[
    str,
    StringConstraints(pattern=QUIET_HOURS_PATTERN),
    AfterValidator(_require_span),
    explain_pattern(QUIET_HOURS_PATTERN, "must be two times, as in 22:00-07:00"),
]
ClockText = Annotated[
    str, StringConstraints(pattern=CLOCK_PATTERN), explain_pattern(CLOCK_PATTERN, "must be a time, as in 08:00")
]


class ChannelRules(Body):
    """The rules of a channel: which kinds it sends, and when. A kind without a mode is not sent. No projects means all."""

    enabled: bool = False
    kinds: dict[AlertKind, AlertMode] = Field(default={})
    projects: list[Slug] = Field(default=[], max_length=200)
    quiet_hours: HoursText | None = None
    digest_time: ClockText | None = None


_HOST_PATTERN = r"^[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
_MAILBOX_PATTERN = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$"
Mailbox = Annotated[
    str,
    StringConstraints(pattern=_MAILBOX_PATTERN, max_length=254),
    explain_pattern(_MAILBOX_PATTERN, "must be a mail address, as in you@example.com"),
]


class EmailOptions(Body):
    """The SMTP server, the sender and the recipients of alerts by e-mail."""

    host: Annotated[
        str,
        StringConstraints(pattern=_HOST_PATTERN),
        explain_pattern(_HOST_PATTERN, "must be the name of a server, as in smtp.example.com"),
    ]
    port: int = Field(587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = Field("", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    sender: Mailbox
    recipients: list[Mailbox] = Field(min_length=1, max_length=20)


_CONTACT_PATTERN = r"^(mailto:[^\s@\x00-\x1f]{1,64}@[A-Za-z0-9.-]{1,253}\.[A-Za-z]{2,63}|https://[!-~]{4,240})$"


class PushOptions(Body):
    """The contact that push services get: a `mailto:` or `https:` address of the operator."""

    contact: Annotated[
        str,
        StringConstraints(pattern=_CONTACT_PATTERN),
        explain_pattern(_CONTACT_PATTERN, "must be as in mailto:you@example.com, or begin with https://"),
    ]


class NoOptions(Body):
    """The options of a channel that has none."""


@dataclass(frozen=True, slots=True)
class ChannelType:
    """A kind of channel: its title, its options, and the names of its secrets."""

    name: str
    title: str
    options: type[Body] = NoOptions
    secrets: tuple[str, ...] = field(default=())


CHANNEL_TYPES = {
    channel.name: channel
    for channel in (
        ChannelType("email", "E-mail", EmailOptions, ("password",)),
        ChannelType("push", "Web push", PushOptions),
        ChannelType("telegram", "Telegram", NoOptions, ("token",)),
        ChannelType("apprise", "Apprise", NoOptions, ("urls",)),
    )
}
"""Every channel by the name of its row, its secrets and its module (`jobs/alerts/alert_runner.py`)."""


def get_type(name: str) -> ChannelType:
    """Return a channel's type. Raises `NotFound`."""
    if name not in CHANNEL_TYPES:
        raise NotFound(f"There is no alert channel {name[:40]!r}. The channels are {', '.join(CHANNEL_TYPES)}.")
    return CHANNEL_TYPES[name]


def list_channels(session: Session) -> list[AlertChannel]:
    """List the channels that have been set up, by name."""
    return list(session.scalars(select(AlertChannel).order_by(AlertChannel.name)))


def get_channel(session: Session, name: str) -> AlertChannel:
    """Return the row of a channel. Raises `NotFound` when it has not been set up."""
    row = session.get(AlertChannel, name)
    if row is None:
        raise NotFound(f"The channel {get_type(name).title} is not set up. Save its settings first.")
    return row


_HAS_PENDING = exists().where(AlertDelivery.channel == AlertChannel.name, AlertDelivery.due.is_not(None))
WORKING = select(AlertChannel.name, AlertChannel.changed).where(or_(AlertChannel.enabled == true(), _HAS_PENDING))


def list_working(session: Session) -> dict[str, datetime]:
    """List the channels that are enabled or have something to send, each with the time of its last change."""
    return {row.name: row.changed for row in fetch_rows(session, WORKING)}


def save_channel(session: Session, kind: ChannelType, rules: ChannelRules, options: Body, actor: Actor) -> AlertChannel:
    """Save the rules and options of a channel. When it is enabled it begins with the next event; disabled, it drops what waits."""
    rights.require(actor, Act.CHANGE_ALERTS)
    row = session.get(AlertChannel, kind.name) or AlertChannel(name=kind.name, enabled=False)
    if rules.enabled and not row.enabled:
        row.cursor = events.get_last_id(session)
    if not rules.enabled:
        _drop_pending(session, kind.name)
    for column, value in rules.model_dump(mode="json").items():
        setattr(row, column, value)
    row.options, row.changed = options.model_dump(mode="json"), now()
    session.add(row)
    session.flush()
    events.append(session, None, "alert_channel_changed", {"channel": kind.name, "enabled": row.enabled}, actor)
    return row


def _drop_pending(session: Session, name: str) -> None:
    waiting = (AlertDelivery.channel == name, AlertDelivery.due.is_not(None))
    pending = (*waiting, AlertDelivery.state == AlertState.PENDING)
    values = {"state": AlertState.SUPPRESSED, "reason": "the channel was disabled", "due": None}
    session.execute(update(AlertDelivery).where(*pending).values(**values))
    session.execute(update(AlertDelivery).where(*waiting).values(due=None))


def choose_mode(row: AlertChannel, alert: Alert) -> AlertMode | None:
    """Choose how a channel sends an alert by its rules. None when it does not."""
    mode = row.kinds.get(alert.kind.value)
    if mode is None or (row.projects and alert.project not in row.projects):
        return None
    return AlertMode(mode)


def parse_quiet_hours(row: AlertChannel) -> QuietHours | None:
    return QuietHours.parse(row.quiet_hours)
