"""The worker as a whole, on the embedded log with a real engine."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from odradek import activity, workflow
from odradek._worker import consumer
from odradek._worker import worker as worker_module
from odradek._worker.activity_worker import ActivityWorker
from odradek._worker.chain import load_chain
from odradek._worker.consumer import TaskConsumer
from odradek.errors import DefinitionError, UnavailableError
from odradek_log import LogCorruptError, LogUnavailableError
from odradek_log.renewing import RenewingProducer
from odradek_schemas import Position, encode
from odradek_schemas.records import (
    ActivityCancelled,
    ActivityCompleted,
    ActivityHandedBack,
    ActivityStarted,
    WorkerAlive,
    WorkerStopped,
    WorkflowTaskCompleted,
    WorkflowTaskFailed,
)
from odradek_schemas.replies import SessionEnded

from .worker_bench import SECONDS, World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with World(tmp_path) as world:
        yield world


@activity.define
async def add(value: int, more: int = 1) -> int:
    return value + more


@workflow.define
class Sum:
    async def run(self, steps: int) -> int:
        value = 0
        for _ in range(steps):
            value = await add(value)
        return value


@workflow.define
class Waiter:
    def __init__(self) -> None:
        self.state = "waiting"

    async def run(self) -> str:
        await workflow.wait_condition(lambda: self.state == "told")
        return self.state

    @workflow.signal
    def tell(self) -> None:
        self.state = "told"

    @workflow.query
    def status(self) -> str:
        return self.state


class Gate:
    """An activity that says when it has begun, and waits for leave to end."""

    def __init__(self) -> None:
        self.began, self.leave = threading.Event(), threading.Event()
        self.running = self.most = self.ended = 0
        self.cancelled = threading.Event()
        self._lock = threading.Lock()

    async def wait_begun(self) -> None:
        assert await asyncio.to_thread(self.began.wait, SECONDS)

    def plain(self) -> Any:
        @activity.define(name="gate")
        def gate() -> str:
            with self._lock:
                self.running += 1
                self.most = max(self.most, self.running)
            self.began.set()
            assert self.leave.wait(SECONDS)
            with self._lock:
                self.running -= 1
                self.ended += 1
            return "through"

        return gate

    def cancellable(self) -> Any:
        @activity.define(name="gate")
        async def gate() -> str:
            activity.heartbeat("half")
            self.began.set()
            try:
                while not self.leave.is_set():
                    await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            return "through"

        return gate


@workflow.define(name="Gated")
class Gated:
    async def run(self, count: int) -> int:
        gate = Gate().plain()
        return len(await asyncio.gather(*(gate() for _ in range(count))))


# ---------------------------------------------------------------- making one


def test_a_worker_needs_something_to_run() -> None:
    world: Any = None
    with pytest.raises(ValueError, match="needs something to run"):
        World.worker(world)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_concurrent_activities": 0}, "max_concurrent_activities"),
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
        failed = await world.until(WorkflowTaskFailed)
        assert (failed.workflow_id, failed.cause) == ("b", "blocked")
        assert "release.wait(SECONDS)" in failed.failure.stack_trace
        assert any("has blocked its thread" in r.message and r.levelno == logging.ERROR for r in caplog.records)
        release.set()
        assert await world.result("b") == "late", "the retry finds the way free"


# ---------------------------------------------------------------- sessions and shutdown


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


async def test_shutdown_lets_running_activities_finish(world: World) -> None:
    gate = Gate()
    worker = world.worker(workflows=[Gated], activities=[gate.plain()], shutdown_timeout=SECONDS)
    async with worker:
        await world.start("Gated", "w", 1)
        await gate.wait_begun()
        threading.Timer(0.2, gate.leave.set).start()
    assert gate.ended == 1
    assert world.events(ActivityHandedBack) == []
    async with world.worker(workflows=[Gated]):
        assert await world.result("w") == 1


@pytest.mark.parametrize("kind", ["cancellable", "plain"])
async def test_shutdown_hands_back_what_does_not_finish_and_another_worker_does_it(world: World, kind: str) -> None:
    gate, second = Gate(), Gate()
    second.leave.set()
    async with world.worker(workflows=[Gated], activities=[getattr(gate, kind)()], shutdown_timeout=0.1):
        await world.start("Gated", "w", 1)
        await gate.wait_begun()
    (handed_back,) = world.events(ActivityHandedBack)
    if kind == "cancellable":
        assert gate.cancelled.is_set()
        assert handed_back.heartbeat_details == world.connection.converter.to_payloads(["half"])
    assert len(world.events(WorkerStopped)) == 1
    async with world.worker(workflows=[Gated], activities=[second.plain()]):
        assert await world.result("w") == 1
    gate.leave.set()


async def test_shutdown_needs_no_thread_that_activities_have_taken(world: World) -> None:
    """Breaks when the end of the worker waits behind them for a thread of asyncio's own pool: it never came, while
    they blocked."""
    leave, all_taken, gave_up = threading.Event(), threading.Semaphore(0), threading.Event()
    pool = ThreadPoolExecutor(2)
    asyncio.get_running_loop().set_default_executor(pool)

    def block() -> None:
        all_taken.release()
        if not leave.wait(SECONDS):
            gave_up.set()

    @activity.define(name="gate")
    async def gate() -> str:
        await asyncio.to_thread(block)
        return "through"

    async with world.worker(workflows=[Gated], activities=[gate], shutdown_timeout=0.1):
        await world.start("Gated", "w", 3)
        for _ in range(2):
            while not all_taken.acquire(blocking=False):
                await asyncio.sleep(0)
    waited = gave_up.is_set()
    leave.set()
    assert not waited
    assert len(world.events(WorkerStopped)) == 1


async def test_shutdown_gives_a_log_up_that_has_no_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Breaks when a worker cannot be stopped while brokers are away, and what it is to append waits for room."""
    full, closed = threading.Event(), threading.Event()
    send, close = RenewingProducer.send, RenewingProducer.close

    def waits_for_room(self: RenewingProducer, *record: Any) -> None:
        if full.is_set():
            assert closed.wait(SECONDS)
        send(self, *record)

    def frees(self: RenewingProducer) -> None:
        closed.set()
        close(self)

    monkeypatch.setattr(RenewingProducer, "send", waits_for_room)
    monkeypatch.setattr(RenewingProducer, "close", frees)
    monkeypatch.setattr(worker_module, "_GIVE_UP_SECONDS", 0.2)
    async with world.worker(workflows=[Sum], activities=[add], shutdown_timeout=0.1):
        await world.start("Sum", "w", 1)
        assert await world.result("w") == 1
        full.set()
    assert closed.is_set()


