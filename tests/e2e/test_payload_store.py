"""Values larger than a record of the log may be: they go by the payload store, and nobody's code sees that."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from odradek import (
    AESGCMCodec,
    ApplicationError,
    Client,
    DataConverter,
    ObjectPayloadStore,
    PayloadTooLargeError,
    RetryPolicy,
    Worker,
    WorkflowDescription,
    WorkflowHandle,
    activity,
    workflow,
)
from odradek.testing import replay
from odradek_schemas import encode

from .system import System, described

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

MB = 1_000_000
MARK = "plain-text-of-nobody"


def large(size: int, mark: str = MARK) -> str:
    return (mark + "-") * (size // (len(mark) + 1))


@activity.define(retry_policy=RetryPolicy(initial_interval=0.01))
async def grow(text: str) -> str:
    if activity.info().attempt == 1:
        activity.heartbeat(text)
        raise ApplicationError("once more", text)
    assert activity.info().heartbeat_details == (text,)
    return text + text


@activity.define
def middle(number: int) -> str:
    return large(80_000, f"m{number}")


@workflow.define
class Heavy:
    def __init__(self) -> None:
        self.signals: list[str] = []

    async def run(self, text: str) -> dict[str, object]:
        await workflow.wait_condition(lambda: bool(self.signals))
        grown = await grow(text)
        async with asyncio.TaskGroup() as group:
            parts = [group.create_task(middle(n)) for n in range(20)]
        if len(grown) != 2 * len(text):
            raise ApplicationError("lost on the way")
        return {"grown": grown, "parts": [len(part.result()) for part in parts]}

    @workflow.signal
    def more(self, text: str) -> None:
        self.signals.append(text)

    @workflow.query
    def everything(self, text: str) -> str:
        return text + "".join(self.signals)

    @workflow.update
    async def swap(self, text: str) -> str:
        return text[::-1]


@workflow.define
async def too_much() -> str:
    return await grow("x" * (MB + 1))


async def stuck(handle: WorkflowHandle[Any, Any]) -> WorkflowDescription:
    """What the workflow says of itself once its code could not go on."""
    found: WorkflowDescription = await described(handle, lambda d: d.task_failure is not None)
    return found


async def test_values_above_the_limit_of_the_log(system: System, tmp_path: Path) -> None:
    codec = AESGCMCodec({"k": os.urandom(32)})
    converter = DataConverter(codec=codec, store=ObjectPayloadStore(tmp_path / "payloads"))
    queue, workflow_id, text = system.name("heavy"), system.name("h"), large(MB + 100_000)
    async with (
        Client(system.log, namespace=system.namespace, data_converter=converter) as client,
        Worker(client, task_queue=queue, workflows=[Heavy], activities=[grow, middle], cache_bytes=1),
    ):
        handle = await client.start(Heavy, text, id=workflow_id, task_queue=queue, memo={"m": text})
        assert await handle.query(Heavy.everything, text) == text
        assert await handle.update(Heavy.swap, text) == text[::-1]
        await handle.signal(Heavy.more, text)
        result = await handle.result()
        assert result == {"grown": text + text, "parts": [len(large(80_000, f"m{n}")) for n in range(20)]}
        assert await handle.query(Heavy.everything, "") == text
        assert (await handle.describe()).memo == {"m": text}
        exported = await handle.export()
        events = await handle.history()
    assert text in str(events[0])
    assert "odradek/stored" not in exported
    elsewhere = DataConverter(codec=codec, store=ObjectPayloadStore(tmp_path / "empty"))  # an export holds everything
    await asyncio.to_thread(replay, exported, workflows=[Heavy], data_converter=elsewhere)
    batches = await system.read(system.topics.history, lambda found: len(found) > 20)
    in_log = [encode(batch) for batch in batches]
    assert max(len(event) for batch in batches for event in batch.events) < 200_000
    kept = [path.read_bytes() for path in (tmp_path / "payloads").rglob("*") if path.is_file()]
    assert len(kept) >= 6
    assert not any(MARK.encode() in data for data in [*kept, *in_log]), "what leaves is encrypted first"


async def test_without_the_store_a_workflow_waits_for_a_worker_that_has_it(system: System, tmp_path: Path) -> None:
    converter = DataConverter(store=ObjectPayloadStore(tmp_path / "payloads"))
    queue, text = system.name("q"), large(MB)
    async with Client(system.log, namespace=system.namespace, data_converter=converter) as client:
        handle = await client.start(Heavy, text, id=system.name("h"), task_queue=queue)
        async with system.worker(queue, workflows=[Heavy], activities=[grow, middle]):
            seen = await stuck(handle)
        assert "has no payload store" in str(seen.task_failure)
        async with Worker(client, task_queue=queue, workflows=[Heavy], activities=[grow, middle]):
            await described(handle, lambda d: d.task_failure is None)
            assert await handle.query(Heavy.everything, "") == ""
            await handle.terminate("done")


async def test_without_a_store_values_too_large_are_refused_at_the_call(system: System) -> None:
    queue = system.name("q")
    with pytest.raises(PayloadTooLargeError, match=r"DataConverter\(store="):
        await system.client.start(Heavy, "x" * (MB + 1), id=system.name("h"), task_queue=queue)
    async with system.worker(queue, workflows=[too_much], activities=[grow]):
        handle = await system.client.start(too_much, id=system.name("t"), task_queue=queue)
        seen = await stuck(handle)
        assert "1,000,003 bytes" in str(seen.task_failure)
        assert "await grow(" in seen.task_failure_traceback
        await handle.terminate("done")

