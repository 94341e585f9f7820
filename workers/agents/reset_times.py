"""The time at which a limit of a model service ends, read from the words of its message and bounded by its window."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_EPOCH = re.compile(r"\|(\d{10})\b")
_ISO = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)")
_NUMBER = r"\d{1,6}(?:\.\d+)?"
_UNIT = r"(?:ms|milliseconds?|d|days?|h|hours?|hrs?|m|minutes?|mins?|s|seconds?|secs?)"
_SPAN = re.compile(
    rf"\b(?:in|after) ((?:{_NUMBER} ?{_UNIT}(?![a-z])(?:,? and |, | )?|{_NUMBER}[dhms](?=\d))+)", re.IGNORECASE
)
_SPAN_PART = re.compile(rf"({_NUMBER}) ?({_UNIT})", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "mi": 60, "d": 86400, "h": 3600, "m": 60, "s": 1}
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_DATE = rf"(?P<month>{'|'.join(_MONTHS)})[a-z]* (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<year>\d{{4}}))?"
_TIME = r"(?P<hour%s>\d{1,2})(?::(?P<minute%s>\d{2}))?(?: ?(?P<half%s>[ap])\.?m\b\.?)?"
_ZONE = r"(?: \(?(?P<zone>UTC|GMT|Z\b|[A-Z]\w+/[\w/+-]+)\)?)?"
_CLOCK = re.compile(
    r"(?:resets?(?: at| on)?|again (?:at|on)|available at) "
    rf"(?:{_DATE}(?:,? (?:at )?{_TIME % ('1', '1', '1')})?|{_TIME % ('', '', '')}){_ZONE}",
    re.IGNORECASE,
)
_WINDOWS = (
    (re.compile(r"session|\b(?:5|five)[ _-]?hour|\bhourly", re.IGNORECASE), timedelta(hours=5)),
    (re.compile(r"\bdaily\b", re.IGNORECASE), timedelta(days=1)),
    (re.compile(r"month|spend|credit|\borg\b|organi[sz]ation", re.IGNORECASE), timedelta(days=31)),
)
_LONGEST_OTHER = timedelta(days=7)
"""The window of every other limit: the weekly ones and those of a model."""


def find_retry_time(
    failure: str | None, text: str, reported_time: str | None = None, now: datetime | None = None
) -> str | None:
    """Find when a limit ends, as ISO-8601 in UTC: as the service has reported it, else as the message says.

    Only for limits of use and of rate. Never later than the window that the message names.
    """
    if failure not in ("usage_limit", "rate_limit"):
        return None
    now = now or datetime.now().astimezone()
    if failure == "usage_limit" and reported_time:
        return bound_reset_time(reported_time, text, now)
    return parse_reset_time(text, now)


def bound_reset_time(reported_time: str, text: str, now: datetime | None = None) -> str:
    """Return the earlier of a reported time and the end of a whole window of the limit that the text names."""
    latest = (now or datetime.now(UTC)) + find_window(text)
    return _format_utc(min(datetime.fromisoformat(reported_time), latest))


def find_window(text: str) -> timedelta:
    """Return the length of the window of the limit that a text names: five hours, a day, a week or a month."""
    return next((window for pattern, window in _WINDOWS if pattern.search(text)), _LONGEST_OTHER)


def parse_reset_time(text: str, now: datetime | None = None) -> str | None:
    """Parse the time at which a limit is reset, as ISO-8601 in UTC. None when the text does not say.

    Known forms: `|<epoch>`, an ISO time, `in 2 hours 5 minutes`, `in 14.036s`, `resets 3pm (Europe/Berlin)`, `resets Aug 8`,
    `try again at Oct 5th, 2026 9:30 AM`, `at 14:30`. A time without a zone is in that of `now` (default: this machine's).
    """
    now = now or datetime.now().astimezone()
    when = _find_time(text, now)
    return None if when is None else _format_utc(min(when, now + find_window(text)))


def format_time(epoch: float) -> str:
    """Format seconds since 1970 as ISO-8601 in UTC."""
    return _format_utc(datetime.fromtimestamp(epoch, UTC))


def _find_time(text: str, now: datetime) -> datetime | None:
    if match := _EPOCH.search(text):
        return datetime.fromtimestamp(int(match[1]), UTC)
    if match := _SPAN.search(text):
        seconds = sum(float(number) * _get_seconds(unit) for number, unit in _SPAN_PART.findall(match[1]))
        return now + timedelta(seconds=min(seconds, 10**8))
    try:
        if match := _ISO.search(text):
            return datetime.fromisoformat(match[0])
        match = _CLOCK.search(text)
        return _resolve_clock(match, now, find_window(text)) if match else None
    except (ValueError, KeyError, OSError):
        return None


def _get_seconds(unit: str) -> float:
    unit = unit.lower()
    if unit.startswith("milli"):
        return _SECONDS["ms"]
    return _SECONDS.get(unit[:2], _SECONDS[unit[0]])


def _resolve_clock(match: re.Match[str], now: datetime, window: timedelta) -> datetime | None:
    """Resolve a clock time, a date, or both. Without a date it is the next such time, unless that is beyond the window."""
    zone = match["zone"]
    here = now.astimezone(ZoneInfo("UTC" if zone and zone.upper() == "Z" else zone)) if zone else now
    if match["month"] is None:
        when = _set_clock(here, match["hour"], match["minute"], match["half"])
        following = when if when > here else when + timedelta(days=1)
        return following if following - here <= window else following - timedelta(days=1)
    if match["hour1"] is None and not zone:
        here = now.astimezone(UTC)  # a date alone is that of the service
    when = _set_clock(here, match["hour1"] or "0", match["minute1"], match["half1"])
    return _set_date(when, here, match)


def _set_clock(here: datetime, hour: str, minute: str | None, half: str | None) -> datetime:
    number = int(hour)
    if half:
        number = number % 12 + (12 if half.lower() == "p" else 0)
    return here.replace(hour=number, minute=int(minute or 0), second=0, microsecond=0)


def _set_date(when: datetime, here: datetime, match: re.Match[str]) -> datetime:
    """Set a date, where none has a year, in the year that is nearest: one that has passed is not of next year."""
    month, day = _MONTHS.index(match["month"].capitalize()) + 1, int(match["day"])
    if match["year"]:
        return when.replace(year=int(match["year"]), month=month, day=day)
    years = (here.year - 1, here.year, here.year + 1)
    dates = [when.replace(year=year, month=month, day=day) for year in years if _is_date(year, month, day)]
    return min(dates, key=lambda date: abs(date - here))


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        datetime(year, month, day)
    except ValueError:
        return False
    return True


def _format_utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