async def test_t1_t2_after_a_graceful_end_all_is_committed_with_its_chain(world: World) -> None:
    async with world.worker(workflows=[Sum], activities=[add]):
        for i in range(6):
            await world.start("Sum", f"w{i}", 2)
        for i in range(6):
            await world.result(f"w{i}")
    topics = world.connection.topics
    for topic in (topics.workflow_tasks("q"), topics.activity_tasks("q")):
        found = await asyncio.to_thread(world.committed, topic)
        assert sum(end for _, end in found.values()) >= 12
        for committed, end in found.values():
            if end:
                assert committed is not None
                assert committed.offset == end
                chain = load_chain(committed.metadata)
                assert chain is not None
                assert chain.known


async def test_nothing_is_done_twice_by_the_next_worker(world: World) -> None:
    async with world.worker(workflows=[Sum], activities=[add]):
        await world.start("Sum", "w", 3)
        await world.result("w")
    before = len(world.events(WorkflowTaskCompleted)), len(world.events(ActivityCompleted))
    async with world.worker(workflows=[Sum], activities=[add]):
        await world.start("Sum", "v", 1)
        await world.result("v")
    assert (len(world.events(WorkflowTaskCompleted)), len(world.events(ActivityCompleted))) == (
        before[0] + 2, before[1] + 1,
    )


async def test_run_goes_on_until_shutdown(world: World) -> None:
    worker = world.worker(workflows=[Sum], activities=[add])
    running = asyncio.ensure_future(worker.run())
    await world.start("Sum", "w", 1)
    assert await world.result("w") == 1
    worker.shutdown()
    await running
    assert len(world.events(WorkerStopped)) == 1


async def test_run_that_is_cancelled_ends_gracefully(world: World) -> None:
    worker = world.worker(workflows=[Sum], activities=[add])
    running = asyncio.ensure_future(worker.run())
    await world.start("Sum", "w", 1)
    assert await world.result("w") == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(world.events(WorkerStopped)) == 1


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
    @activity.define(name="add")
    async def stuck(value: int, more: int = 1) -> int:
        time.sleep(1.2)  # noqa: ASYNC251
        return value + more

    async with world.worker(workflows=[Sum], activities=[stuck], lost_after=0.4):
        await world.start("Sum", "w", 1)
        assert await world.result("w") == 1
    assert len(world.events(ActivityStarted)) == 1, "nobody took the worker for lost"
