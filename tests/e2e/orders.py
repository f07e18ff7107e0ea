"""The orders of the kill tests: three activities, a signal, a timer; every execution leaves a line in a file."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

from odradek import ApplicationError, RetryPolicy, activity, workflow

TASK_QUEUE = "orders"
PATIENT_LOG = {"request_timeout": 120.0}
"""On a busy machine a broker may be slow to answer; no process of the tests is to give up for that."""
STEPS = ("weigh", "charge", "ship", "thank")
PAUSE = 0.3
"""How long an order waits between its steps, in seconds, if it is not told otherwise; its activities last a sixth."""


def note(step: str) -> None:
    """One line, in one write, so that lines of many processes do not mix."""
    info = activity.info()
    line = json.dumps(
        {
            "key": info.idempotency_key,
            "workflow": info.workflow_id,
            "step": step,
            "attempt": info.attempt,
            "at_ms": time.time_ns() // 1_000_000,
            "pid": os.getpid(),
        }
    )
    with open(Path(os.environ["ODRADEK_TEST_LINES"]), "ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


@activity.define(start_to_close_timeout=60, retry_policy=RetryPolicy(initial_interval=0.2))
async def charge(amount: int, seconds: float) -> str:
    note("charge")
    await asyncio.sleep(seconds)
    return f"paid {amount}"


@activity.define(start_to_close_timeout=60, retry_policy=RetryPolicy(initial_interval=0.2))
def ship(amount: int, seconds: float) -> str:
    note("ship")
    if activity.info().attempt == 1 and amount % 10 == 0:
        raise ApplicationError("the van is full")
    time.sleep(seconds)
    return f"shipped {amount}"


@activity.define(start_to_close_timeout=60, retry_policy=RetryPolicy(initial_interval=0.2))
async def thank(amount: int) -> str:
    note("thank")
    return f"thanked {amount}"


@activity.define(start_to_close_timeout=60, retry_policy=RetryPolicy(initial_interval=0.2))
async def weigh(amount: int) -> int:
    note("weigh")
    return amount


@workflow.define
class Order:
    def __init__(self) -> None:
        self.picked_up = 0

    async def run(self, amount: int, pause: float = PAUSE) -> list[str]:
        assert await workflow.execute_local_activity(weigh, amount) == amount
        results = [await charge(amount, pause / 6)]
        async with asyncio.timeout(600):
            await workflow.wait_condition(lambda: self.picked_up >= 2)
        results.append(await ship(amount, pause / 6))
        await asyncio.sleep(pause)
        results.append(await thank(amount))
        return [*results, f"signals {self.picked_up}"]

    @workflow.signal
    def pick_up(self) -> None:
        self.picked_up += 1

    @workflow.query
    def seen(self) -> int:
        return self.picked_up


def expected(amount: int) -> list[str]:
    """What `Order.run` returns, whatever happens to the processes."""
    return [f"paid {amount}", f"shipped {amount}", f"thanked {amount}", "signals 2"]
