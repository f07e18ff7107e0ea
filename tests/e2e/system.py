"""A whole system on either log: engine, client, and workers as a test needs them."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from odradek import Client, Worker
from odradek_engine import Engine
from odradek_log import Log, TopicPartition, open_log
from odradek_schemas import Record, Topics, decode, encode, partition_of

PARTITIONS = 4
PATIENCE_S = 60.0
"""For what takes a moment, unless the machine is busy."""


async def described(handle: Any, holds: Callable[[Any], object]) -> Any:
    """The first description for which `holds` is true; a read sees what is acknowledged, not what is under way."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds(found := await handle.describe()):
        assert time.monotonic() < give_up, f"it stays like this: {found}"
    return found


class System:
    """`log` is the same one that engine and client use; `target` is its address, for other processes."""

    def __init__(self, log: Log, target: str, namespace: str, client: Client) -> None:
        self.log = log
        self.target = target
        self.namespace = namespace
        self.client = client
        self.topics = Topics(namespace)
        self._numbers = itertools.count()

    def name(self, what: str) -> str:
        """A name that no other test uses."""
        return f"{what}-{next(self._numbers)}-{self.namespace}"

    def worker(self, queue: str, **options: Any) -> Worker:
        return Worker(self.client, task_queue=queue, **options)

    def home(self, workflow_id: str) -> int:
        return partition_of(workflow_id.encode(), PARTITIONS)

    async def append(self, value: bytes | Record, key: str, partition: int | None = None) -> int:
        """Append to `events` as anybody may, and return the offset."""
        producer = self.log.producer()
        delivered: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        loop = asyncio.get_running_loop()

        def done(offset: int, error: Exception | None) -> None:
            if error is None:
                loop.call_soon_threadsafe(delivered.set_result, offset)
            else:
                loop.call_soon_threadsafe(delivered.set_exception, error)

        data = value if isinstance(value, bytes) else encode(value)
        where = self.home(key) if partition is None else partition
        producer.send(self.topics.events, where, key.encode(), data, done)
        offset = await delivered
        await asyncio.to_thread(producer.close)
        return offset

    async def read(self, topic: str, until: Any) -> list[Record]:
        """Read a topic from its beginning until `until(records)` is true; return the records."""
        return await asyncio.to_thread(self._read, topic, until)

    def _read(self, topic: str, until: Any) -> list[Record]:
        consumer = self.log.consumer()
        consumer.assign({TopicPartition(topic, p): 0 for p in range(self.log.partitions(topic))})
        found: list[Record] = []
        give_up = time.monotonic() + PATIENCE_S
        while not until(found):
            assert time.monotonic() < give_up, f"{topic} has {len(found)} records, not what is waited for"
            found.extend(decode(record.value) for record in consumer.poll(1.0))
        consumer.close()
        return found


@asynccontextmanager
async def system_on(target: str, folder: Path, namespace: str = "") -> AsyncIterator[System]:
    """A namespace on the log at `target`: a new one, unless it is named."""
    namespace = namespace or f"test-{uuid.uuid4().hex[:8]}"
    log = await asyncio.to_thread(open_log, target)
    try:
        async with (
            Engine(log=log, namespace=namespace, data_dir=folder, partitions=PARTITIONS),
            Client(log, namespace=namespace) as client,
        ):
            yield System(log, target, namespace, client)
    finally:
        await asyncio.to_thread(log.close)
