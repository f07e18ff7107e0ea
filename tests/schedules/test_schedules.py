"""Schedules on the real engine and the real worker, with a clock that skips: months in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from odradek import (
    AESGCMCodec,
    ApplicationError,
    DataConverter,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleHandle,
    ScheduleIntervalSpec,
    ScheduleNotFoundError,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    workflow,
)
from odradek._schedules.state import ID_PREFIX, TASK_QUEUE
from odradek._schedules.system import ScheduleWorkflow
from odradek.errors import DefinitionError
from odradek.testing import Environment, replay
from odradek_engine import Engine
from odradek_log import TopicPartition

START = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ran: list[tuple[str, str, Any]] = []


@workflow.define
class Job:
    """Takes `seconds`, then ends as `how` says. Notes when it began, and what it was told of its schedule."""

    async def run(self, seconds: float = 0, how: str = "completed") -> None:
        about = workflow.info()
        ran.append((about.workflow_id, workflow.now().isoformat(), dict(about.search_attributes)))
        await asyncio.sleep(seconds)
        if how == "failed":
            raise ApplicationError("on purpose")


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def hourly(*args: Any, policy: SchedulePolicy | None = None, **state: Any) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(Job, *args, id="job", task_queue="default"),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=HOUR)]),
        policy=policy or SchedulePolicy(),
        state=ScheduleState(**state),
    )


def times() -> list[str]:
    """Nominal times of what ran, as their IDs say."""
    return [workflow_id.removeprefix("job-") for workflow_id, _, _ in ran]


def hours() -> list[str]:
    """Day and hour of these."""
    return [text[8:13] for text in times()]


async def until(handle: ScheduleHandle, condition: Any) -> Any:
    """The first description for which it holds: what is asked for of other workflows takes a moment."""
    while not condition(description := await handle.describe()):
        await asyncio.sleep(0.01)
    return description


def environment() -> Environment:
    return Environment(workflows=[Job], start_time=START)


async def test_a_month_of_nightly_runs_across_a_change_of_clocks() -> None:
    async with Environment(workflows=[Job], start_time=START) as env:
        spec = ScheduleSpec(cron_expressions=["30 2 * * *"], time_zone_name="Europe/Berlin")
        schedule = Schedule(action=ScheduleActionStartWorkflow(Job, id="job"), spec=spec)
        handle = await env.client.create_schedule("nightly", schedule)
        await env.sleep(timedelta(days=31))
        description = await handle.describe()
    assert len(ran) == len(set(times())) == 31 == description.num_actions
    assert times()[26:29] == ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    attributes = ran[0][2]
    assert attributes == {
        "OdradekScheduledById": "nightly", "OdradekScheduledStartTime": "2026-03-02T01:30:00Z",
    }  # fmt: skip
    assert [taken.status for taken in description.recent_actions] == ["completed"] * 10
    assert description.next_action_times[0] == datetime(2026, 4, 2, 0, 30, tzinfo=UTC)


async def test_new_rules_of_a_time_zone_change_what_comes_and_not_what_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule goes on where its history, replayed under the new rules, would ask for other times."""
    monkeypatch.setattr("odradek._schedules.times.zone", lambda name: ZoneInfo("Europe/Athens"))
    async with environment() as env:
        spec = ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[2], minute=[30])], time_zone_name="Africa/Cairo")
        schedule = Schedule(action=ScheduleActionStartWorkflow(Job, id="job"), spec=spec)
        handle = await env.client.create_schedule("nightly", schedule)
        await env.sleep(3 * DAY)
        before = await env.client.get(f"{ID_PREFIX}nightly").export()
        monkeypatch.setattr("odradek._schedules.times.zone", lambda name: ZoneInfo("Europe/Berlin"))
        replay(before, workflows=[ScheduleWorkflow])
        await env._workers[TASK_QUEUE].__aexit__(None, None, None)
        await env._serve(TASK_QUEUE)  # a worker that knows nothing replays
        await env.sleep(3 * DAY)
        description = await handle.describe()
        replay(await env.client.get(f"{ID_PREFIX}nightly").export(), workflows=[ScheduleWorkflow])
    assert [text[8:16] for text in times()] == [
        "02T00:30", "03T00:30", "04T00:30", "04T01:30", "05T01:30", "06T01:30", "07T01:30",
    ], "the last one before was at another time by the new rules, and is made up for"
    assert description.next_action_times[0] == datetime(2026, 3, 8, 1, 30, tzinfo=UTC)


# ---------------------------------------------------------------- overlap


