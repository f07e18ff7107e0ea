"""Local activities and side effects from end to end, on both logs: recorded, retried, timed, and never run twice."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from odradek import (
    ActivityError,
    ActivityTimeoutError,
    ApplicationError,
    RetryPolicy,
    WorkflowFailedError,
    activity,
    workflow,
)
from odradek._worker import local_steps
from odradek_schemas import decode
from odradek_schemas.history import LocalActivityCompleted
from odradek_schemas.tasks import HistoryBatch

from ..longer import with_longer_times
from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
ran: Counter[str] = Counter()
gate = threading.Event()


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    ran.clear()
    gate.clear()
    yield
    gate.set()


@activity.define
async def double(number: int) -> int:
    ran[f"double {number}"] += 1
    return 2 * number


@activity.define(retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=3))
def flaky(fails: int) -> int:
    """A plain function, in a thread."""
    ran["flaky"] += 1
    if activity.info().attempt <= fails:
        raise ApplicationError("not yet", type="NotYet")
    return activity.info().attempt


@activity.define(retry_policy=RetryPolicy(initial_interval=0.01, maximum_attempts=2))
async def stuck() -> None:
    ran["stuck"] += 1
    await asyncio.Event().wait()


@activity.define
def waits() -> str:
    ran["waits"] += 1
    assert gate.wait(60)
    return "opened"


def draw() -> int:
    ran["draw"] += 1
    return 4


@workflow.define
class Local:
    def __init__(self) -> None:
        self.signals = 0
        self.drawn = 0

    async def run(self, what: str, timeout: float = 60) -> Any:
        self.timeout = timeout
        return await getattr(self, what)()

    async def steps(self) -> Any:
        self.drawn = await workflow.side_effect(draw)
        numbers = [await workflow.execute_local_activity(double, n) for n in range(3)]
        numbers += await asyncio.gather(*(workflow.execute_local_activity(double, n) for n in (10, 11)))
        normal = await double(20)
        named = await workflow.execute_local_activity("double", 30, result_type=int)
        await workflow.wait_condition(lambda: self.signals > 0)
        return [self.drawn, numbers, normal, named]

    async def retried(self) -> Any:
        found = [await workflow.execute_local_activity(flaky, 2)]
        try:
            await workflow.execute_local_activity(flaky, 9)
        except ActivityError as error:
            found += [error.type, error.attempt]
        try:
            await workflow.execute_local_activity(stuck.with_options(start_to_close_timeout=self.timeout))
        except ActivityTimeoutError as error:
            found += [error.timeout_type, error.attempt]
        return found

    async def fails(self) -> Any:
        await workflow.execute_local_activity(flaky.with_options(retry_policy=RetryPolicy(maximum_attempts=1)), 9)

    async def long(self) -> Any:
        return [await workflow.execute_local_activity(waits), self.signals]

    async def cancelled(self) -> Any:
        task = asyncio.create_task(workflow.execute_local_activity(waits))
        await asyncio.sleep(0)
        task.cancel()
        return await workflow.execute_local_activity(double, 1)

    @workflow.signal
    def poke(self) -> None:
        self.signals += 1
        gate.set()  # deterministic

    @workflow.query
    def seen(self) -> int:
        return self.drawn


ACTIVITIES = [double, flaky, stuck, waits]


async def types(handle: Any) -> list[str]:
    return [event.type for event in await handle.history()]


@pytest.mark.parametrize("eager", [False, True])
async def test_local_steps_are_recorded_and_not_run_again_on_replay(
    system: System, eager: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_steps, "HEARTBEAT_SECONDS", 60.0)  # those of a slow machine would be records, too
    queue = system.name("queue")
    options: dict[str, Any] = {"workflows": [Local], "activities": ACTIVITIES, "eager_activities": eager}
    async with system.worker(queue, **options):
        handle = await system.client.start(Local, "steps", id=system.name("wf"), task_queue=queue)
        assert await handle.query(Local.seen) in (0, 4)
        await system.read(system.topics.history, lambda found: _recorded(found, handle.id))
    async with system.worker(queue, **options):  # has nothing in memory: replays
        assert await handle.query(Local.seen) == 4
        await handle.signal(Local.poke)
        assert await handle.result() == [4, [0, 2, 4, 20, 22], 40, 60]
    assert ran == {"draw": 1, **{f"double {n}": 1 for n in (0, 1, 2, 10, 11, 20, 30)}}
    kinds = Counter(await types(handle))
    assert (kinds["LocalActivityCompleted"], kinds["SideEffectRecorded"], kinds["ActivityCompleted"]) == (6, 1, 1)
    assert kinds["WorkflowTaskCompleted"] <= 4, "a chain of local steps is one record"


def _recorded(found: list[Any], workflow_id: str) -> bool:
    batches = [batch for batch in found if isinstance(batch, HistoryBatch) and batch.workflow_id == workflow_id]
    events: list[Any] = [decode(value) for batch in batches for value in batch.events]
    return sum(isinstance(event.attributes, LocalActivityCompleted) for event in events) == 6


async def test_retries_failures_and_timeouts(system: System) -> None:
    queue = system.name("queue")
    async with system.worker(queue, workflows=[Local], activities=ACTIVITIES):

        async def retried(timeout: float) -> None:
            ran.clear()
            handle = await system.client.start(Local, "retried", timeout, id=system.name("wf"), task_queue=queue)
            assert await handle.result() == [3, "NotYet", 3, "start_to_close", 2]
            assert Counter(await types(handle))["LocalActivityFailed"] == 2, "attempts do not bloat history"
            assert (ran["flaky"], ran["stuck"]) == (6, 2)

        await with_longer_times(0.05, retried)
        failing = await system.client.start(Local, "fails", id=system.name("wf"), task_queue=queue)
        with pytest.raises(WorkflowFailedError, match="not yet"):
            await failing.result()


async def test_a_long_one_answers_its_task_now_and_then_and_lets_signals_in(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_steps, "HEARTBEAT_SECONDS", 0.05)
    queue = system.name("queue")
    async with system.worker(queue, workflows=[Local], activities=ACTIVITIES):
        handle = await system.client.start(Local, "long", id=system.name("wf"), task_queue=queue)
        pending = (await described(handle, lambda d: d.pending_local_activities)).pending_local_activities
        assert [(one.activity_type, one.seq) for one in pending] == [("waits", 1)]
        await handle.signal(Local.poke)  # only its handler lets the activity end
        assert await handle.result() == ["opened", 1]
        assert (await handle.describe()).pending_local_activities == ()
    assert ran["waits"] == 1
    assert Counter(await types(handle))["WorkflowTaskCompleted"] >= 2


async def test_cancelled_by_the_code(system: System) -> None:
    queue = system.name("queue")
    async with system.worker(queue, workflows=[Local], activities=ACTIVITIES):
        handle = await system.client.start(Local, "cancelled", id=system.name("wf"), task_queue=queue)
        assert await handle.result() == 2
