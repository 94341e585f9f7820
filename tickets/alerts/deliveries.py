"""Deliveries of alerts on a channel: collected from the event log, sent with retries, settled, and listed.

A channel's cursor and its new deliveries are written in one transaction, so that an alert exists once on each channel,
however often the scheduler is killed or restarted. An attempt is recorded before it is made and its result after it: an alert
whose process is killed in between is sent again, so every channel errs on the side of sending twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, and_, false, func, select, update
from sqlalchemy.orm import Session

from database import insert_or_ignore
from models import AlertChannel, AlertDelivery, AlertKind, AlertState, now
from tickets.shared import events
from tickets.shared.actors import Actor
from tickets.shared.errors import NotFound
from tickets.shared.quiet_hours import find_next_time
from tickets.shared.rights import Act, require

from . import channels, derivation
from .alert import Alert, Urgency, clean_line
from .channels import AlertMode
from .derivation import Settlement

MAX_ATTEMPTS = 8
FIRST_RETRY = timedelta(seconds=30)
LONGEST_RETRY = timedelta(hours=1)
LONGEST_WAIT = timedelta(days=1)
"""Longest wait that a service may ask for."""
ATTEMPT_TIMEOUT = timedelta(minutes=5)
"""When an attempt without a result is repeated: its process was killed."""
REPEAT_PAUSE = timedelta(minutes=10)
REPEATING_KINDS = frozenset({AlertKind.INCIDENT, AlertKind.BUDGET})
"""Kinds of a condition that may come and go: two alerts about the same subject have a pause between them."""
MAX_SINGLE_ALERTS = 5
"""When more alerts than this are due at once, such as after quiet hours, they are sent as one digest."""
MAX_BATCH = 200
CURSOR_LAG = 500
"""Events after which a cursor is stored although none of them concerned the channel."""
PAGE_SIZE = 50
ALERTS = Actor.system("alerts")
MAX_REASON_BYTES = 500


def collect(session: Session, name: str, zone: ZoneInfo) -> bool:
    """Store the deliveries of the next events, settle what they end, and move the channel's cursor. True when more may follow."""
    channel = channels.get_channel(session, name)
    if not channel.enabled:
        return False
    cursor, page = derivation.list_events(session, channel.cursor)
    if not page and cursor - channel.cursor < CURSOR_LAG:
        return False
    for event in page:
        result = derivation.derive(event)
        if result.settlement:
            _settle(session, name, result.settlement)
        if result.alert:
            _store_alert(session, channel, result.alert, zone)
    channel.cursor = cursor
    return len(page) == derivation.PAGE_SIZE


def has_news(session: Session, name: str) -> bool:
    """Return whether `collect` has something to write. It is asked first, as it needs no write lock."""
    channel = channels.get_channel(session, name)
    if not channel.enabled:
        return False
    cursor, page = derivation.list_events(session, channel.cursor)
    return bool(page) or cursor - channel.cursor >= CURSOR_LAG


def _store_alert(session: Session, channel: AlertChannel, alert: Alert, zone: ZoneInfo) -> None:
    mode = channels.choose_mode(channel, alert)
    if mode is None:
        return
    clock = time.fromisoformat(channel.digest_time or channels.DEFAULT_DIGEST_TIME)
    due = find_next_time(now(), clock, zone) if mode is AlertMode.DIGEST else _find_repeat_time(session, channel, alert)
    _insert(session, channel.name, alert, due=due, in_digest=mode is AlertMode.DIGEST)


def _insert(session: Session, channel: str, alert: Alert, **values: object) -> int | None:
    """Insert a delivery unless the channel has one of the same key, and return its id."""
    row: dict[str, Any] = {"channel": channel, "key": alert.key, "kind": alert.kind, "subject": alert.subject}
    row |= {"ticket_id": alert.ticket_id, "alert": alert.as_json(), "created": now()}
    statement = insert_or_ignore(session, AlertDelivery).values(**row, **values)
    return session.scalar(statement.returning(AlertDelivery.id))


def _find_repeat_time(session: Session, channel: AlertChannel, alert: Alert) -> datetime:
    """Find when an alert is sent: at once, or `REPEAT_PAUSE` after the last one about a condition that comes and goes.

    If the condition is over by then, nothing is sent.
    """
    moment = now()
    if alert.kind not in REPEATING_KINDS or alert.subject is None:
        return moment
    same = (AlertDelivery.subject == alert.subject, AlertDelivery.channel == channel.name)
    last = session.scalar(select(func.max(AlertDelivery.sent)).where(*same))
    return max(moment, last + REPEAT_PAUSE) if last else moment


