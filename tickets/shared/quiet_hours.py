"""Quiet hours such as `22:00-07:00`: a part of each day by the wall clock, which a change of daylight-saving time moves."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo


class QuietHours(NamedTuple):
    """A part of each day. It goes over midnight when `end` is before `start`."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str | None) -> QuietHours | None:
        """Parse a text that the pattern of the settings has accepted."""
        return cls(*(time.fromisoformat(part) for part in text.split("-"))) if text else None

    def includes(self, clock: time) -> bool:
        if self.start < self.end:
            return self.start <= clock < self.end
        return clock >= self.start or clock < self.end

    def find_end(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """Return the end of the quiet hours at `moment`, or None outside of them."""
        return find_next_time(moment, self.end, zone) if self.includes(moment.astimezone(zone).time()) else None


def find_next_time(moment: datetime, clock: time, zone: ZoneInfo) -> datetime:
    """Return the next time after `moment`, in UTC, at which the clock of a zone shows `clock`.

    A time that a change of the clock skips is replaced by the one as long after midnight. Of a time that comes twice, the
    second counts when the first is over.
    """
    today = moment.astimezone(zone).date()
    candidates = [*_list_moments(today, clock, zone), *_list_moments(today + timedelta(days=1), clock, zone)]
    return min(candidate for candidate in candidates if candidate > moment)


def _list_moments(day: date, clock: time, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """List when a clock shows a time on a day, twice the same unless it comes twice."""
    first, second = (datetime.combine(day, clock.replace(fold=fold), zone).astimezone(UTC) for fold in (0, 1))
    return first, max(first, second)  # a time that is skipped has its folds in reverse order
