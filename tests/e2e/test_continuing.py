"""Runs that follow each other, from end to end, on both logs: continue-as-new, retries, cron, IDs, timeouts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from odradek import (
    ApplicationError,
    RetryPolicy,
    WorkflowAlreadyStartedError,
    WorkflowFailedError,
    WorkflowHandle,
    WorkflowTerminatedError,
    WorkflowTimeoutError,
    workflow,
)

from ..longer import with_longer_times
from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]
QUEUE = "continuing"
EVERY, TOTAL = 20, 600


@workflow.define
class Reader:
    """Reads numbers, and continues as new after every few; `seen` is all of them, in the order of reading."""

    def __init__(self) -> None:
        self.here = 0

    async def run(self, seen: list[int], total: int) -> list[int]:
        self.seen = seen
        await workflow.wait_condition(lambda: self.here >= EVERY or len(self.seen) >= total)
        if len(self.seen) < total:
            workflow.continue_as_new(Reader, self.seen, total)
        return self.seen

    @workflow.signal
    def number(self, n: int) -> None:
        self.seen.append(n)
        self.here += 1

    @workflow.query
    def count(self) -> int:
        return len(self.seen)


@workflow.define
class FromHandler:
    async def run(self, n: int) -> str:
        if n:
            return f"{workflow.info().initiator} {n}"
        await workflow.wait_condition(lambda: False)
        return "never"

    @workflow.signal
    def again(self) -> None:
        workflow.continue_as_new(FromHandler, 7)


@workflow.define
async def fails_twice(last: str) -> list[Any]:
    about = workflow.info()
    before = workflow.get_last_failure()
    if about.attempt < 3:
        raise ApplicationError(f"attempt {about.attempt}")
    return [last, about.attempt, about.initiator, str(before)]


@workflow.define
async def times_out_then_not() -> int:
    if workflow.info().attempt == 1:
        await asyncio.sleep(3600)
    return workflow.info().attempt


@workflow.define
async def for_ever() -> None:
    await asyncio.sleep(0.05)
    workflow.continue_as_new(for_ever)


@workflow.define
async def counts() -> int:
    return (workflow.get_last_completion_result(int) or 0) + 1


@workflow.define
class Sized:
    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    async def run(self) -> tuple[list[tuple[int, int]], bool, Any, Any]:
        workflow.upsert_search_attributes({"stage": "one", "gone": None})
        await workflow.wait_condition(lambda: len(self.sizes) == 3)
        about = workflow.info()
        return self.sizes, about.continue_as_new_suggested, dict(about.search_attributes), dict(workflow.memo())

    @workflow.signal
    def look(self) -> None:
        about = workflow.info()
        self.sizes.append((about.history_length, about.history_size))

    @workflow.query
    def seen(self) -> list[tuple[int, int]]:
        return self.sizes


@workflow.define
async def waits() -> None:
    await asyncio.sleep(3600)


@workflow.define
async def ends(how: str) -> str:
    if how == "failed":
        raise ApplicationError("as asked")
    return how


WORKFLOWS = [Reader, FromHandler, Sized, fails_twice, times_out_then_not, for_ever, counts, waits, ends]


@pytest_asyncio.fixture(loop_scope="module", scope="module", autouse=True)
async def worker(system: System) -> AsyncIterator[None]:
    async with system.worker(QUEUE, workflows=WORKFLOWS):
        yield


async def start(system: System, program: Any, *args: Any, **options: Any) -> WorkflowHandle[Any, Any]:
    options = {"id": system.name("wf"), "task_queue": QUEUE, **options}
    handle: WorkflowHandle[Any, Any] = await system.client.start(program, *args, **options)
    return handle


async def test_w3_no_signal_is_lost_or_doubled_while_runs_follow_each_other(system: System) -> None:
    """Many signals at full speed while the workflow continues as new every few of them."""
    reader = await start(system, Reader, [], TOTAL)
    for first in range(0, TOTAL, 50):  # in order: each batch is in the log before the next one begins
        sent = [asyncio.ensure_future(reader.signal(Reader.number, n)) for n in range(first, first + 50)]
        await asyncio.gather(*sent)
    assert await reader.result() == list(range(TOTAL))
    latest = system.client.get(reader.id, Reader)
    assert await latest.query(Reader.count) == TOTAL
    described = await latest.describe()
    assert described.first_run_id == reader.run_id != described.run_id
    first_run = await system.client.get(reader.id, run_id=reader.run_id).describe()
    assert first_run.status == "continued_as_new"


async def test_a_handler_may_continue_as_new(system: System) -> None:
    handle = await start(system, FromHandler, 0)
    await handle.signal(FromHandler.again)
    assert await handle.result() == "workflow 7"


async def test_a_workflow_is_tried_again_by_its_retry_policy(system: System) -> None:
    policy = RetryPolicy(initial_interval=0.05, maximum_attempts=3)
    handle = await start(system, fails_twice, "x", retry_policy=policy)
    assert await handle.result() == ["x", 3, "retry", "attempt 2"]
    two = await start(system, fails_twice, "x", retry_policy=RetryPolicy(initial_interval=0.05, maximum_attempts=2))
    with pytest.raises(WorkflowFailedError, match="attempt 2"):
        await two.result()


async def test_a_run_timeout_counts_as_an_attempt(system: System) -> None:
    policy = RetryPolicy(initial_interval=0.05, maximum_attempts=2)

    async def second_run_ends(timeout: float) -> None:
        handle = await start(system, times_out_then_not, run_timeout=timeout, retry_policy=policy)
        assert await handle.result() == 2

    await with_longer_times(0.5, second_run_ends)


async def test_the_execution_timeout_is_of_all_runs_together(system: System) -> None:
    async def times_out(timeout: float) -> None:
        handle = await start(system, for_ever, execution_timeout=timeout)
        with pytest.raises(WorkflowFailedError) as failed:
            await handle.result()
        assert isinstance(failed.value.cause, WorkflowTimeoutError)
        assert failed.value.cause.timeout_type == "execution"
        described = await system.client.get(handle.id).describe()
        assert described.run_id != handle.run_id, "it was not the first run that timed out"

    await with_longer_times(1, times_out)


async def test_a_cron_workflow_waits_for_its_time(system: System) -> None:
    handle = await start(system, counts, cron_schedule="CRON_TZ=Europe/Berlin 0 3 * * *")
    first = await system.client.get(handle.id, run_id=handle.run_id).with_options(timeout=30).describe()
    if first.status == "running":  # its only task asks for the time
        first = await described(system.client.get(handle.id, run_id=handle.run_id), lambda d: d.status != "running")
    assert first.status == "continued_as_new"
    waiting = await system.client.get(handle.id).describe()
    assert (waiting.status, waiting.history_length) == ("running", 1)
    assert waiting.task_retry_time is not None
    assert waiting.task_retry_time.minute == 0
    await handle.terminate("enough")
    with pytest.raises(WorkflowFailedError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, WorkflowTerminatedError)


async def test_sizes_and_search_attributes_are_the_same_after_a_replay(system: System) -> None:
    attributes, memo = {"gone": 1, "kept": 2}, {"who": "me"}
    options: dict[str, Any] = {"search_attributes": attributes, "memo": memo, "task_queue": "sized"}
    name = system.name("sized")
    async with system.worker("sized", workflows=[Sized]):
        handle = await start(system, Sized, id=name, **options)
        for n in range(2):
            await handle.signal(Sized.look)
            seen = await handle.query(Sized.seen)
            assert len(seen) == n + 1
    async with system.worker("sized", workflows=[Sized]):  # another session: nothing is cached
        assert await handle.query(Sized.seen) == seen
        await handle.signal(Sized.look)
        sizes, suggested, attributes, memo = await handle.result()
    assert [tuple(pair) for pair in sizes[:2]] == [tuple(pair) for pair in seen]
    assert sizes == sorted(sizes)
    assert sizes[0][1] > 0
    assert (suggested, attributes, memo) == (False, {"kept": 2, "stage": "one"}, {"who": "me"})
    described = await handle.describe()
    assert dict(described.search_attributes) == {"kept": 2, "stage": "one"}


@pytest.mark.parametrize("conflict", ["fail", "use_existing", "terminate_existing"])
@pytest.mark.parametrize("reuse", ["allow", "allow_if_failed", "reject"])
async def test_id_policies_while_a_run_is_open_and_after_each_end(system: System, conflict: str, reuse: str) -> None:
    policies = {"id_conflict_policy": conflict, "id_reuse_policy": reuse}
    opened = await start(system, waits)
    if conflict == "fail":
        with pytest.raises(WorkflowAlreadyStartedError, match="id_conflict_policy"):
            await start(system, waits, id=opened.id, **policies)
    else:
        second = await start(system, waits, id=opened.id, **policies)
        assert (second.run_id == opened.run_id) == (conflict == "use_existing")
    for how in ("completed", "failed"):
        closed = await start(system, ends, how)
        await asyncio.gather(closed.result(), return_exceptions=True)
        refused = reuse == "reject" or (reuse == "allow_if_failed" and how == "completed")
        if refused:
            with pytest.raises(WorkflowAlreadyStartedError, match="id_reuse_policy"):
                await start(system, ends, "again", id=closed.id, **policies)
        else:
            again = await start(system, ends, "again", id=closed.id, **policies)
            assert await again.result() == "again"
