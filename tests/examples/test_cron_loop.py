"""The cron-like loop on the test kit's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from odradek.testing import Environment

from examples.cron_loop import Reports, Rounds, next_beat, write_report

from .recording import recorded

HOUR = timedelta(hours=1)
NOON = datetime(2030, 5, 1, 12, tzinfo=UTC)


async def test_a_day_of_reports_at_the_full_hour() -> None:
    written: list[tuple[int, datetime]] = []

    def write(number: int, at: datetime) -> None:
        written.append((number, at))

    start = NOON + timedelta(minutes=20)
    async with Environment(workflows=[Reports], activities={write_report: write}, start_time=start) as env:
        reports = await env.client.start(Reports, Rounds(left=24, per_run=10), id="r")
        assert await reports.result() == 24
        for number, run in enumerate([reports.run_id, None]):
            await recorded(env.client.get("r", run_id=run), f"cron_loop-run-{number}")
    assert [number for number, _ in written] == list(range(1, 25))
    for number, at in written:
        assert timedelta(0) <= at - (NOON + number * HOUR) < timedelta(minutes=1)


async def test_a_report_in_between() -> None:
    written: list[datetime] = []

    def write(number: int, at: datetime) -> None:
        written.append(at)

    async with Environment(workflows=[Reports], activities={write_report: write}, start_time=NOON) as env:
        reports = await env.client.start(Reports, Rounds(left=2), id="r")
        assert await reports.query(Reports.next_report) == NOON + HOUR
        await env.sleep(timedelta(minutes=30))
        await reports.signal(Reports.report_now)
        assert await reports.result() == 2
    assert [at.hour for at in written] == [12, 13]


def test_beats() -> None:
    assert next_beat(NOON, HOUR) == NOON + HOUR
    assert next_beat(NOON - timedelta(seconds=1), HOUR) == NOON
    assert next_beat(NOON, timedelta(days=1)) == NOON + 12 * HOUR
