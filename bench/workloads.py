"""The workflows that the benchmarks run: no-op activities, one after another."""

from __future__ import annotations

import os

from odradek import activity, workflow

TASK_QUEUE = "bench"


def eager() -> bool:
    """Whether activities run eagerly; with the variable set, each is a task."""
    return not os.environ.get("ODRADEK_BENCH_TASKS")


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
