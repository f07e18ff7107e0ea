"""When a schedule acts, as users write it. What makes no sense is refused when it is written: ValueError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .._cron import next_time
from .._options import seconds
from .._types import Duration
from ..errors import DefinitionError

MAX_PARTS = 100
"""How many cron expressions, calendars, intervals and skipped calendars a spec may have, of each."""
MIN_YEAR, MAX_YEAR = 1970, 2200


@dataclass(frozen=True)
class ScheduleRange:
    """Whole numbers from `start` to `end` (both included; default: only `start`), every `step`-th of them."""

    start: int
    end: int | None = None
    step: int = 1

    def __post_init__(self) -> None:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"ScheduleRange: end {self.end} is not below start {self.start}")
        if self.step < 1:
            raise ValueError(f"ScheduleRange: step is at least 1, not {self.step}")


Ranges = Sequence[ScheduleRange | int]


@dataclass(frozen=True, kw_only=True)
class ScheduleCalendarSpec:
    """Times whose clock and calendar match all fields, taken literally: `hour=[9], day_of_week=[ScheduleRange(1, 5)]`.

    Each field is a list of numbers and ScheduleRanges. Default: midnight, every day. day_of_week: 0 is Sunday, and so
    is 7. Where clocks are put forward, times that do not exist are left out; where they are put back, times that
    exist twice match twice. `comment` is for people.
    """

    second: Ranges = (0,)
    minute: Ranges = (0,)
    hour: Ranges = (0,)
    day_of_month: Ranges = (ScheduleRange(1, 31),)
    month: Ranges = (ScheduleRange(1, 12),)
    year: Ranges = ()
    day_of_week: Ranges = (ScheduleRange(0, 6),)
    comment: str = ""

    def __post_init__(self) -> None:
        for name, (lowest, highest) in FIELDS.items():
            ranges = getattr(self, name)
            if not ranges and name != "year":
                raise ValueError(f"ScheduleCalendarSpec: {name} is empty: it would match nothing")
            for one in ranges:
                first, last = (
                    (one, one) if isinstance(one, int) else (one.start, one.start if one.end is None else one.end)
                )
                if first < lowest or last > highest:
                    raise ValueError(f"ScheduleCalendarSpec: {name} is from {lowest} to {highest}, not {one}")


FIELDS = {
    "second": (0, 59),
    "minute": (0, 59),
    "hour": (0, 23),
    "day_of_month": (1, 31),
    "month": (1, 12),
    "year": (MIN_YEAR, MAX_YEAR),
    "day_of_week": (0, 7),
}


@dataclass(frozen=True, kw_only=True)
class ScheduleIntervalSpec:
    """Every `every`, counted from the Unix epoch (1970-01-01 in UTC) plus `offset`; at least a second. Clocks that are
    put forward or back change nothing."""

    every: Duration
    offset: Duration = 0

    def __post_init__(self) -> None:
        every, offset = _seconds("every", self.every), _seconds("offset", self.offset)
        if every < 1:
            raise ValueError(f"ScheduleIntervalSpec: every is at least 1 second, not {self.every}")
        if offset >= every:
            raise ValueError(f"ScheduleIntervalSpec: offset is less than every, not {self.offset}")


@dataclass(frozen=True, kw_only=True)
class ScheduleSpec:
    """When a schedule acts: at all times of its cron expressions, calendars and intervals, together.

    cron_expressions: 'minute hour day month weekday', or @hourly, @daily, @weekly, @monthly, @yearly. As cron does,
    one whose time does not exist when clocks are put forward comes right after, and one whose time exists twice comes
    once (unless it comes every hour or minute). skip: times that these match are left out.
    start_at, end_at: nothing before and after (both included). jitter: each time comes up to so much later, by an
    amount that is its own and always the same, and before the next one. time_zone_name: of cron expressions and
    calendars, such as Europe/Berlin (default UTC).

    A spec without any time is allowed: such a schedule acts when it is triggered. Raises ValueError for what makes no
    sense, such as a cron expression that never comes.
    """

    cron_expressions: Sequence[str] = ()
    calendars: Sequence[ScheduleCalendarSpec] = ()
    intervals: Sequence[ScheduleIntervalSpec] = ()
    skip: Sequence[ScheduleCalendarSpec] = ()
    start_at: datetime | None = None
    end_at: datetime | None = None
    jitter: Duration | None = None
    time_zone_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("cron_expressions", "calendars", "intervals", "skip"):
            parts: Sequence[object] = getattr(self, name)
            if isinstance(parts, str):
                raise ValueError(f"ScheduleSpec: {name} is a list of texts, not one: [{parts!r}]")
            if len(parts) > MAX_PARTS:
                raise ValueError(f"ScheduleSpec: up to {MAX_PARTS} {name}, not {len(parts)}")
        zone(self.time_zone_name)
        for expression in self.cron_expressions:
            if expression.startswith("CRON_TZ="):
                raise ValueError(f"ScheduleSpec: {expression!r}: say the zone of all with time_zone_name")
            try:
                next_time(expression, 0.0)
            except ValueError as error:
                raise ValueError(str(error).replace("cron_schedule", "ScheduleSpec: cron expression")) from None
        for name in ("start_at", "end_at"):
            at: datetime | None = getattr(self, name)
            if at is not None and at.utcoffset() is None:
                raise ValueError(f"ScheduleSpec: {name} needs a time zone, datetime(..., tzinfo=UTC), not {at}")
        if self.start_at is not None and self.end_at is not None and self.end_at < self.start_at:
            raise ValueError(f"ScheduleSpec: end_at {self.end_at} is before start_at {self.start_at}")
        if self.jitter is not None:
            _seconds("jitter", self.jitter)


def zone(name: str | None) -> ZoneInfo:
    """A time zone by its name; None is UTC. Raises ValueError for one that is not known."""
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}; use a name such as Europe/Berlin") from None


def interval(spec: ScheduleIntervalSpec) -> tuple[int, int]:
    """`every` and `offset` in ms."""
    return round(seconds(spec.every) * 1000), round(seconds(spec.offset) * 1000)


def milliseconds(at: datetime | timedelta) -> int:
    """A moment as ms since the Unix epoch, or a duration, rounded down."""
    if isinstance(at, timedelta):
        return at // timedelta(milliseconds=1)
    return (at - _EPOCH) // timedelta(milliseconds=1)


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _seconds(name: str, value: Duration) -> float:
    try:
        return seconds(value)
    except DefinitionError as error:
        raise ValueError(f"{name}: {error}") from None
