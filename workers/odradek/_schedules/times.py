"""The moments of a spec: pure, in ms since the Unix epoch.

Cron expressions are worked out by cronsim, as those of workflows are. Calendars match local time literally: they are
searched one stretch of constant UTC offset after the other.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from .._cron import next_time
from .._options import seconds
from .spec import FIELDS, MAX_YEAR, Ranges, ScheduleCalendarSpec, ScheduleSpec, interval, milliseconds, zone

_SECOND = timedelta(seconds=1)
_STRETCH = timedelta(days=1)
_FOREVER_MS = milliseconds(datetime(MAX_YEAR, 12, 31, 23, 59, 59, tzinfo=UTC))
_MAX_SKIPPED = 100_000
"""So many times in a row that are skipped are taken for all that follow."""


class Times:
    """The times of a spec. `seed`: makes the jitter of one schedule another than that of the next one."""

    def __init__(self, spec: ScheduleSpec, seed: str = "") -> None:
        self._seed = seed
        self._zone = zone(spec.time_zone_name)
        prefix = f"CRON_TZ={spec.time_zone_name} " if spec.time_zone_name else ""
        self._crons = [prefix + expression for expression in spec.cron_expressions]
        self._calendars = [_Calendar(calendar, self._zone) for calendar in spec.calendars]
        self._intervals = [interval(one) for one in spec.intervals]
        self._skip = [_Calendar(calendar, self._zone) for calendar in spec.skip]
        self._first = milliseconds(spec.start_at) if spec.start_at is not None else 0
        self._last = milliseconds(spec.end_at) if spec.end_at is not None else _FOREVER_MS
        self._jitter = round(seconds(spec.jitter or 0) * 1000)

    def next(self, after_ms: int) -> int | None:
        """The first nominal time later than `after_ms`; None: there is none."""
        at = max(after_ms, self._first - 1)
        for _ in range(_MAX_SKIPPED):
            found = self._next_of_any(at)
            if found is None or found > self._last:
                return None
            passed = [one.pass_by(found) for one in self._skip if one.matches(found)]
            if not passed:
                return found
            at = max(passed)
        return None

    def due(self, nominal_ms: int) -> int:
        """When a nominal time is acted on: with its jitter, which ends before the next one."""
        if not self._jitter:
            return nominal_ms
        following = self.next(nominal_ms)
        room = self._jitter if following is None else min(self._jitter, following - nominal_ms - 1)
        digest = hashlib.sha256(f"{self._seed}\0{nominal_ms}".encode()).digest()
        return nominal_ms + int.from_bytes(digest[:8]) % (room + 1)

    def passed(self, now_ms: int) -> int:
        """A moment up to which all nominal times are due by now, and after which none is."""
        at = self._shortly_before(now_ms)
        for nominal in self.after(at):
            if nominal > now_ms:
                return now_ms
            if self.due(nominal) > now_ms:
                return at
            at = nominal
        return now_ms

    def _shortly_before(self, now_ms: int) -> int:
        """Up to here all nominal times are due by now; few are between."""
        back = 1_000
        while back <= self._jitter:
            following = self.next(now_ms - back)
            if following is not None and following <= now_ms:
                break
            back *= 2
        return now_ms - min(back, self._jitter) - 1

    def after(self, after_ms: int) -> Iterator[int]:
        """All nominal times later than `after_ms`, in order."""
        at = self.next(after_ms)
        while at is not None:
            yield at
            at = self.next(at)

    def upcoming(self, after_ms: int, count: int) -> list[int]:
        """The next `count` nominal times."""
        return list(islice(self.after(after_ms), count))

    def _next_of_any(self, after_ms: int) -> int | None:
        found = [one.next(after_ms) for one in self._calendars]
        found += [_next_interval(every, offset, after_ms) for every, offset in self._intervals]
        found += [_next_cron(expression, after_ms) for expression in self._crons]
        return min((at for at in found if at is not None), default=None)


def _next_interval(every: int, offset: int, after_ms: int) -> int:
    return (after_ms - offset) // every * every + every + offset


def _next_cron(expression: str, after_ms: int) -> int | None:
    try:
        return round(next_time(expression, after_ms / 1000) * 1000)
    except ValueError:  # a year or a day that came only once: the expression itself was checked
        return None


class _Calendar:
    """One calendar in a time zone."""

    def __init__(self, spec: ScheduleCalendarSpec, in_zone: ZoneInfo) -> None:
        self._zone = in_zone
        self._dates = _Dates(spec)
        self._hours = _numbers("hour", spec.hour)
        self._minutes = _numbers("minute", spec.minute)
        self._seconds = _numbers("second", spec.second)

    def next(self, after_ms: int) -> int | None:
        """The first moment later than `after_ms`; None: there is none."""
        at = datetime.fromtimestamp(after_ms // 1000, UTC) + _SECOND
        while True:
            offset = self._offset(at)
            local = self._next_local((at + offset).replace(tzinfo=None))
            if local is None:
                return None
            found = local.replace(tzinfo=UTC) - offset
            until = found if self._zone.key == "UTC" else min(found, at + _STRETCH)
            if self._offset(until) == offset:
                if until == found:
                    return milliseconds(found)
                at = until  # nothing matches up to there: the offset is the same all the way
            else:
                change = self._change(at, until)
                if found < change:
                    return milliseconds(found)
                at = change

    def matches(self, at_ms: int) -> bool:
        at = datetime.fromtimestamp(at_ms // 1000, self._zone)
        return (
            at.hour in self._hours
            and at.minute in self._minutes
            and at.second in self._seconds
            and self._dates.match(at.date())
        )

    def pass_by(self, at_ms: int) -> int:
        """From a moment that matches: one at or after it, up to which all moments match."""
        at = datetime.fromtimestamp(at_ms // 1000, self._zone)
        if len(self._seconds) < 60:
            return at_ms
        if len(self._minutes) < 60:
            return at_ms // 1000 * 1000 + (60 - at.second) * 1000 - 1
        if len(self._hours) < 24:
            return at_ms // 1000 * 1000 + ((60 - at.minute) * 60 - at.second) * 1000 - 1
        midnight = datetime.combine(at.date() + timedelta(days=1), time(), self._zone)
        return max(at_ms, milliseconds(midnight) - 1)

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self._zone).utcoffset() or timedelta()

    def _change(self, before: datetime, after: datetime) -> datetime:
        """The first second of another offset than that of `before`."""
        offset = self._offset(before)
        low, high = int(before.timestamp()), int(after.timestamp())
        while high - low > 1:
            middle = (low + high) // 2
            if self._offset(datetime.fromtimestamp(middle, UTC)) == offset:
                low = middle
            else:
                high = middle
        return datetime.fromtimestamp(high, UTC)

    def _next_local(self, start: datetime) -> datetime | None:
        """The first match at or after a local time, as if clocks were never changed."""
        day = self._dates.next(start.date())
        if day is None:
            return None
        if day == start.date():
            at = self._next_time(start.time())
            if at is not None:
                return datetime.combine(day, at)
            day = self._dates.next(day + timedelta(days=1))
        return None if day is None else datetime.combine(day, time(self._hours[0], self._minutes[0], self._seconds[0]))

    def _next_time(self, start: time) -> time | None:
        """The first match at or after a time of day; None: not on that day any more."""
        for hour in self._hours[bisect_left(self._hours, start.hour) :]:
            if hour > start.hour:
                return time(hour, self._minutes[0], self._seconds[0])
            for minute in self._minutes[bisect_left(self._minutes, start.minute) :]:
                if minute > start.minute:
                    return time(hour, minute, self._seconds[0])
                index = bisect_left(self._seconds, start.second)
                if index < len(self._seconds):
                    return time(hour, minute, self._seconds[index])
        return None


class _Dates:
    """The dates that a calendar matches."""

    def __init__(self, spec: ScheduleCalendarSpec) -> None:
        self._years = _numbers("year", spec.year)
        self._months = _numbers("month", spec.month)
        self._days = set(_numbers("day_of_month", spec.day_of_month))
        self._weekdays = {number % 7 for number in _numbers("day_of_week", spec.day_of_week)}

    def match(self, day: date) -> bool:
        return (
            day.day in self._days
            and day.month in self._months
            and day.isoweekday() % 7 in self._weekdays
            and (not self._years or day.year in self._years)
        )

    def next(self, start: date) -> date | None:
        """The first date at or after `start`."""
        if self.match(start):
            return start
        last_year = min(MAX_YEAR, self._years[-1] if self._years else start.year + 40)
        year, month = start.year, start.month
        first_day = start.day
        while year <= last_year:
            if month in self._months and (not self._years or year in self._years):
                for number in sorted(n for n in self._days if n >= first_day):
                    day = _date(year, month, number)
                    if day is not None and day.isoweekday() % 7 in self._weekdays:
                        return day
            first_day = 1
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
        return None


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _numbers(field: str, ranges: Ranges) -> list[int]:
    found: set[int] = set()
    for one in ranges:
        if isinstance(one, int):
            found.add(one)
        else:
            found.update(range(one.start, (one.start if one.end is None else one.end) + 1, one.step))
    lowest, highest = FIELDS[field]
    return sorted(number for number in found if lowest <= number <= highest)
