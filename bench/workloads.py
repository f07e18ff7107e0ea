"""The workflows that the benchmarks run: no-op activities, one after another."""

from __future__ import annotations

from odradek import activity, workflow

TASK_QUEUE = "bench"


@activity.define
async def step(number: int) -> int:
    return number


@workflow.define
class Steps:
    """`count` activities, one after another."""

    async def run(self, count: int) -> int:
        for number in range(count):
            await step(number)
        return count


WORKFLOWS = [Steps]
ACTIVITIES = [step]