@pytest.mark.parametrize(
    ("overlap", "nominal", "begun", "skipped"),
    [
        ("skip", [13, 16, 19], [13, 16, 19], 5),
        ("buffer_one", [13, 14, 16, 19], [13, 15.5, 18, 20.5], 4),
        ("buffer_all", [13, 14, 15, 16], [13, 15.5, 18, 20.5], 0),
        ("cancel_other", [13, 14, 15, 16, 17, 18, 19, 20], [13, 14, 15, 16, 17, 18, 19, 20], 0),
        ("terminate_other", [13, 14, 15, 16, 17, 18, 19, 20], [13, 14, 15, 16, 17, 18, 19, 20], 0),
        ("allow_all", [13, 14, 15, 16, 17, 18, 19, 20], [13, 14, 15, 16, 17, 18, 19, 20], 0),
    ],
)
async def test_overlap_policies_while_an_action_takes_long(
    overlap: Any, nominal: list[int], begun: list[float], skipped: int
) -> None:
    async with environment() as env:
        schedule = hourly(2.5 * 3600, policy=SchedulePolicy(overlap=overlap))
        handle = await env.client.create_schedule("s", schedule)
        await env.sleep(8.2 * HOUR)
        description = await handle.describe()
    assert [int(text[11:13]) for text in times()] == nominal
    began = [datetime.fromisoformat(at) for _, at, _ in ran]
    assert [round(at.hour + at.minute / 60, 1) for at in began] == begun
    assert description.num_actions_skipped_overlap == skipped
    ended = {"cancel_other": "cancelled", "terminate_other": "terminated"}.get(overlap, "completed")
    assert description.recent_actions[0].status == ended
    assert description.buffered == (len(nominal) if overlap == "buffer_all" else 0)
    assert [taken.nominal_time.hour for taken in description.running_actions] == (
        nominal[-2:] if overlap == "allow_all" else nominal[-1:]
    )


async def test_what_runs_is_known_across_continue_as_new() -> None:
    """A long action begins in one run of the schedule's workflow, and ends in another."""
    async with environment() as env:
        handle = await env.client.create_schedule("s", hourly(policy=SchedulePolicy(overlap="allow_all")))
        about = env.client.get(handle.workflow_id)
        await env.sleep(0.6 * HOUR)
        first = (await about.describe()).run_id
        long = replace((await handle.describe()).schedule, policy=SchedulePolicy(overlap="skip"))
        job = ScheduleActionStartWorkflow(Job, 400 * 3600.0, id="job")
        await handle.update(replace(long, action=job))
        await env.sleep(450 * HOUR)
        description = await handle.describe()
        assert (await about.describe()).run_id != first, "history has grown, and was cut"
    assert [round((at - START) / HOUR, 1) for at in (datetime.fromisoformat(a) for _, a, _ in ran)] == [0.5, 1.5, 402.5]
    assert (description.num_actions, description.num_actions_skipped_overlap) == (3, 400 + 48)
    assert [taken.status for taken in description.recent_actions] == ["completed", "completed", "running"]


# ---------------------------------------------------------------- nobody was there


@asynccontextmanager
async def nobody_there(env: Environment, clock: Any) -> AsyncIterator[None]:
    """The engine is down in the block; another one follows on the same log and state."""
    await asyncio.to_thread(env._engine.stop)
    yield
    env._engine = Engine(log=env._log, data_dir=env._engine._folder.parent, partitions=1, clock=clock)
    env._driver._around = env._surroundings()
    await asyncio.to_thread(env._engine.start)
    env._stack.push_async_callback(asyncio.to_thread, env._engine.stop)


@pytest.mark.parametrize(
    ("overlap", "window", "made_up", "missed"),
    [("allow_all", 365 * DAY, 24, 0), ("allow_all", 3 * HOUR, 3, 21), ("skip", 365 * DAY, 1, 0),
     ("buffer_one", 365 * DAY, 2, 0), ("buffer_all", 5 * HOUR, 5, 19), ("terminate_other", 365 * DAY, 1, 0)],
)  # fmt: skip
async def test_what_was_missed_while_the_engine_was_down_is_made_up_for_within_the_window(
    overlap: Any, window: timedelta, made_up: int, missed: int
) -> None:
    async with environment() as env:
        policy = SchedulePolicy(overlap=overlap, catchup_window=window)
        handle = await env.client.create_schedule("s", hourly(60, policy=policy))
        await env.sleep(2 * HOUR)
        async with nobody_there(env, env._clock):
            env._clock.skip_to(round((START + timedelta(days=1, hours=2)).timestamp() * 1000))
        found = await until(handle, lambda d: d.num_actions > 2)
        assert found.num_actions_missed_catchup_window == missed
        await env.sleep(1.1 * HOUR)
        description = await handle.describe()
    assert len(times()) == len(set(times())) == description.num_actions == 3 + made_up
    assert hours()[:2] == ["01T13", "01T14"]
    assert hours()[-1] == "02T15"