def _settle(session: Session, channel: str, settlement: Settlement) -> None:
    """Suppress what waits for a subject that has ended, and have channels tell it where it was sent."""
    same = AlertDelivery.subject == settlement.subject
    if settlement.ticket_id is not None:
        of_run = AlertDelivery.subject.startswith(settlement.subject, autoescape=True)
        same = and_(AlertDelivery.ticket_id == settlement.ticket_id, of_run)
    mine = (same, AlertDelivery.channel == channel)
    pending = {"state": AlertState.SUPPRESSED, "reason": f"settled before: {settlement.text}", "due": None}
    session.execute(update(AlertDelivery).where(*mine, _in_state(AlertState.PENDING)).values(**pending))
    values = {"settlement": settlement.text, "due": now(), "attempts": 0}
    open_rows = (_in_state(AlertState.SENT), AlertDelivery.settlement.is_(None), AlertDelivery.in_digest == false())
    session.execute(update(AlertDelivery).where(*mine, *open_rows).values(**values))


def _in_state(state: AlertState) -> ColumnElement[bool]:
    return AlertDelivery.state == state


# ------------------------------------------------------------------------------------------------------------- sending


def list_due(session: Session, channel: str) -> list[AlertDelivery]:
    """List what is to be sent or settled on a channel now, oldest first. In quiet hours that is nothing but tests."""
    due = (AlertDelivery.channel == channel, AlertDelivery.due <= now())
    return list(session.scalars(select(AlertDelivery).where(*due).order_by(AlertDelivery.id).limit(MAX_BATCH)))


def find_next_due(session: Session, channel: str) -> datetime | None:
    """Find when a channel has something to send or to settle."""
    return session.scalar(select(func.min(AlertDelivery.due)).where(AlertDelivery.channel == channel))


def postpone_in_quiet_hours(session: Session, name: str, zone: ZoneInfo) -> None:
    """Postpone what is due in the quiet hours of a channel to their end."""
    hours = channels.parse_quiet_hours(channels.get_channel(session, name))
    end = hours.find_end(now(), zone) if hours else None
    if end is not None:
        waiting = (AlertDelivery.channel == name, AlertDelivery.due < end, AlertDelivery.kind != AlertKind.TEST)
        session.execute(update(AlertDelivery).where(*waiting).values(due=end))


def group_due(rows: Sequence[AlertDelivery]) -> list[list[AlertDelivery]]:
    """Group new alerts by the message that each is sent in: alone, or all in one digest."""
    new_rows = [row for row in rows if row.state is AlertState.PENDING]
    tests = [[row] for row in new_rows if row.kind is AlertKind.TEST]
    digest = [row for row in new_rows if row.in_digest]
    single = [row for row in new_rows if not row.in_digest and row.kind is not AlertKind.TEST]
    if len(single) > MAX_SINGLE_ALERTS:
        digest, single = [*digest, *single], []
    return [*tests, *([row] for row in single), *([digest] if digest else [])]


def build_message(rows: Sequence[AlertDelivery]) -> Alert:
    """Build the alert that is sent for these deliveries: their own, or a digest with a line for each."""
    alerts = [Alert.from_json(row.alert) for row in rows]
    if len(alerts) == 1 and not rows[0].in_digest:
        return alerts[0]
    return Alert(
        key=f"digest:{rows[0].id}-{rows[-1].id}",
        kind=AlertKind.DIGEST,
        title=f"{len(alerts)} alerts" if len(alerts) > 1 else "1 alert",
        body="\n".join(f"- {alert.title}" for alert in alerts),
        path="/",
        urgency=Urgency.LOW,
    )


def begin_attempt(session: Session, ids: Sequence[int]) -> bool:
    """Record an attempt before it is made. False when a delivery was settled or dropped meanwhile."""
    mine = (AlertDelivery.id.in_(ids), AlertDelivery.due <= now())
    values = {"attempts": AlertDelivery.attempts + 1, "due": now() + ATTEMPT_TIMEOUT}
    rows = session.execute(update(AlertDelivery).where(*mine).values(**values).returning(AlertDelivery.id))
    return len(rows.all()) == len(ids)


