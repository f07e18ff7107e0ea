"""The first program of the documentation of the public interface, as it stands; `payments` is what it leaves open."""
# ruff: noqa: B023, B904

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

from odradek import ApplicationError, RetryPolicy, activity, workflow

charged: list[str] = []


class payments:
    @staticmethod
    async def charge(cents: int, idempotency_key: str) -> str:
        charged.append(idempotency_key)
        return f"ch_{cents}"


@dataclass
class Product:
    id: int
    name: str
    cents: int


class CardDeclined(ApplicationError, non_retryable=True):
    """Raised in an activity, caught as itself in the workflow."""


@activity.define(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=60, maximum_attempts=5),
)
async def charge(product: Product) -> str:
    return await payments.charge(product.cents, idempotency_key=activity.info().idempotency_key)


@activity.define
async def refund(product: Product, charge_id: str) -> None: ...


@activity.define                      # a plain `def` runs in a thread
def notify(message: str) -> None: ...


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.delivered_at: datetime | None = None

    async def run(self, product: Product) -> str:
        charge_id = await charge(product)                       # calling an activity is the durable step
        self.state = "paid"
        try:
            for step in ("picked up", "delivered"):
                async with asyncio.timeout(60):                 # a durable timer
                    await workflow.wait_condition(lambda: self.state == step)
        except TimeoutError:
            await refund(product, charge_id)
            raise ApplicationError(f"{product.name} was never {step}", type="NotDelivered")
        self.delivered_at = workflow.now()
        await asyncio.sleep(30 * 24 * 3600)                     # a month costs nothing
        await notify.with_options(task_queue="push", start_to_close_timeout=5)(f"Rate your {product.name}")
        return charge_id

    @workflow.signal
    def picked_up(self) -> None:
        if self.state == "paid":
            self.state = "picked up"

    @workflow.signal
    def delivered(self) -> None:
        if self.state == "picked up":
            self.state = "delivered"

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.update
    async def rename(self, name: str) -> str:
        self.name = name
        return name

    @rename.validator
    def _check_name(self, name: str) -> None: ...               # raise to reject: nothing is recorded


@workflow.define                      # a workflow without messages can be a function
async def greet(name: str) -> str:
    return await compose("Hello", name)


@activity.define
async def compose(greeting: str, name: str) -> str:
    return f"{greeting}, {name}!"
