"""The test environment: real parts, time that skips."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from odradek import (
    ActivityTimeoutError,
    ApplicationError,
    RetryPolicy,
    Worker,
    WorkflowFailedError,
    activity,
    workflow,
)
from odradek.testing import Environment

MONTH = timedelta(days=30)


@activity.define
async def compose(greeting: str, name: str) -> str:
    return f"{greeting}, {name}"


@activity.define(retry_policy=RetryPolicy(initial_interval=3600, backoff_coefficient=2, maximum_attempts=4))
def flaky(times: int) -> int:
    attempt = activity.info().attempt
    if attempt <= times:
        raise ApplicationError(f"attempt {attempt}")
    return attempt


@workflow.define
class Sleeper:
    def __init__(self) -> None:
        self.months = 0
        self.stopped = False

    async def run(self, months: int) -> str:
        for _ in range(months):
            try:
                await workflow.wait_condition(lambda: self.stopped, timeout=MONTH)
                return "stopped"
            except TimeoutError:
                self.months += 1
        return await compose.with_options(task_queue="elsewhere")("Hello", f"{self.months} months")

    @workflow.signal
    def stop(self) -> None:
        self.stopped = True

    @workflow.query
    def passed(self) -> int:
        return self.months


@workflow.define
async def retries(times: int) -> int:
    return await flaky(times)


@workflow.define
async def slow() -> str:
    return await stuck()


@activity.define(start_to_close_timeout=5, retry_policy=RetryPolicy(maximum_attempts=1))
async def stuck() -> str:
    raise activity.CompleteAsync


async def test_years_of_sleeping_take_no_time_and_all_queues_are_served() -> None:
    async with Environment(workflows=[Sleeper], activities=[compose]) as env:
        began = env.now()
        assert await env.client.execute(Sleeper, 24, id="s") == "Hello, 24 months"
        assert env.now() - began >= 24 * MONTH


async def test_time_stands_while_nobody_waits() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with Environment(workflows=[Sleeper], activities=[compose], start_time=start) as env:
        handle = await env.client.start(Sleeper, 2, id="s")
        assert await handle.query(Sleeper.passed) == 0
        await handle.signal(Sleeper.stop)
        assert await handle.result() == "stopped"
        assert env.now() - start < MONTH


@workflow.define
async def looks_at_the_clock() -> list[str]:
    looked = [workflow.now().isoformat()]
    await workflow.side_effect(lambda: 1)
    looked.append(workflow.now().isoformat())
    await workflow.execute_local_activity(compose, "Hello", "you")
    return [*looked, workflow.now().isoformat()]


async def test_local_steps_leave_the_skipped_time_as_it_is() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    async with Environment(workflows=[looks_at_the_clock], activities=[compose], start_time=start) as env:
        assert {at[:13] for at in await env.client.execute(looks_at_the_clock, id="l")} == {"2030-01-01T00"}


async def test_sleep_lets_what_is_due_happen_in_its_order() -> None:
    async with Environment(workflows=[Sleeper], activities=[compose]) as env:
        handle = await env.client.start(Sleeper, 10, id="s")
        for passed in range(3):
            assert await handle.query(Sleeper.passed) == passed
            await env.sleep(MONTH)
        await env.sleep(MONTH * 2)
        assert await handle.query(Sleeper.passed) in (4, 5)  # at the very end of the fifth
        await handle.signal(Sleeper.stop)
        assert await handle.result() == "stopped"


async def test_retries_wait_in_virtual_time() -> None:
    async with Environment(workflows=[retries], activities=[flaky]) as env:
        began = env.now()
        assert await env.client.execute(retries, 3, id="r") == 4
        assert timedelta(hours=7) <= env.now() - began < timedelta(hours=8)
        with pytest.raises(WorkflowFailedError):
            await env.client.execute(retries, 9, id="r2")


async def test_an_activity_may_be_replaced_by_a_function() -> None:
    async def shout(greeting: str, name: str) -> str:
        await asyncio.sleep(0)
        return f"{greeting}, {name}!".upper()

    async with Environment(workflows=[Sleeper], activities={compose: shout}) as env:
        assert await env.client.execute(Sleeper, 1, id="s") == "HELLO, 1 MONTHS!"


async def test_a_timeout_strikes_an_activity_that_nobody_completes() -> None:
    async with Environment(workflows=[slow], activities=[stuck]) as env:
        with pytest.raises(WorkflowFailedError) as raised:
            await env.client.execute(slow, id="s")
        assert isinstance(raised.value.cause, ActivityTimeoutError)


async def test_a_queue_is_served_also_while_nobody_waits_for_a_result() -> None:
    async with Environment(workflows=[Sleeper], activities=[compose]) as env:
        handle = await env.client.start(Sleeper, 2, id="s", task_queue="elsewhere")
        assert await handle.query(Sleeper.passed) == 0


async def test_a_worker_of_the_test_has_its_queue_for_itself() -> None:
    """Breaks when the environment serves that queue too: its worker knows other workflows, and took the tasks."""
    async with Environment(workflows=[Sleeper], activities=[]) as env:
        async with Worker(env.client, task_queue="own", workflows=[retries], activities=[flaky]):
            assert await env.client.execute(retries, 3, id="r", task_queue="own") == 4  # time skipped meanwhile
        waits = await env.client.start(Sleeper, 0, id="w", task_queue="own")
        await env.sleep(MONTH)
        assert (await waits.describe()).status == "running", "nobody else serves it when its worker has ended"


async def test_the_workers_of_a_queue_may_be_away() -> None:
    async with Environment(workflows=[Sleeper], activities=[compose], away=["elsewhere"]) as env:
        handle = await env.client.start(Sleeper, 0, id="s", execution_timeout=MONTH)
        with pytest.raises(WorkflowFailedError, match="execution_timeout"):
            await handle.result()


@workflow.define
class Clerk:
    def __init__(self) -> None:
        self.heard = 0
        self.done = False

    async def run(self) -> int:
        await workflow.wait_condition(lambda: self.done)
        return self.heard

    @workflow.signal
    def tell(self) -> None:
        self.heard += 1

    @workflow.update
    async def think(self) -> str:
        await asyncio.sleep(MONTH.total_seconds())
        return "no"

    @workflow.signal
    async def close_in_a_month(self) -> None:
        await asyncio.sleep(MONTH.total_seconds())
        self.done = True


async def test_time_skips_while_an_update_is_awaited() -> None:
    async with Environment(workflows=[Clerk]) as env:
        clerk = await env.client.start(Clerk, id="c")
        began = env.now()
        assert await clerk.update(Clerk.think) == "no"
        assert env.now() - began >= MONTH
        handle = await clerk.start_update(Clerk.think)
        assert await handle.result() == "no"
        assert env.now() - began >= 2 * MONTH


async def test_requests_outlive_the_time_that_is_skipped_meanwhile() -> None:
    async with Environment(workflows=[Clerk]) as env:
        clerk = await env.client.start(Clerk, id="c")
        await clerk.signal(Clerk.close_in_a_month)
        skipping = asyncio.create_task(env.sleep(MONTH - timedelta(days=1)))
        for _ in range(100):
            await clerk.signal(Clerk.tell)
        await skipping
        assert await clerk.result() == 100
