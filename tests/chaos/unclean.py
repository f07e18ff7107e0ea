"""An unclean leader election on real brokers: the log loses records that it had acknowledged (rule L3).

Not collected with the other tests, as each takes half a minute: `make chaos` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from odradek import Client, Worker, WorkflowNotFoundError, activity, workflow
from odradek_engine import maintenance
from odradek_log import open_log
from odradek_schemas import Topics, encode, records

from ..kafka.broker import die_with_parent
from ..kafka.cluster import Cluster

QUEUE = "q"
KEPT, LOST = 5, 20
MORE = 200
"""More than what is lost: what lands in the place of that waits until tasks are emitted again, for ten minutes."""
PATIENCE_S = 60.0
"""Within so long an engine notices: brokers are missed after nine seconds, requests to them given up after twenty."""


@activity.define(start_to_close_timeout=60)
async def greet(name: str) -> str:
    return f"hello {name}"


@workflow.define
class Guest:
    def __init__(self) -> None:
        self.named: list[str] = []

    async def run(self) -> str:
        await workflow.wait_condition(lambda: bool(self.named))
        return await greet(self.named[0])

    @workflow.signal
    def call(self, name: str) -> None:
        self.named.append(name)


class Engine:
    """An engine process, and what it says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []

    async def says(self, what: str) -> None:
        assert self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode():
            self.said.append(line)
            if what in line:
                return
        pytest.fail("".join(["the engine has ended:\n", *self.said[-30:]]))


@asynccontextmanager
async def an_engine(cluster: Cluster, namespace: str, folder: Path) -> AsyncIterator[Engine]:
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("odradek")), "engine", "--log", f"kafka://{cluster.bootstrap}",
        "-n", namespace, "--partitions", "1", "--data", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, preexec_fn=die_with_parent,
    )  # fmt: skip
    engine = Engine(process)
    try:
        yield engine
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster() as cluster:
        yield cluster


def make_events(cluster: Cluster, topic: str) -> None:
    """With copies on the first two brokers, of which one is enough, also to lead, whatever it lacks."""
    settings = {
        "min.insync.replicas": "1", "unclean.leader.election.enable": "true", "retention.ms": "-1",
        "message.timestamp.type": "LogAppendTime",
    }  # fmt: skip
    admin = AdminClient({"bootstrap.servers": cluster.direct})
    [made] = admin.create_topics([NewTopic(topic, 1, replica_assignment=[[1, 2]], config=settings)]).values()
    made.result()


def until(cluster: Cluster, topic: str, reached: Callable[[int, list[int]], bool]) -> None:
    """Wait for the leader and the copies in sync that a topic's partition has."""
    admin = AdminClient({"bootstrap.servers": cluster.direct, "log_level": 0, "reconnect.backoff.ms": 50})
    give_up = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up:
        with contextlib.suppress(KafkaException):
            found = admin.list_topics(topic, timeout=1.0).topics[topic].partitions.get(0)
            if found is not None and reached(found.leader, found.isrs):
                return
        time.sleep(0.1)  # nothing announces it
    pytest.fail("not reached")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("stands_still", [False, True], ids=["reads on", "stands still meanwhile"])
async def test_l3_an_engine_whose_brokers_lose_records_raises_an_alarm_and_goes_on(
    cluster: Cluster, tmp_path: Path, stands_still: bool
) -> None:
    """Breaks when an engine goes on with what its log has lost, passes over what comes in its place, or ends; or when
    a process hangs whose producer is out of step with its broker.

    One that stands still meanwhile finds a log that has grown beyond where it was.
    """
    namespace = f"unclean-{uuid.uuid4().hex[:8]}"
    topic, target = Topics(namespace).events, f"kafka://{cluster.bootstrap}"
    make_events(cluster, topic)
    async with (
        an_engine(cluster, namespace, tmp_path) as engine,
        Client(target, namespace=namespace, request_timeout=120) as client,
        Worker(client, task_queue=QUEUE, workflows=[Guest], activities=[greet]),
    ):
        await begin(client, "kept", KEPT)
        first, second, _ = cluster.brokers
        second.kill()
        await asyncio.to_thread(until, cluster, topic, lambda leader, in_sync: in_sync == [1])
        await begin(client, "lost", LOST)
        if stands_still:
            engine.process.send_signal(signal.SIGSTOP)
        first.kill()
        second.spawn()
        await asyncio.to_thread(until, cluster, topic, lambda leader, in_sync: leader == 2)
        if stands_still:
            await asyncio.to_thread(append, target, topic, MORE)
            engine.process.send_signal(signal.SIGCONT)
        await asyncio.wait_for(engine.says("discarded and rebuilt"), PATIENCE_S)
        assert "ALARM" in engine.said[-1]
        if not stands_still:
            await asyncio.to_thread(append, target, topic, MORE)
        await begin(client, "new", 1)
        for name in ("kept-0", "new-0"):
            handle = client.get(name, Guest)
            await handle.signal(Guest.call, name)
            assert await asyncio.wait_for(handle.result(), PATIENCE_S) == f"hello {name}"
        with pytest.raises(WorkflowNotFoundError):
            await client.get("lost-0").describe()
    log = open_log(target)
    [verified] = maintenance.verify(log, namespace, tmp_path)
    assert (verified.ok, verified.problems) == (True, [])
    log.close()


async def begin(client: Client, name: str, count: int) -> None:
    for number in range(count):
        await client.start(Guest, id=f"{name}-{number}", task_queue=QUEUE)


def append(target: str, topic: str, count: int) -> None:
    """As any service may, whoever leads."""
    log = open_log(target)
    producer = log.producer()
    for number in range(count):
        start = records.StartWorkflow(workflow_id=f"more-{number}", workflow_type="Guest", task_queue=QUEUE)
        producer.send(topic, 0, start.workflow_id.encode(), encode(start))
    assert producer.flush(PATIENCE_S) == 0
    log.close()
