"""A workflow and its activities that several tests use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime

from odradek import activity, workflow
from odradek._types import RetryPolicy
from odradek.errors import (
    ApplicationError,
)


@dataclass
class Product:
    name: str
    cents: int


class CardDeclined(ApplicationError, non_retryable=True):
    pass


@activity.define(start_to_close_timeout=10, retry_policy=RetryPolicy(maximum_attempts=5, maximum_interval=60))
async def charge(product: Product) -> str:
    raise AssertionError("a workflow does not run activities itself")


@activity.define
def price(name: str) -> Product:
    raise AssertionError("a workflow does not run activities itself")


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.log: list[str] = []

    async def run(self, product: Product) -> str:
        charge_id = await charge(product)
        self.state = "paid"
        try:
            for step in ("picked up", "delivered"):
                async with asyncio.timeout(60):
                    await workflow.wait_condition(lambda step=step: self.state == step)  # type: ignore[misc]
                self.log.append(step)
        except TimeoutError:
            raise ApplicationError(f"never {step}", type="NotDelivered") from None
        return charge_id

    @workflow.signal
    def picked_up(self) -> None:
        if self.state == "paid":
            self.state = "picked up"

    @workflow.signal
    def delivered(self, at: datetime | None = None) -> None:
        if self.state == "picked up":
            self.state = "delivered"

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.query
    def steps(self, first: int, *, last: int = 10) -> list[str]:
        return self.log[first:last]
