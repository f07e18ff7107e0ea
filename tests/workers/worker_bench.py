"""A whole Odradek in one process, for tests of the worker: an embedded log, an engine, a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from odradek._connection import Connection
from odradek._converter import DataConverter
from odradek._worker import Worker
from odradek_engine import Engine
from odradek_log import Committed, Log, TopicPartition, open_log
from odradek_schemas import DecodeError, Record, Request, decode
from odradek_schemas.ephemeral import AwaitResult, QueryWorkflow
from odradek_schemas.records import SignalWorkflow, StartWorkflow, TerminateWorkflow
from odradek_schemas.replies import QueryResult, WorkflowResult

PARTITIONS = 2
SECONDS = 30.0


class World:
    """Use it with `async with`."""

    interceptors = ()

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.log: Log = open_log(f"file:{folder / 'log'}", fsync=False)
        self.engine = Engine(log=self.log, data_dir=folder / "state", partitions=PARTITIONS)

    async def __aenter__(self) -> World:
        self.engine.start()
        self.connection = await asyncio.to_thread(Connection, self.log, "default", DataConverter())
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.connection.close)
        await asyncio.to_thread(self.engine.stop)
        await asyncio.to_thread(self.log.close)

    def _worker_connection(self) -> Connection:
        return self.connection

    def worker(self, **options: Any) -> Worker:
        """Its activities are tasks, unless a test says otherwise: most look at what is done with tasks."""
        client: Any = self
        options.setdefault("eager_activities", False)
        return Worker(client, task_queue="q", **options)

    # ------------------------------------------------------------ asking

    async def _ask(self, how: Callable[..., str], workflow_id: str, make: Callable[[Request], Record]) -> Any:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        how(workflow_id, make, lambda reply: loop.call_soon_threadsafe(answer.set_result, reply), timeout=SECONDS)
        reply = await answer
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def start(self, workflow_type: str, workflow_id: str, *args: Any) -> None:
        values = self.connection.converter.to_payloads(args)
        reply = await self._ask(self.connection.append, workflow_id, lambda request: StartWorkflow(
            workflow_id=workflow_id, workflow_type=workflow_type, task_queue="q", input=values, request=request
        ))
        assert reply.outcome == "started"

    async def signal(self, workflow_id: str, signal: str) -> None:
        reply = await self._ask(self.connection.append, workflow_id, lambda request: SignalWorkflow(
            workflow_id=workflow_id, signal=signal, request=request
        ))
        assert reply.outcome == "ok"

    async def terminate(self, workflow_id: str) -> None:
        await self._ask(self.connection.append, workflow_id, lambda request: TerminateWorkflow(
            workflow_id=workflow_id, request=request
        ))

    async def closed(self, workflow_id: str) -> WorkflowResult:
        reply = await self._ask(self.connection.wait_for, workflow_id, lambda request: AwaitResult(
            workflow_id=workflow_id, request=request
        ))
        assert isinstance(reply, WorkflowResult)
        return reply

    async def result(self, workflow_id: str) -> Any:
        reply = await self.closed(workflow_id)
        assert reply.status == "completed", reply
        assert reply.result is not None
        return self.connection.converter.from_payload(reply.result)

    async def query(self, workflow_id: str, query: str) -> QueryResult:
        reply = await self._ask(self.connection.ask, workflow_id, lambda request: QueryWorkflow(
            workflow_id=workflow_id, query=query, request=request
        ))
        assert isinstance(reply, QueryResult)
        return reply

    # ------------------------------------------------------------ looking

    def events(self, kind: type[Any]) -> list[Any]:
        """The records of one kind in `events`, as they are now."""
        return [r for r in self._records(self.connection.topics.events) if type(r) is kind]

    def _records(self, topic: str) -> list[Record]:
        found: list[Record] = []
        consumer = self.log.consumer()
        try:
            for partition in range(PARTITIONS):
                at = TopicPartition(topic, partition)
                position, end = self.log.offsets(at)
                consumer.assign({at: position})
                while position < end:
                    for record in consumer.poll(1.0):
                        position = record.offset + 1
                        try:
                            found.append(decode(record.value))
                        except DecodeError:
                            continue
        finally:
            consumer.close()
        return found

    async def until(self, kind: type[Any], condition: Callable[[Any], bool] = lambda _: True) -> Any:
        """Wait for such a record in `events`."""
        async with asyncio.timeout(SECONDS):
            while True:
                for record in await asyncio.to_thread(self.events, kind):
                    if condition(record):
                        return record
                await asyncio.sleep(0.02)  # nothing wakes a reader of the whole topic

    async def tasks_sent(self, count: int) -> None:
        """Wait until so many activity tasks have been sent."""
        topic = self.connection.topics.activity_tasks("q")
        async with asyncio.timeout(SECONDS):
            while len(await asyncio.to_thread(self._records, topic)) < count:
                await asyncio.sleep(0.02)  # nothing wakes a reader of the whole topic

    def committed(self, topic: str) -> dict[int, tuple[Committed | None, int]]:
        """What the topic's group has committed, and the topic's ends, by partition. Joins the group to find out."""
        seen: dict[TopicPartition, Committed | None] = {}
        consumer = self.log.consumer()

        def assigned(partitions: dict[TopicPartition, Committed | None]) -> dict[TopicPartition, int]:
            seen.update(partitions)
            return {}

        consumer.subscribe(topic, [topic], assigned, lambda partitions: None)
        try:
            while len(seen) < PARTITIONS:
                consumer.poll(0.1)
        finally:
            consumer.close()
        return {p.partition: (at, self.log.offsets(p)[1]) for p, at in seen.items()}
