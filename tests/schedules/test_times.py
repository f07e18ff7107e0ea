"""When schedules come: by example, and against brute force that looks at every second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odradek._cron import next_time
from odradek._schedules.spec import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
    milliseconds,
)
from odradek._schedules.times import Times

BERLIN = "Europe/Berlin"


def at(text: str) -> int:
    """ISO text, UTC unless it says otherwise."""
    moment = datetime.fromisoformat(text)
    return milliseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]  # as many as it takes


def calendar(**fields: Any) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(**fields)


def shown(spec: ScheduleSpec, after: str, count: int) -> list[str]:
    zone = ZoneInfo(spec.time_zone_name or "UTC")
    found = Times(spec).upcoming(at(after), count)
    return [datetime.fromtimestamp(ms / 1000, zone).strftime("%Y-%m-%d %H:%M:%S%z") for ms in found]


def test_calendars_take_clock_times_literally_where_clocks_change() -> None:
    nightly = ScheduleSpec(calendars=[calendar(hour=[2], minute=[30])], time_zone_name=BERLIN)
    assert shown(nightly, "2026-03-27T12:00", 3) == [
        "2026-03-28 02:30:00+0100",
        "2026-03-30 02:30:00+0200",
        "2026-03-31 02:30:00+0200",
    ], "2:30 does not exist on the 29th"
    assert shown(nightly, "2026-10-24T12:00", 3) == [
        "2026-10-25 02:30:00+0200",
        "2026-10-25 02:30:00+0100",
        "2026-10-26 02:30:00+0100",
    ], "2:30 exists twice on the 25th"


def test_cron_expressions_come_once_where_clocks_change() -> None:
    nightly = ScheduleSpec(cron_expressions=["30 2 * * *"], time_zone_name=BERLIN)
    assert shown(nightly, "2026-03-28T12:00", 2) == ["2026-03-29 03:00:00+0200", "2026-03-30 02:30:00+0200"]
    assert shown(nightly, "2026-10-24T12:00", 2) == ["2026-10-25 02:30:00+0200", "2026-10-26 02:30:00+0100"]
    hourly = ScheduleSpec(cron_expressions=["@hourly"], time_zone_name=BERLIN)
    assert [ms - at("2026-10-24T23:00") for ms in Times(hourly).upcoming(at("2026-10-24T23:00"), 4)] == [
        hours * 3_600_000 for hours in (1, 2, 3, 4)
    ]


def test_a_cron_time_is_later_than_what_is_asked_for_in_the_second_of_two_hours() -> None:
    second = at("2026-10-25T02:10:00+01:00") / 1000
    assert next_time(f"CRON_TZ={BERLIN} 30 2 * * *", second) * 1000 == at("2026-10-26T02:30:00+01:00")


@pytest.mark.parametrize(
    ("spec", "after", "expected"),
    [
        (ScheduleSpec(calendars=[calendar(day_of_month=[31])]), "2026-01-31", ["2026-03-31", "2026-05-31"]),
        (ScheduleSpec(calendars=[calendar(day_of_month=[29], month=[2])]), "2096-03-01", ["2104-02-29", "2108-02-29"]),
        (ScheduleSpec(cron_expressions=["0 0 l * *"]), "2028-01-31T00:00", ["2028-02-29", "2028-03-31"]),
        (ScheduleSpec(calendars=[calendar(year=[2027, 2029], month=[1], day_of_month=[1])]), "2026-01-01",
         ["2027-01-01", "2029-01-01"]),
        (ScheduleSpec(calendars=[calendar(day_of_week=[7], day_of_month=[13])]), "2026-01-01",
         ["2026-09-13", "2026-12-13"]),
        (ScheduleSpec(calendars=[calendar(year=[2026])], end_at=datetime(2026, 1, 2, tzinfo=UTC)), "2025-06-01",
         ["2026-01-01", "2026-01-02"]),
        (ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=1))], start_at=utc(2026, 5, 1),
                      skip=[calendar(second=[ScheduleRange(0, 59)], minute=[ScheduleRange(0, 59)],
                                     hour=[ScheduleRange(0, 23)], day_of_week=[0, 6])]), "2026-01-01",
         ["2026-05-01", "2026-05-04"]),
    ],
)  # fmt: skip
def test_months_years_bounds_and_what_is_skipped(spec: ScheduleSpec, after: str, expected: list[str]) -> None:
    assert [text[:10] for text in shown(spec, after, 2)] == expected


def test_a_spec_that_has_no_more_times_says_so() -> None:
    over = ScheduleSpec(calendars=[calendar(year=[2020])])
    assert Times(over).next(at("2026-01-01")) is None
    assert Times(ScheduleSpec()).next(0) is None
    nothing_left = ScheduleSpec(
        intervals=[ScheduleIntervalSpec(every=3600)], skip=[calendar(hour=[ScheduleRange(0, 23)])]
    )
    assert Times(nothing_left).next(at("2026-01-01")) is None
    assert Times(ScheduleSpec(calendars=[calendar(month=[2], day_of_month=[30])])).next(0) is None


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ScheduleRange(5, 3), "not below start"),
        (lambda: ScheduleRange(1, 5, 0), "step is at least 1"),
        (lambda: calendar(hour=[24]), "hour is from 0 to 23"),
        (lambda: calendar(minute=[ScheduleRange(50, 60)]), "minute is from 0 to 59"),
        (lambda: calendar(month=[]), "it would match nothing"),
        (lambda: ScheduleIntervalSpec(every=0.5), "at least 1 second"),
        (lambda: ScheduleIntervalSpec(every=60, offset=60), "offset is less than every"),
        (lambda: ScheduleSpec(cron_expressions=["0 0 30 2 *"]), "cron expression"),
        (lambda: ScheduleSpec(cron_expressions="* * * * *"), "a list of texts"),
        (lambda: ScheduleSpec(cron_expressions=["CRON_TZ=Europe/Berlin 0 0 * * *"]), "time_zone_name"),
        (lambda: ScheduleSpec(time_zone_name="Nowhere/At"), "no time zone"),
        (lambda: ScheduleSpec(start_at=datetime(2026, 1, 1)), "needs a time zone"),
        (lambda: ScheduleSpec(start_at=utc(2026, 1, 2), end_at=utc(2026, 1, 1)), "before"),
        (lambda: ScheduleSpec(jitter=-1), "jitter"),
        (lambda: ScheduleSpec(calendars=[calendar()] * 101), "up to 100"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_where_it_is_written(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


def test_a_spec_goes_through_json_and_is_checked_there_too() -> None:
    spec = ScheduleSpec(
        cron_expressions=["@daily"], intervals=[ScheduleIntervalSpec(every=timedelta(hours=1), offset=5)],
        calendars=[calendar(hour=[1, ScheduleRange(3, 9, 2)])], start_at=datetime(2026, 1, 1, tzinfo=UTC), jitter=1.5,
        time_zone_name=BERLIN,
    )  # fmt: skip
    read = msgspec.json.decode(msgspec.json.encode(spec), type=ScheduleSpec)
    assert Times(read).upcoming(0, 50) == Times(spec).upcoming(0, 50)
    with pytest.raises(msgspec.ValidationError, match="no time zone"):
        msgspec.json.decode(b'{"time_zone_name": "Nowhere"}', type=ScheduleSpec)


# ---------------------------------------------------------------- against brute force

CHANGES = [
    (BERLIN, "2026-03-29T01:00"),
    (BERLIN, "2026-10-25T01:00"),
    ("America/New_York", "2026-03-08T07:00"),
    ("America/New_York", "2026-11-01T06:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30"),
    ("Africa/Casablanca", "2026-02-15T02:00"),
    ("Africa/Casablanca", "2026-03-22T02:00"),
    ("Pacific/Apia", "2011-12-30T10:00"),
    ("Asia/Kathmandu", "2026-03-29T01:00"),
    ("UTC", "2026-03-29T01:00"),
]
"""Moments at which clocks are changed, by time zone; the last two never are."""


def ranges(lowest: int, highest: int) -> st.SearchStrategy[Any]:
    number = st.integers(lowest, highest)
    span = st.tuples(number, number, st.integers(1, 7)).map(lambda t: ScheduleRange(min(t[:2]), max(t[:2]), t[2]))
    return st.lists(number | span, min_size=1, max_size=3)


CALENDARS = st.builds(
    ScheduleCalendarSpec, second=ranges(0, 59), minute=ranges(0, 59), hour=ranges(0, 23),
    day_of_week=ranges(0, 7) | st.just([ScheduleRange(0, 6)]),
)  # fmt: skip


def numbers(given: Any) -> set[int]:
    return {n for one in given for n in ([one] if isinstance(one, int) else range(one.start, one.end + 1, one.step))}


def brute_force(spec: ScheduleSpec, first: int, last: int) -> list[int]:
    """All times after `first` up to `last` (s), by looking at each second."""
    zone = ZoneInfo(spec.time_zone_name or "UTC")

    def matcher(one: ScheduleCalendarSpec) -> Any:
        wanted = {name: numbers(getattr(one, name)) for name in ("second", "minute", "hour", "day_of_week")}
        weekdays = {number % 7 for number in wanted.pop("day_of_week")}
        return lambda t: t.isoweekday() % 7 in weekdays and all(getattr(t, n) in wanted[n] for n in wanted)

    calendars, skip = [matcher(one) for one in spec.calendars], [matcher(one) for one in spec.skip]
    found = []
    for second in range(first + 1, last + 1):
        local = datetime.fromtimestamp(second, zone)
        by_interval = any((second - int(i.offset)) % int(i.every) == 0 for i in spec.intervals)  # type: ignore[arg-type]
        if (by_interval or any(match(local) for match in calendars)) and not any(match(local) for match in skip):
            found.append(second * 1000)
    return found


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(CHANGES),
    st.integers(0, 6 * 3600),
    st.lists(CALENDARS, max_size=2),
    st.lists(CALENDARS, max_size=1),
    st.lists(st.integers(60, 9000).map(lambda s: ScheduleIntervalSpec(every=s, offset=s // 3)), max_size=1),
)
def test_times_are_those_that_looking_at_every_second_finds(
    change: tuple[str, str], before: int, calendars: Any, skip: Any, intervals: Any
) -> None:
    """Six hours, somewhere in which clocks are changed."""
    zone, moment = change
    spec = ScheduleSpec(calendars=calendars, skip=skip, intervals=intervals, time_zone_name=zone)
    first = at(moment) // 1000 - before
    last = first + 6 * 3600
    expected = brute_force(spec, first, last)
    assert Times(spec).upcoming(first * 1000, len(expected)) == expected
    following = Times(spec).next(expected[-1] if expected else first * 1000)
    assert following is None or following > last * 1000


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["30 2 * * *", "*/20 * * * *", "0 1-4 * * *", "*/7 2 * * *", "0 2,3 * * 0", "59 23 31 * *"]),
    st.sampled_from(CHANGES),
    st.integers(0, 3 * 86_400),
)
def test_cron_times_do_not_depend_on_where_one_asks_from(expression: str, change: tuple[str, str], into: int) -> None:
    zone, moment = change
    times = Times(ScheduleSpec(cron_expressions=[expression], time_zone_name=zone))
    begin = at(moment) - 86_400_000
    asked = begin + into * 1000
    all_of_them = times.upcoming(begin, 300)
    later = [one for one in all_of_them if one > asked]
    assert all_of_them == sorted(set(all_of_them))
    if later:
        assert times.next(asked) == later[0]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2_000_000_000), st.floats(0, 10_000), st.text(max_size=5))
def test_jitter_is_bounded_steady_and_keeps_the_order(start: int, jitter: float, seed: str) -> None:
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=600)], jitter=jitter)
    times = Times(spec, seed)
    nominal = times.upcoming(start * 1000, 5)
    due = [times.due(one) for one in nominal]
    assert due == [Times(spec, seed).due(one) for one in nominal]
    assert all(0 <= late - one <= min(jitter * 1000 + 1, 599_999) for one, late in zip(nominal, due, strict=True))
    assert due == sorted(set(due))


def test_jitter_differs_from_time_to_time_and_between_schedules() -> None:
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=600)], jitter=300)
    of_each = [[Times(spec, seed).due(one) - one for one in Times(spec).upcoming(0, 20)] for seed in ("a", "b")]
    assert len(set(of_each[0])) > 15
    assert of_each[0] != of_each[1]
