"""Workflows that the command line is tried on."""

import asyncio
from datetime import timedelta
from typing import Any

from odradek import ApplicationError, RetryPolicy, activity, workflow


@activity.define(retry_policy=RetryPolicy(initial_interval=3600, maximum_attempts=7))
async def flaky() -> None:
    raise ConnectionError("the payment service is away")


@activity.define(start_to_close_timeout=timedelta(seconds=5))
async def double(value: int) -> int:
    return value * 2


@workflow.define
async def echo(value: Any = None, other: Any = None) -> list[Any]:
    return [value, other]


@workflow.define
async def retrying() -> None:
    await flaky()


@workflow.define
async def refusing(reason: str) -> None:
    raise ApplicationError(reason, type="Refused")


@workflow.define
async def buggy() -> None:
    raise KeyError("no such dish")


@workflow.define
async def elsewhere(value: int) -> int:
    return await double.with_options(task_queue="other-queue")(value)


@workflow.define
class Counter:
    def __init__(self) -> None:
        self.total = 0

    async def run(self, goal: int) -> int:
        await workflow.wait_condition(lambda: self.total >= goal)
        return self.total

    @workflow.signal
    def add(self, number: int, times: int = 1) -> None:
        self.total += number * times

    @workflow.update
    async def add_and_wait(self, number: int, total: int = 0) -> int:
        self.total += number
        await workflow.wait_condition(lambda: self.total >= total)
        return self.total

    @add_and_wait.validator
    def only_up(self, number: int, total: int = 0) -> None:
        if number < 1:
            raise ApplicationError(f"{number} is not above 0", type="NotUp")

    @workflow.update
    def break_update(self) -> None:
        raise ApplicationError("it broke", type="Broken")

    @workflow.query
    def value(self, factor: int = 1) -> int:
        return self.total * factor

    @workflow.query
    def broken(self) -> int:
        raise ValueError("a query with a defect")


@workflow.define
async def sleeper() -> None:
    await asyncio.sleep(30 * 24 * 3600)


@activity.define(retry_policy=RetryPolicy(maximum_attempts=1), on_exhausted="pause")
async def unreliable(price: int) -> int:
    if activity.info().attempt == 1:
        raise ConnectionError("the carrier is away")
    return price + activity.info().attempt


@workflow.define
async def shipping(price: int) -> int:
    return await unreliable(price)


@activity.define
async def ask_somebody(question: str) -> str:
    raise activity.CompleteAsync


@workflow.define
async def approval(question: str) -> str:
    return await ask_somebody(question)
