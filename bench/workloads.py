"""The workflows that the benchmarks run: no-op activities, one after another; and one that counts signals."""

from __future__ import annotations

import os
from typing import Any

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


@workflow.define
class Counted:
    """Hears the numbers from 0 on, each once and in order, and continues as new after `every` of them.

    Returns how many it heard, how many runs that took, and what was out of order: (expected, heard).
    """

    def __init__(self) -> None:
        self.heard = self.here = 0
        self.wrong: list[tuple[int, int]] = []

    async def run(self, heard: int, runs: int, wrong: list[tuple[int, int]], total: int, every: int) -> list[Any]:
        self.heard += heard
        self.wrong = wrong + self.wrong
        await workflow.wait_condition(lambda: self.here >= every or self.heard >= total)
        if self.heard < total:
            workflow.continue_as_new(Counted, self.heard, runs + 1, self.wrong, total, every)
        return [self.heard, runs + 1, self.wrong]

    @workflow.signal
    def number(self, number: int) -> None:
        if number != self.heard:
            self.wrong.append((self.heard, number))
        self.heard += 1
        self.here += 1


WORKFLOWS = [Steps, Counted]
ACTIVITIES = [step]
