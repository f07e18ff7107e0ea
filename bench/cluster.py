"""Starts what a benchmark needs (broker, engine, worker, each a process of its own) and measures what they use."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from odradek import Client, Worker
from odradek_engine import Engine
from odradek_log import Log, TopicPartition, open_log
from odradek_schemas import Topics

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "kafka"))
sys.path.insert(0, str(HERE))

LOGS = ("embedded", "embedded-nosync", "kafka")


@dataclass
class Cluster:
    """A running system: its client, and its processes by role."""

    client: Client
    log: Log
    namespace: str = "default"
    processes: dict[str, psutil.Process] = field(default_factory=dict)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU used so far, by role."""
        return {role: sum(p.cpu_times()[:2]) for role, p in self.processes.items()}

    def rss_mb(self) -> dict[str, float]:
        """Memory in use now, by role."""
        return {role: p.memory_info().rss / 1e6 for role, p in self.processes.items()}


def _role(stack: AsyncExitStack, name: str, *arguments: str) -> psutil.Process:
    """A process of this benchmark; it prints a line when it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / "roles.py"), name, *arguments], stdout=subprocess.PIPE, cwd=HERE
    )

    def stop() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(20)

    stack.callback(stop)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith(b"ready"):
        raise RuntimeError(f"the {name} process did not start: {line!r}")
    return psutil.Process(process.pid)


@asynccontextmanager
async def kafka(partitions: int) -> AsyncIterator[Cluster]:
    """An engine, a worker, and this process as the client, on a broker: KAFKA_BOOTSTRAP_SERVERS, or a new one."""
    from broker import Broker  # tests/kafka

    async with AsyncExitStack() as stack:
        given = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        broker = None if given else Broker(java=())
        if broker is not None:
            stack.callback(broker.stop)
            await asyncio.to_thread(broker.start)
        target = f"kafka://{given or broker.bootstrap}"  # type: ignore[union-attr]  # one of the two is there
        namespace = f"bench-{uuid.uuid4().hex[:8]}"
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        engine = await asyncio.to_thread(_role, stack, "engine", target, namespace, folder, str(partitions))
        worker = await asyncio.to_thread(_role, stack, "worker", target, namespace)
        client = await stack.enter_async_context(Client(target, namespace=namespace))
        log = open_log(target)
        stack.callback(log.close)
        cluster = Cluster(client, log, namespace)
        cluster.processes = {"client": psutil.Process(), "engine": engine, "worker": worker}
        if broker is not None:
            cluster.processes["broker"] = psutil.Process(broker.process_id)
        yield cluster


@asynccontextmanager
async def embedded(partitions: int, fsync: bool) -> AsyncIterator[Cluster]:
    """Everything in this process, on a folder."""
    from workloads import ACTIVITIES, TASK_QUEUE, WORKFLOWS, eager

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        log = open_log(f"file:{folder}/log", fsync=fsync)
        stack.callback(log.close)
        await stack.enter_async_context(Engine(log=log, data_dir=f"{folder}/state", partitions=partitions))
        client = await stack.enter_async_context(Client(log))
        worker = Worker(
            client, task_queue=TASK_QUEUE, workflows=WORKFLOWS, activities=ACTIVITIES, eager_activities=eager()
        )
        await stack.enter_async_context(worker)
        yield Cluster(client, log, processes={"all in one": psutil.Process()})


def cluster_for(name: str, partitions: int) -> AbstractAsyncContextManager[Cluster]:
    """The cluster on one of LOGS."""
    if name == "kafka":
        return kafka(partitions)
    return embedded(partitions, fsync=name == "embedded")


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def events_appended(cluster: Cluster) -> int:
    """How many records `events` holds."""
    topic = Topics(cluster.namespace).events
    partitions = range(cluster.log.partitions(topic))
    return sum(cluster.log.offsets(TopicPartition(topic, p))[1] for p in partitions)
