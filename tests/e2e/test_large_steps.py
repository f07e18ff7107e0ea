"""Steps of a workflow that are larger than a record may be, from end to end, on both logs."""

from __future__ import annotations

import asyncio

import pytest
from odradek import workflow
from odradek.activity import define

from .system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

ACTIVITIES, EACH_BYTES = 30, 100_000


@define
async def measure(text: str) -> int:
    return len(text)


def large() -> str:
    return "y" * EACH_BYTES


@workflow.define
async def fan_out() -> int:
    """One step with 3 MB of commands, and then one with 3 MB of results of steps inline."""
    sizes = await asyncio.gather(*(measure("x" * EACH_BYTES) for _ in range(ACTIVITIES)))
    texts = [await workflow.side_effect(large) for _ in range(ACTIVITIES)]
    return sum(sizes) + sum(map(len, texts))


async def test_a_step_that_is_larger_than_a_record_is_taken_as_one(system: System) -> None:
    assert 2 * system.client._worker_connection().log.max_record_bytes < ACTIVITIES * EACH_BYTES
    async with system.worker("large", workflows=[fan_out], activities=[measure]):
        handle = await system.client.start(fan_out, id=system.name("large"), task_queue="large")
        assert await handle.result() == 2 * ACTIVITIES * EACH_BYTES
    events = await handle.history()
    steps = [event for event in events if event.type == "WorkflowTaskCompleted"]
    assert len(steps[0].attributes["commands"]) == ACTIVITIES
    assert [e.type for e in events].count("ActivityCompleted") == ACTIVITIES
    assert [e.type for e in events].count("SideEffectRecorded") == ACTIVITIES
    assert not [e for e in events if e.type == "WorkflowTaskFailed"]