def record_sent(session: Session, rows: Sequence[AlertDelivery], reference: str) -> None:
    """Record that a message was sent. What ends while it is being sent is settled next."""
    values = {"state": AlertState.SENT, "reference": reference, "sent": now(), "reason": "", "due": None, "attempts": 0}
    values["in_digest"] = len(rows) > 1 or rows[0].in_digest
    session.execute(update(AlertDelivery).where(AlertDelivery.id.in_([row.id for row in rows])).values(**values))
    _report_tests(session, rows, AlertState.SENT)


def record_settled(session: Session, delivery_id: int, reason: str = "") -> None:
    """Record that a settlement was told, or why it was not."""
    values = {"state": AlertState.SETTLED, "reason": clean_line(reason, MAX_REASON_BYTES), "due": None}
    session.execute(update(AlertDelivery).where(AlertDelivery.id == delivery_id).values(**values))


def record_failure(
    session: Session, rows: Sequence[AlertDelivery], reason: str, retry_after: float | None, is_permanent: bool
) -> None:
    """Record a failed attempt and when the next one is made. With `retry_after` seconds the whole channel waits."""
    counts = select(AlertDelivery.id, AlertDelivery.attempts).where(AlertDelivery.id.in_([row.id for row in rows]))
    attempts_by_id = {delivery_id: attempts for delivery_id, attempts in session.execute(counts)}  # noqa: C416
    for row in rows:
        attempts = attempts_by_id.get(row.id, 0)
        is_last = is_permanent or attempts >= MAX_ATTEMPTS or row.kind is AlertKind.TEST
        due = None if is_last else now() + _compute_wait(attempts, retry_after)
        values = {"reason": clean_line(reason, MAX_REASON_BYTES), "due": due}
        state = {"state": _choose_end(row)} if is_last else {}
        session.execute(update(AlertDelivery).where(AlertDelivery.id == row.id).values(**values, **state))
    _report_tests(session, rows, AlertState.FAILED)
    if retry_after is not None and rows:
        until = now() + _limit_wait(retry_after)
        waiting = (AlertDelivery.channel == rows[0].channel, AlertDelivery.due < until)
        session.execute(update(AlertDelivery).where(*waiting).values(due=until))


def _report_tests(session: Session, rows: Sequence[AlertDelivery], state: AlertState) -> None:
    """Append the events by which the page of the settings shows the result of a test."""
    for row in rows:
        if row.kind is AlertKind.TEST:
            events.append(session, None, "alert_tested", {"channel": row.channel, "state": state.value}, ALERTS)


def _choose_end(row: AlertDelivery) -> AlertState:
    return AlertState.SETTLED if row.settlement else AlertState.FAILED


def _compute_wait(attempts: int, retry_after: float | None) -> timedelta:
    wait: timedelta = min(FIRST_RETRY * 2 ** (attempts - 1), LONGEST_RETRY)
    return max(wait, _limit_wait(retry_after)) if retry_after else wait


def _limit_wait(seconds: float) -> timedelta:
    """Limit what a service asks to wait, which may be any number."""
    return timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds()))


# --------------------------------------------------------------------------------------------------------- for people


def request_test(session: Session, name: str, actor: Actor) -> int:
    """Have a channel send a test, enabled or not, and return the id of its delivery."""
    require(actor, Act.CHANGE_ALERTS)
    channel = channels.get_channel(session, name)
    title = "Test alert from Mission Control"
    moment = now()
    alert = Alert(
        key=f"test:{moment:%Y%m%dT%H%M%S.%f}",
        kind=AlertKind.TEST,
        title=title,
        body=f"{actor.name} sent this test. Alerts of this channel arrive here.",
        path="/settings/alerts",
    )
    delivery_id = _insert(session, channel.name, alert, state=AlertState.PENDING, due=moment)
    assert delivery_id is not None, "two tests have different times"
    return delivery_id


def find_alert(session: Session, channel: str, key: str) -> Alert:
    """Find the alert that a channel has sent under a key. Raises `NotFound`."""
    row = session.scalar(select(AlertDelivery).where(AlertDelivery.channel == channel, AlertDelivery.key == key))
    if row is None:
        raise NotFound("This alert is no longer known. Open the ticket instead.")
    return Alert.from_json(row.alert)


def list_latest(session: Session, limit: int = PAGE_SIZE) -> list[AlertDelivery]:
    """List the newest deliveries of all channels, newest first."""
    return list(session.scalars(select(AlertDelivery).order_by(AlertDelivery.id.desc()).limit(limit)))