# ---------------------------------------------------------------- pausing, limits, failures


async def test_pause_and_unpause_with_notes() -> None:
    async with environment() as env:
        handle = await env.client.create_schedule("s", hourly(paused=True, note="not yet"))
        await env.sleep(3 * HOUR)
        assert (await handle.describe()).schedule.state.note == "not yet"
        await handle.unpause(note="go")
        await env.sleep(2 * HOUR)
        await handle.pause(note="holiday")
        await env.sleep(5 * HOUR)
        await handle.trigger()
        description = await until(handle, lambda d: d.num_actions == 3 and not d.running_actions)
        assert (description.schedule.state.paused, description.schedule.state.note) == (True, "holiday")
        assert description.recent_actions[-1].manual
        assert description.next_action_times[0] == datetime(2026, 3, 1, 23, tzinfo=UTC), "shown though it is paused"
        await handle.unpause()
        await env.sleep(1 * HOUR)
    assert hours()[:2] == ["01T16", "01T17"]
    assert times()[2].startswith("2026-03-01T22:30:")
    assert hours()[3:] == ["01T23"]


async def test_a_failure_pauses_the_schedule_if_it_is_to() -> None:
    async with environment() as env:
        policy = SchedulePolicy(pause_on_failure=True)
        handle = await env.client.create_schedule("s", hourly(60, "failed", policy=policy))
        await env.sleep(5 * HOUR)
        description = await handle.describe()
    assert hours() == ["01T13"]
    assert description.schedule.state.paused
    assert "job-2026-03-01T13:00:00Z has failed" in description.schedule.state.note


async def test_a_limited_number_of_actions_with_triggers_beside_it() -> None:
    async with environment() as env:
        handle = await env.client.create_schedule("s", hourly(remaining_actions=2), trigger_immediately=True)
        await env.sleep(5 * HOUR)
        await handle.trigger()
        description = await until(handle, lambda d: d.num_actions == 4)
    assert description.schedule.state.remaining_actions == 0
    assert description.next_action_times == ()
    assert [taken.manual for taken in description.recent_actions] == [True, False, False, True]


async def test_what_cannot_be_started_is_shown() -> None:
    async with environment() as env:
        await env.client.start(Job, id="job-2026-03-01T13:00:00Z", task_queue="default")
        handle = await env.client.create_schedule("s", hourly())
        await env.sleep(1 * HOUR)
        one = (await handle.describe()).recent_actions[0]
        assert (one.status, one.run_id) == ("exists", "")
        assert (await handle.describe()).num_actions == 0
        bad = ScheduleActionStartWorkflow("Job", id="x" * 990)
        await handle.update(replace((await handle.describe()).schedule, action=bad))
        await env.sleep(1 * HOUR)
        description = await handle.describe()
    assert description.recent_actions[-1].status == "failed_to_start"
    assert "1000 bytes" in description.recent_actions[-1].message
    assert len(ran) == 1


# ---------------------------------------------------------------- changes


async def test_an_update_changes_zone_and_arguments_from_now_on() -> None:
    daily = ScheduleSpec(calendars=[ScheduleCalendarSpec(hour=[9])])
    schedule = Schedule(action=ScheduleActionStartWorkflow(Job, id="job"), spec=daily)
    async with environment() as env:
        handle = await env.client.create_schedule("s", schedule)
        await env.sleep(DAY)
        there = replace(daily, time_zone_name="America/New_York")
        await handle.update(lambda found: replace(found.schedule, spec=there))
        await env.sleep(DAY)
        description = await handle.describe()
        assert description.last_updated_at is not None
        assert description.version == 2
        await handle.update(lambda found: None)
        assert (await handle.describe()).version == 2
    assert times() == ["2026-03-02T09:00:00Z", "2026-03-02T14:00:00Z"]


async def test_a_change_by_somebody_else_meanwhile_is_not_undone() -> None:
    async with environment() as env:
        handle = await env.client.create_schedule("s", hourly())
        calls = []

        async def more(found: Any) -> Schedule:
            calls.append(found.version)
            if len(calls) == 1:
                await handle.pause(note="by somebody else")
            return replace(found.schedule, policy=SchedulePolicy(overlap="allow_all"))

        await handle.update(more)
        description = await handle.describe()
    assert calls == [1, 2]
    assert (description.schedule.state.note, description.schedule.policy.overlap) == ("by somebody else", "allow_all")


