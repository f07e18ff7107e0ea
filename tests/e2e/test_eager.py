"""Activities that run eagerly: one record a step, and the same history as by tasks (rule W4)."""

from __future__ import annotations

import pytest
from odradek import activity, workflow

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
