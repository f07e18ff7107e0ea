"""The worker as a whole, on the embedded log with a real engine."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from typing import Any, NoReturn

import pytest
from odradek import activity, workflow
from odradek._worker import consumer
from odradek._worker.activity_worker import ActivityWorker
from odradek._worker.consumer import TaskConsumer
from odradek.errors import DefinitionError, UnavailableError
from odradek_log import LogCorruptError, LogUnavailableError
from odradek_schemas import Position, encode
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityStarted,
    WorkerAlive,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
)
from odradek_schemas.replies import SessionEnded

from .worker_bench import SECONDS, World
from .worker_programs import Gate, Gated, Sum, add


@workflow.define
class Waiter:
    def __init__(self) -> None:
        self.state = "waiting"

    async def run(self, text: str = "") -> str:
        await workflow.wait_condition(lambda: self.state == "told")
        return self.state

    @workflow.signal
    def tell(self) -> None:
        self.state = "told"

    @workflow.query
    def status(self) -> str:
        return self.state


# ---------------------------------------------------------------- making one


def test_a_worker_needs_something_to_run() -> None:
    world: Any = None
    with pytest.raises(ValueError, match="needs something to run"):
        World.worker(world)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrent_activities": 0}, "max_concurrent_activities"),
        ({"max_history_bytes": 0}, "max_history_bytes"),
        ({"lost_after": 0}, "lost_after"),
        ({"blocked_after": 0}, "blocked_after"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    world: Any = None
    with pytest.raises(ValueError, match=message):
        World.worker(world, activities=[add], **options)


def test_two_definitions_of_one_name_are_refused() -> None:
    world: Any = None
    with pytest.raises(DefinitionError, match="two activity definitions named 'add'"):
        World.worker(world, activities=[add, add])
    with pytest.raises(DefinitionError, match="two workflow definitions named 'Sum'"):
        World.worker(world, workflows=[Sum, Sum])


def test_what_is_no_workflow_or_activity_is_refused() -> None:
    world: Any = None
    with pytest.raises(DefinitionError):
        World.worker(world, workflows=[object])
    with pytest.raises(DefinitionError):
        World.worker(world, activities=[print])


# ---------------------------------------------------------------- running


async def test_a_workflow_runs_to_its_result(world: World) -> None:
    async with world.worker(workflows=[Sum], activities=[add]):
        await world.start("Sum", "w", 5)
        assert await world.result("w") == 5
    bases = [r.base for r in world.events(WorkflowTaskCompleted)]
    assert len(bases) == len(set(bases)) == 6, "every step was one completion on the one before"


async def test_workers_for_workflows_and_for_activities_only_work_together(world: World) -> None:
    async with world.worker(workflows=[Sum]), world.worker(activities=[add]):
        await world.start("Sum", "w", 3)
        assert await world.result("w") == 3


async def test_without_room_in_the_cache_every_task_is_replayed(world: World) -> None:
    async with world.worker(workflows=[Sum, Waiter], activities=[add], cache_bytes=1):
        for i in range(4):
            await world.start("Sum", f"w{i}", 4)
        assert [await world.result(f"w{i}") for i in range(4)] == [4] * 4
    assert world.events(WorkflowTaskFailed) == []


async def test_another_worker_goes_on_where_one_stopped(world: World) -> None:
    async with world.worker(workflows=[Waiter]):
        await world.start("Waiter", "w")
        await world.until(WorkflowTaskCompleted)
    await world.signal("w", "tell")
    async with world.worker(workflows=[Waiter]):
        assert await world.result("w") == "told"


async def test_a_history_that_is_too_large_for_a_worker_waits_for_one_that_may_hold_it(world: World) -> None:
    """Breaks when one endless workflow takes worker after worker all its memory, or is lost."""
    async with world.worker(workflows=[Waiter]):
        await world.start("Waiter", "w", "x" * 10_000)
        await world.start("Waiter", "small")
        await world.until(WorkflowTaskCompleted, lambda task: task.workflow_id == "w")
        await world.until(WorkflowTaskCompleted, lambda task: task.workflow_id == "small")
    async with world.worker(workflows=[Waiter], max_history_bytes=9_000):
        answer = await world.query("w", "status")
        assert answer.status == "rejected"
        assert answer.failure is not None
        assert answer.failure.type == "HistoryTooLarge"
        for workflow_id in ("w", "small"):
            await world.signal(workflow_id, "tell")
        failed = await world.until(WorkflowTaskFailed)
        assert (failed.workflow_id, failed.failure.type) == ("w", "HistoryTooLarge")
        assert "this worker replays up to 9,000 (Worker(max_history_bytes=...)" in failed.failure.message
        assert await world.result("small") == "told"
    async with world.worker(workflows=[Waiter]):
        assert await world.result("w") == "told"


async def test_queries_are_answered_from_the_cache_and_after_the_end(world: World) -> None:
    async with world.worker(workflows=[Waiter]):
        await world.start("Waiter", "w")
        answer = await world.query("w", "status")
        assert answer.result == world.connection.converter.to_payload("waiting")
        await world.signal("w", "tell")
        assert await world.result("w") == "told"
        answer = await world.query("w", "status")
        assert answer.result == world.connection.converter.to_payload("told")
        unknown = await world.query("w", "nothing")
        assert unknown.status == "rejected"


async def test_at_most_so_many_activities_run_at_once_and_all_run(world: World) -> None:
    gate = Gate()
    async with world.worker(workflows=[Gated], activities=[gate.plain()], max_concurrent_activities=2):
        await world.start("Gated", "w", 7)
        await gate.wait_begun()
        gate.leave.set()
        assert await world.result("w") == 7
    assert gate.most <= 2
    assert gate.ended == 7


async def test_tasks_read_above_the_limit_wait_their_turn(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActivityWorker, "_capacity", lambda worker: 100)  # a log may give more than was asked for
    gate = Gate()
    async with world.worker(workflows=[Gated], activities=[gate.plain()], max_concurrent_activities=2):
        await world.start("Gated", "w", 7)
        await gate.wait_begun()
        await world.tasks_sent(7)
        gate.leave.set()
        assert await world.result("w") == 7
    assert gate.most <= 2


async def test_a_full_worker_reads_on_as_soon_as_there_is_room(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "POLL_SECONDS", 10 * SECONDS)  # nobody comes by to look: it has to be woken
    gate = Gate()
    gate.leave.set()
    async with world.worker(workflows=[Gated], activities=[gate.plain()], max_concurrent_activities=1):
        await world.start("Gated", "w", 5)
        assert await world.result("w") == 5


async def test_a_full_worker_leaves_tasks_unclaimed(world: World) -> None:
    gate = Gate()
    async with world.worker(workflows=[Gated], activities=[gate.plain()], max_concurrent_activities=1):
        await world.start("Gated", "w", 3)
        await gate.wait_begun()
        await world.start("Gated", "v", 1)
        await world.until(WorkflowTaskCompleted, lambda r: r.workflow_id == "v")
        await world.tasks_sent(4)
        await world.until(ActivityStarted)
        assert len(world.events(ActivityStarted)) == 1
        gate.leave.set()
        assert await world.result("w") == 3
        assert await world.result("v") == 1


async def test_activities_of_a_workflow_that_was_terminated_are_stopped(world: World) -> None:
    gate = Gate()
    async with world.worker(workflows=[Gated], activities=[gate.cancellable()]):
        await world.start("Gated", "w", 1)
        await gate.wait_begun()
        await world.until(ActivityStarted)
        await world.terminate("w")
        assert await asyncio.to_thread(gate.cancelled.wait, SECONDS)
    assert world.events(ActivityCancelled) == [], "the run has closed: there is nobody to tell"


async def test_t4_t8_tasks_that_waited_for_a_worker_are_claimed_and_run(world: World) -> None:
    @workflow.define
    class Once:
        async def run(self) -> int:
            return await add.with_options(delivery="at_most_once")(1)

    async with world.worker(workflows=[Sum, Once]):
        await world.start("Sum", "w", 1)
        await world.tasks_sent(1)
        async with world.worker(activities=[add]):
            assert await world.result("w") == 1
            await world.start("Once", "v")
            assert await world.result("v") == 2
    assert [r.claim for r in world.events(ActivityStarted)] == [True, True]


# ---------------------------------------------------------------- blocking


async def test_a_workflow_that_blocks_its_thread_is_reported_and_others_go_on(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()

    @workflow.define
    class Blocker:
        async def run(self) -> str:
            release.wait(SECONDS)  # a call into the system, which the workflow's event loop cannot see
            return "late"

    async with world.worker(workflows=[Blocker, Sum], activities=[add], blocked_after=0.2):
        await world.start("Blocker", "b")
        await world.start("Sum", "w", 2)
        assert await world.result("w") == 2
        failed = await world.until(WorkflowTaskFailed, lambda r: "release.wait(SECONDS)" in r.failure.stack_trace)
        assert (failed.workflow_id, failed.cause) == ("b", "blocked")
        assert any("has blocked its thread" in r.message and r.levelno == logging.ERROR for r in caplog.records)
        release.set()
        assert await world.result("b") == "late", "the retry finds the way free"


# ---------------------------------------------------------------- sessions and errors


async def test_t6_session_ended_by_the_engine_is_followed_by_a_new_one(world: World) -> None:
    async with world.worker(workflows=[Sum], activities=[add]):
        await world.start("Sum", "w", 1)
        await world.result("w")
        (alive,) = world.events(WorkerAlive)
        ended = SessionEnded(
            position=Position(partition=0, offset=10**6, index=0), client_id=alive.client_id, session=alive.session,
            partition=0,
        )
        producer = world.log.producer()
        key = alive.client_id.encode()
        producer.send(world.connection.topics.replies, world.connection.reply_partition, key, encode(ended))
        producer.flush(SECONDS)
        producer.close()
        sessions = {alive.session}
        for i in range(100):
            await world.start("Sum", f"v{i}", 1)
            assert await world.result(f"v{i}") == 1
            sessions = {r.session for r in world.events(WorkerAlive)}
            if len(sessions) > 1:
                break
        assert len(sessions) == 2


async def test_run_raises_what_keeps_the_worker_from_going_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def corrupt(consumer: TaskConsumer) -> NoReturn:
        raise LogCorruptError("bytes in the middle")

    monkeypatch.setattr(TaskConsumer, "_turn", corrupt)
    with pytest.raises(LogCorruptError):
        await world.worker(workflows=[Sum]).run()


async def test_a_log_that_cannot_be_reached_is_an_error_of_the_package(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(specs: object) -> NoReturn:
        raise LogUnavailableError("no broker")

    monkeypatch.setattr(world.log, "create_topics", unreachable)
    with pytest.raises(UnavailableError, match="no broker"):
        async with world.worker(workflows=[Sum]):
            pass


async def test_a_worker_that_runs_cannot_be_entered_again(world: World) -> None:
    worker = world.worker(workflows=[Sum])
    async with worker:
        with pytest.raises(RuntimeError, match="runs already"):
            await worker.__aenter__()


async def test_heartbeats_go_on_while_the_event_loop_is_blocked(world: World) -> None:
    """For longer where the machine is busy: the thread that sends them may not run for as long as the first time."""
    lost_after = 0.0

    @activity.define(name="add")
    async def stuck(value: int, more: int = 1) -> int:
        time.sleep(3 * lost_after)  # noqa: ASYNC251
        return value + more

    for lost_after in (0.4, 1.5, 4.0):
        name = f"lost after {lost_after} s"
        async with world.worker(workflows=[Sum], activities=[stuck], lost_after=lost_after):
            await world.start("Sum", name, 1)
            assert await world.result(name) == 1
        started = [record for record in world.events(ActivityStarted) if record.workflow_id == name]
        if len(started) == 1:
            break
    assert len(started) == 1, "nobody took the worker for lost"
