"""Workflows that use what workflows can, run by the real engine and workers, for the log that they leave behind."""

from __future__ import annotations

import asyncio
from pathlib import Path

from odradek import ApplicationError, Client, RetryPolicy, Worker, activity, workflow
from odradek.errors import WorkflowNotFoundError
from odradek_engine import Engine
from odradek_log import Log, TopicPartition, open_log
from odradek_schemas import Topics

from .golden import Entry, GoldenLog

PARTITIONS = 2
RETRY = RetryPolicy(initial_interval=0.01, maximum_attempts=3)


@activity.define(retry_policy=RETRY)
async def step(name: str) -> str:
    if name == "twice" and activity.info().attempt == 1:
        raise ApplicationError("not yet")
    if name == "never":
        raise ApplicationError("no", non_retryable=True)
    return name


@workflow.define
class Leaf:
    async def run(self, number: int) -> int:
        if number < 0:
            raise ApplicationError("negative")
        await asyncio.sleep(0.01)
        return number


@workflow.define
class Order:
    def __init__(self) -> None:
        self.said: list[str] = []

    async def run(self, round: int) -> list[str]:
        self.said.append(await step("twice"))
        try:
            async with asyncio.timeout(0.01):
                await workflow.wait_condition(lambda: False)
        except TimeoutError:
            self.said.append("late")
        try:
            await step("never")
        except Exception:  # whatever becomes of it
            self.said.append("failed")
        leaf = await workflow.start_child(Leaf, round, id=f"{workflow.info().workflow_id}-leaf-{round}")
        self.said.append(str(await leaf.result()))
        if round < 2:
            await workflow.wait_condition(lambda: "go" in self.said)
            workflow.continue_as_new(Order, round + 1)
        return self.said

    @workflow.signal
    def say(self, word: str) -> None:
        self.said.append(word)

    @workflow.update
    async def ask(self, word: str) -> int:
        self.said.append(await step(word))
        return len(self.said)

    @ask.validator
    def _polite(self, word: str) -> None:
        if word == "rude":
            raise ValueError("no")


@workflow.define
class Waits:
    """Until it is told, or cancelled."""

    def __init__(self) -> None:
        self.told = False

    async def run(self) -> None:
        await workflow.wait_condition(lambda: self.told)

    @workflow.signal
    def tell(self) -> None:
        self.told = True


@workflow.define
class Family:
    """Children that end in each way, messages that arrive and that do not, and whatever else code may ask for."""

    async def run(self, taken: str) -> list[str]:
        workflow.patched("new")
        workflow.deprecate_patch("old")
        workflow.upsert_search_attributes({"stage": "one"})
        name = workflow.info().workflow_id
        timer = asyncio.create_task(asyncio.sleep(3600))
        await asyncio.sleep(0)
        timer.cancel()
        ends = [
            workflow.execute_child(Leaf, -1, id=f"{name}-fails"),
            workflow.execute_child(Leaf, 1, id=taken),
            workflow.execute_child(Waits, id=f"{name}-slow", execution_timeout=0.05),
            workflow.execute_child(Waits, id=f"{name}-ended"),
            self.told(await workflow.start_child(Waits, id=f"{name}-told")),
            self.cancelled(await workflow.start_child(Waits, id=f"{name}-cancelled")),
            workflow.external(f"{name}-nobody", Waits).signal(Waits.tell),
            workflow.external(f"{name}-nobody").cancel(),
        ]
        return [type(end).__name__ for end in await asyncio.gather(*ends, return_exceptions=True)]

    async def told(self, child: workflow.ChildWorkflowHandle[Waits, None]) -> None:
        await child.signal(Waits.tell)
        await child

    async def cancelled(self, child: workflow.ChildWorkflowHandle[Waits, None]) -> None:
        await workflow.external(child.id).cancel()
        other = asyncio.create_task(workflow.execute_child(Waits, id=f"{child.id}-by-its-parent"))
        await asyncio.sleep(0.01)
        other.cancel()
        await asyncio.gather(child, other, return_exceptions=True)


async def record_logs(folder: Path) -> dict[str, GoldenLog]:
    """The partitions of a small namespace in which all that has happened."""
    log = await asyncio.to_thread(open_log, f"file:{folder}")
    try:
        async with (
            Engine(log=log, namespace="golden", data_dir=folder / "state", partitions=PARTITIONS),
            Client(log, namespace="golden") as client,
        ):
            await _run(client)
        return {f"orders-{number}": _read(log, number) for number in range(PARTITIONS)}
    finally:
        await asyncio.to_thread(log.close)


async def _run(client: Client) -> None:
    workflows = [Order, Leaf, Family, Waits]
    old = Worker(client, task_queue="q", workflows=workflows, activities=[step])
    new = Worker(client, task_queue="q", workflows=workflows, activities=[step], build_id="v1")
    async with old, new:
        await asyncio.gather(*(_order(client, f"order-{number}") for number in range(4)))
        await client.set_current_build("q", "v1")
        await asyncio.gather(*(_order(client, f"order-{number}") for number in range(4, 8)))
        again = await client.get("order-1", Order).reset(1)
        await again.pause("a look")
        await again.unpause()
        await again.cancel()
        failed = await client.start(Leaf, -1, id="leaf", task_queue="q", retry_policy=RETRY)
        await asyncio.gather(again.result(), failed.result(), return_exceptions=True)
        for number in range(2):
            await _family(client, f"family-{number}")
        endless = await client.start(Order, 1, id="endless", task_queue="q")
        await endless.terminate("enough")


async def _family(client: Client, id: str) -> None:
    taken = await client.start(Waits, id=f"{id}-taken", task_queue="q")
    family = await client.start(Family, taken.id, id=id, task_queue="q")
    while True:
        try:
            await client.get(f"{id}-ended").terminate("enough")
            break
        except WorkflowNotFoundError:
            continue  # it is still to be started
    await family.result()
    await taken.terminate()


async def _order(client: Client, id: str) -> None:
    order = await client.start(Order, 1, id=id, task_queue="q")
    await order.update(Order.ask, "please")
    try:
        await order.update(Order.ask, "rude")
    except Exception:
        await order.signal(Order.say, "go")
    await order.signal(Order.say, "go")
    await order.signal(Order.say, "go")
    await order.result()


def _read(log: Log, partition: int) -> GoldenLog:
    source = TopicPartition(Topics("golden").events, partition)
    _, end = log.offsets(source)
    consumer = log.consumer()
    consumer.assign({source: 0})
    entries: list[Entry] = []
    while len(entries) < end:
        entries.extend(Entry(record.timestamp_ms, record.key, record.value) for record in consumer.poll(1.0))
    consumer.close()
    return GoldenLog(partition, entries)
