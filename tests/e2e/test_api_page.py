"""The program that the documentation shows first runs as it stands: an order with payments, signals, timeouts."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from odradek import (
    ApplicationError,
    Client,
    RetryPolicy,
    Worker,
    WorkflowFailedError,
    activity,
    workflow,
)

charged: list[str] = []
refunded: list[str] = []
notified: list[str] = []


@dataclass
class Product:
    id: int
    name: str
    cents: int


class CardDeclined(ApplicationError, non_retryable=True):
    """Raised in an activity, caught as itself in the workflow."""


class payments:  # stands for a module
    @staticmethod
    async def charge(cents: int, idempotency_key: str) -> str:
        charged.append(idempotency_key)
        return f"ch_{cents}"


@activity.define(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=60, maximum_attempts=5),
)
async def charge(product: Product) -> str:
    return await payments.charge(product.cents, idempotency_key=activity.info().idempotency_key)


@activity.define
async def refund(product: Product, charge_id: str) -> None:
    refunded.append(charge_id)


@activity.define
def notify(message: str) -> None:
    notified.append(message)


TIMEOUT, REST = 1.5, 0.2  # a minute and a month, in the documentation


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.delivered_at: datetime | None = None

    async def run(self, product: Product) -> str:
        charge_id = await charge(product)
        self.state = "paid"
        try:
            for step in ("picked up", "delivered"):
                async with asyncio.timeout(TIMEOUT):
                    await workflow.wait_condition(lambda: self.state == step)  # noqa: B023
        except TimeoutError:
            await refund(product, charge_id)
            raise ApplicationError(f"{product.name} was never {step}", type="NotDelivered")  # noqa: B904
        self.delivered_at = workflow.now()
        await asyncio.sleep(REST)
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


@pytest.fixture(params=["embedded", "kafka"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"file:{tmp_path / 'data'}"
    return f"kafka://{request.getfixturevalue('kafka_bootstrap')}"


async def test_the_order_is_delivered_or_refunded(target: str, tmp_path: Path) -> None:
    from contextlib import AsyncExitStack

    from odradek_engine import Engine

    namespace = f"page-{tmp_path.name}"
    async with AsyncExitStack() as stack:
        if target.startswith("kafka:"):
            await stack.enter_async_context(Engine(target, namespace=namespace, data_dir=tmp_path / "state"))
        client = await stack.enter_async_context(Client(target, namespace=namespace))
        await stack.enter_async_context(
            Worker(client, task_queue="orders", workflows=[Order], activities=[charge, refund])
        )
        await stack.enter_async_context(Worker(client, task_queue="push", activities=[notify]))
        order = await client.start(
            Order, Product(1, "Poke", 1299), id="order-42", task_queue="orders", id_conflict_policy="use_existing"
        )
        while await order.query(Order.status) != "paid":
            continue
        await order.signal(Order.picked_up)
        await order.signal(Order.delivered)
        assert await order.result() == "ch_1299"
        assert await order.query(Order.status) == "delivered"
        assert notified.pop() == "Rate your Poke"
        late = await client.start(Order, Product(2, "Ramen", 900), id="order-43", task_queue="orders")
        with pytest.raises(WorkflowFailedError) as failed:
            await late.result()
        cause = failed.value.__cause__
        assert isinstance(cause, ApplicationError)
        assert (cause.type, cause.message) == ("NotDelivered", "Ramen was never picked up")
        assert refunded.pop() == "ch_900"