async def test_deleted_schedules_are_gone_and_their_workflows_go_on() -> None:
    async with environment() as env:
        handle = await env.client.create_schedule("s", hourly(10 * 3600))
        with pytest.raises(ScheduleAlreadyRunningError):
            await env.client.create_schedule("s", hourly())
        await env.sleep(1 * HOUR)
        await handle.delete()
        other = env.client.get_schedule("t")
        for call in (handle.describe, handle.delete, handle.pause, handle.trigger, other.describe):
            with pytest.raises(ScheduleNotFoundError):
                await call()
        again = await env.client.create_schedule("s", hourly())
        await env.sleep(2.2 * HOUR)
        assert hours() == ["01T13", "01T14", "01T15"]
        assert (await again.describe()).num_actions == 2
        assert (await env.client.get("job-2026-03-01T13:00:00Z").describe()).status == "running"


async def test_schedules_are_listed_and_workflows_beside_them_are_not() -> None:
    async with environment() as env:
        names = [f"s{number}" for number in range(25)]
        for name in names:
            await env.client.create_schedule(name, hourly(paused=True))
        await env.client.start(Job, id="odradek.schedule", task_queue="default")
        await env.client.start(Job, id="odradek.schedulez", task_queue="default")
        await env.client.get_schedule("s3").delete()
        found = {one.id: one.schedule.state.paused async for one in env.client.list_schedules()}
    assert found == {name: True for name in names if name != "s3"}


async def test_backfill_makes_up_for_times_gone_by_once() -> None:
    async with environment() as env:
        morning = ScheduleBackfill(
            start_at=START.replace(hour=6, minute=0), end_at=START.replace(hour=10, minute=0), overlap="allow_all"
        )
        handle = await env.client.create_schedule("s", hourly(paused=True), backfill=[morning])
        await until(handle, lambda d: d.num_actions == 5 and not d.pending_backfills)
        wider = replace(morning, end_at=START)
        await handle.backfill(wider, replace(wider, overlap="buffer_all"))
        description = await until(handle, lambda d: d.num_actions == 7 and not d.buffered and not d.running_actions)
    assert sorted(hours()) == [f"01T{hour:02d}" for hour in range(6, 13)]
    assert not description.pending_backfills


async def test_arguments_travel_encrypted_and_the_schedule_needs_no_key() -> None:
    keys = {"k1": b"0" * 32}
    converter = DataConverter(codec=AESGCMCodec(keys))
    async with Environment(workflows=[Job], start_time=START, data_converter=converter) as env:
        job = ScheduleActionStartWorkflow(Job, 0.5, "secret-word", id="job", memo={"m": "secret-note"})
        handle = await env.client.create_schedule("s", replace(hourly(), action=job))
        await env.sleep(2 * HOUR)
        description = await handle.describe()
        assert list(description.schedule.action.args) == [0.5, "secret-word"]
        await handle.update(lambda found: replace(found.schedule, state=ScheduleState(note="plain")))
        await env.sleep(1 * HOUR)
        assert [taken.status for taken in (await handle.describe()).recent_actions] == ["completed"] * 3
        consumer = env._log.consumer()
        consumer.assign({TopicPartition(topic, 0): 0 for topic in env._log.topics("odradek.")})
        records = consumer.poll(1)
        consumer.close()
        assert len(records) > 20
        assert not any(b"secret" in record.value for record in records)


def test_schedules_that_make_no_sense_are_refused_where_they_are_written() -> None:
    def overlap(value: Any) -> SchedulePolicy:
        return SchedulePolicy(overlap=value)

    for make, says in (
        (lambda: overlap("sometimes"), "overlap is one of"),
        (lambda: SchedulePolicy(catchup_window=1), "at least 10 seconds"),
        (lambda: ScheduleState(remaining_actions=-1), "at least 0"),
        (lambda: ScheduleBackfill(start_at=datetime(2026, 1, 1), end_at=START), "needs a time zone"),
        (lambda: ScheduleBackfill(start_at=START, end_at=START - DAY), "before start_at"),
        (lambda: ScheduleActionStartWorkflow(Job, 1, 2, 3), "argument"),
        (lambda: ScheduleActionStartWorkflow(Job, start_delay=5), "unknown option"),  # type: ignore[call-arg]
    ):
        with pytest.raises((ValueError, DefinitionError), match=says):
            make()
