"""Activities that run eagerly: one record a step, and the same history as by tasks (rule W4)."""

from __future__ import annotations

import asyncio

import pytest
from odradek import activity, workflow
from odradek._worker.eager import MAX_EAGER
from odradek_schemas.commands import ScheduleActivity
from odradek_schemas.records import WorkflowTaskCompleted

from .system import System

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]
STEPS = 10


@activity.define
async def double(number: int) -> int:
    return 2 * number


@workflow.define
async def doubled(count: int) -> int:
    total = 0
    for number in range(count):
        total += await double(number)
    return total


async def test_w4_eager_steps_give_the_history_that_tasks_give(system: System) -> None:
    seen = []
    for eager in (False, True):
        queue = system.name("queue")
        async with system.worker(queue, workflows=[doubled], activities=[double], eager_activities=eager):
            handle = await system.client.start(doubled, STEPS, id=system.name("wf"), task_queue=queue)
            assert await handle.result() == STEPS * (STEPS - 1)
        seen.append([e.type for e in await handle.history()])
    assert seen[0] == seen[1]


@workflow.define
async def fan_out(count: int) -> list[int]:
    return list(await asyncio.gather(*(double(number) for number in range(count))))


async def test_a_fan_out_is_shared_by_all_workers(system: System) -> None:
    """Breaks when one worker keeps all of it, and the others idle."""
    queue = system.name("queue")
    async with system.worker(queue, workflows=[fan_out], activities=[double], eager_activities=True):
        handle = await system.client.start(fan_out, 8, id=system.name("wf"), task_queue=queue)
        assert await handle.result() == [2 * number for number in range(8)]
    found = await system.read(
        system.topics.events,
        lambda found: any(isinstance(r, WorkflowTaskCompleted) and r.workflow_id == handle.id for r in found),
    )
    first = next(r for r in found if isinstance(r, WorkflowTaskCompleted) and r.workflow_id == handle.id)
    scheduled = [command for command in first.commands if isinstance(command, ScheduleActivity)]
    assert len(scheduled) == 8
    assert sum(command.eager for command in scheduled) <= MAX_EAGER
