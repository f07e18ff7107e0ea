"""Old and new workers of one task queue side by side: each workflow runs on the code that it should."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from odradek import Client, Worker, WorkflowHandle
from odradek_engine import Engine

from .system import PATIENCE_S, System
from .trips import version, worker

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120)]


async def begin(client: Client, queue: str, id: str) -> WorkflowHandle[Any, Any]:
    """A trip that has packed, and waits."""
    trip = await client.start("Trip", id=id, task_queue=queue)
    await until(lambda: trip.query("so_far"), f"{id} has packed")
    return trip


async def until(look: Callable[[], Awaitable[Any]], what: str) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while not await look():
        assert time.monotonic() < give_up, f"not after {PATIENCE_S:g} s: {what}"


async def has_workers(trip: WorkflowHandle[Any, Any]) -> bool:
    """Whether the engine has heard of a worker for it: that takes a heartbeat."""
    return (await trip.describe()).workers > 0


async def needed(client: Client, queue: str) -> dict[str | None, int]:
    return {build.build_id: build.open_workflows for build in (await client.builds(queue)).builds}


async def test_r1_pinned_workflows_end_on_the_build_that_they_began_on(system: System) -> None:
    """Rule R1, V: two builds at once, and what is current changes in the middle of running workflows."""
    client, queue = system.client, system.name("pinned")
    async with worker(client, queue, 1):
        await client.set_current_build(queue, "v1")
        old = [await begin(client, queue, system.name("old")) for _ in range(4)]
        async with worker(client, queue, 2):
            await client.set_current_build(queue, "v2")
            new = [await begin(client, queue, system.name("new")) for _ in range(4)]
            assert await needed(client, queue) == {"v1": 4, "v2": 4}
            await until(lambda: has_workers(old[0]), "a worker of v1")
            described = await old[0].describe()
            assert (described.build_id, described.versioning, described.workers) == ("v1", "pinned", 1)
            for trip in [*old, *new]:
                await trip.signal("go")
            for trip in old:
                assert await trip.result() == ["packed by 1", "bus by 1"]
            for trip in new:
                assert await trip.result() == ["packed by 2", "train by 2"]
            await until(lambda: has_workers(new[0]), "a worker of v2")
            builds = (await client.builds(queue)).builds
            assert [(b.build_id, b.current, b.workers, b.open_workflows) for b in builds] == [
                ("v1", False, 1, 0),
                ("v2", True, 1, 0),
            ]


async def test_auto_upgrade_goes_to_the_new_build_with_its_next_task_and_keeps_its_branch(system: System) -> None:
    client, queue = system.client, system.name("moving")
    async with worker(client, queue, 1, "auto_upgrade"):
        await client.set_current_build(queue, "v1")
        before = await begin(client, queue, system.name("before"))
        async with worker(client, queue, 2, "auto_upgrade"):
            await client.set_current_build(queue, "v2")
            assert await before.query("so_far") == ["packed by 1"], "answered by new code, from a replay"
            await before.signal("go")
            assert await before.result() == ["packed by 1", "train by 2"]
            builds = [e.attributes["build_id"] for e in await before.history() if e.type == "WorkflowTaskCompleted"]
            assert (builds[0], builds[-1]) == ("v1", "v2")
            assert (await needed(client, queue))["v2"] == 0


async def test_a_build_without_workers_is_told_and_going_back_helps(system: System) -> None:
    client, queue = system.client, system.name("missing")
    trip, stamp = version(1)
    async with Worker(client, task_queue=queue, workflows=[trip], activities=[stamp]):
        unversioned = await begin(client, queue, system.name("plain"))
        await client.set_current_build(queue, "nobody")
        [warning] = (await unversioned.describe()).warnings
        assert "no worker of build 'nobody'" in warning
        assert (await unversioned.describe()).workers == 0
        await client.set_current_build(queue, None)
        await until(lambda: has_workers(unversioned), "a worker")
        assert (await unversioned.describe()).warnings == ()
        await unversioned.signal("go")
        assert await unversioned.result() == ["packed by 1", "bus by 1"]


async def test_r1_a_reset_of_a_pinned_workflow_goes_on_on_the_current_build_or_the_one_named(system: System) -> None:
    """After a bug fix: it began on v1, and ended wrong there."""
    client, queue = system.client, system.name("reset")
    async with worker(client, queue, 1), worker(client, queue, 2):
        await client.set_current_build(queue, "v1")
        trip = await begin(client, queue, system.name("wrong"))
        await trip.signal("go")
        assert await trip.result() == ["packed by 1", "bus by 1"]
        await client.set_current_build(queue, "v2")
        fixed = await trip.reset(1, reason="the bus is the wrong way")
        assert await fixed.result() == ["packed by 2", "train by 2"]
        again = await fixed.reset(1, build_id="v1")
        assert await again.result() == ["packed by 1", "bus by 1"]
        assert await needed(client, queue) == {"v1": 0, "v2": 0}


async def test_a_workflow_may_be_tried_on_a_build_before_it_is_current(system: System) -> None:
    client, queue = system.client, system.name("canary")
    async with worker(client, queue, 1), worker(client, queue, 2):
        await client.set_current_build(queue, "v1")
        canary = await client.start("Trip", id=system.name("canary"), task_queue=queue, build_id="v2")
        await canary.signal("go")
        assert await canary.result() == ["packed by 2", "train by 2"]


@asynccontextmanager
async def two_engines(kafka_bootstrap: str, folder: Path) -> AsyncIterator[tuple[Client, str]]:
    target, namespace = f"kafka://{kafka_bootstrap}", f"test-{uuid.uuid4().hex[:8]}"
    async with (
        Engine(target, namespace=namespace, data_dir=folder / "a", partitions=16),
        Engine(target, namespace=namespace, data_dir=folder / "b", partitions=16),
        Client(target, namespace=namespace, request_timeout=120) as client,
    ):
        yield client, namespace


class Processes:
    """Workers in processes of their own, each of one build."""

    def __init__(self, target: str, namespace: str) -> None:
        self._program = [sys.executable, str(Path(__file__).parent / "trips.py"), target, namespace]
        self._running: list[asyncio.subprocess.Process] = []

    async def start(self, queue: str, number: int) -> asyncio.subprocess.Process:
        """Returns once it serves."""
        command = [*self._program, queue, str(number)]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        self._running.append(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return process

    async def kill(self) -> None:
        for process in self._running:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Load:
    """Trips that begin and end all the time; each has to be made by one build from its beginning to its end."""

    def __init__(self, client: Client, queue: str) -> None:
        self._client, self._queue = client, queue
        self.made: Counter[tuple[str, ...]] = Counter()
        self.stopping = False
        self._another = asyncio.Event()

    async def run(self) -> None:
        for number in itertools.count():
            if self.stopping:
                return
            trip = await self._client.start("Trip", id=f"load-{number}", task_queue=self._queue)
            await trip.signal("go")
            self.made[tuple(await trip.result())] += 1
            self._another.set()

    async def until(self, outcome: tuple[str, ...], more: int) -> None:
        """Wait for so many more trips of a kind."""
        enough = self.made[outcome] + more
        while self.made[outcome] < enough:
            self._another.clear()
            await asyncio.wait_for(self._another.wait(), PATIENCE_S)


OLD_WAY, NEW_WAY = ("packed by 1", "bus by 1"), ("packed by 2", "train by 2")


@pytest.mark.timeout(240)
async def test_a_rolling_upgrade_of_worker_processes_under_load(kafka_bootstrap: str, tmp_path: Path) -> None:
    """Sixteen partitions, two engines: the switch, the drain, and an old worker that is killed too early."""
    async with two_engines(kafka_bootstrap, tmp_path) as (client, namespace):
        processes, load = Processes(f"kafka://{kafka_bootstrap}", namespace), Load(client, "q")
        await client.set_current_build("q", "v1")
        running = asyncio.create_task(load.run())
        try:
            first = await processes.start("q", 1)
            old = await asyncio.gather(*(begin(client, "q", f"old-{n}") for n in range(8)))
            await load.until(OLD_WAY, 1)
            await processes.start("q", 2)
            await client.set_current_build("q", "v2")
            await load.until(NEW_WAY, 2)
            assert (await needed(client, "q"))["v1"] >= 8, "what still needs the old build"

            first.kill()
            await first.wait()
            await asyncio.gather(*(trip.signal("go") for trip in old))
            await until(lambda: lacks_its_build(old[0]), "v1 is missed")
            await load.until(NEW_WAY, 2)
            assert (await needed(client, "q"))["v1"] >= 8, "they wait for their build, and for no other"

            await processes.start("q", 1)
            assert {tuple(await trip.result()) for trip in old} == {OLD_WAY}
            assert "v1" not in await needed(client, "q") or (await needed(client, "q"))["v1"] == 0, "drained"
            load.stopping = True
            await running
            assert set(load.made) == {OLD_WAY, NEW_WAY}
        finally:
            running.cancel()
            await processes.kill()


async def lacks_its_build(trip: WorkflowHandle[Any, Any]) -> bool:
    """Whether its description says which worker there is not."""
    return any("no worker of build 'v1'" in warning for warning in (await trip.describe()).warnings)
