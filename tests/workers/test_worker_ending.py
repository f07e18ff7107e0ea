"""How the worker ends, on the embedded log with a real engine: what it gives back, and what the next one finds."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from odradek import activity
from odradek._worker import worker as worker_module
from odradek._worker.chain import load_chain
from odradek_log.renewing import RenewingProducer
from odradek_schemas.records import (
    ActivityCompleted,
    ActivityHandedBack,
    WorkerStopped,
    WorkflowTaskCompleted,
)

from .worker_bench import SECONDS, World
from .worker_programs import Gate, Gated, Sum, add


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
        async with asyncio.timeout(SECONDS):
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
