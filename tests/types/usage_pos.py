# ruff: noqa
"""Everything here must pass `mypy --strict` and `pyright` strict."""
from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel
from typing_extensions import assert_type

from odradek import ActivityError, ApplicationError, Client, RetryPolicy, Worker, WorkflowHandle, activity, workflow
from odradek._activity import AsyncActivity, SyncActivity
from odradek.testing import Environment


@dataclass
class Product:
    id: int
    name: str
    cents: int


class Receipt(BaseModel):
    charge_id: str


class CardDeclined(ApplicationError, non_retryable=True):
    """Raised in an activity, caught as itself in the workflow."""


@activity.define(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=60, maximum_attempts=5),
)
async def charge(product: Product) -> str:
    return f"{product.cents} {activity.info().idempotency_key}"


@activity.define
async def refund(product: Product, charge_id: str, *, note: str = "") -> Receipt:
    return Receipt(charge_id=charge_id)


@activity.define
def notify(message: str) -> int:
    return len(message)


@activity.define(name="Log")
def log(line: str, level: int = 1) -> None: ...


class Payments:
    def __init__(self, pool: object) -> None:
        self.pool = pool

    @activity.define(start_to_close_timeout=5)
    async def charge(self, product: Product, note: str = "") -> Receipt:
        return Receipt(charge_id=str(product.id) + note)

    @activity.define
    def audit(self, line: str) -> bytes:
        return line.encode()

    async def both(self, product: Product) -> Receipt:
        return await self.charge(product)


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.delivered_at: datetime | None = None

    async def run(self, product: Product, gift: bool = False) -> str:
        charge_id = assert_type(await charge(product), str)
        assert_type(await refund(product, charge_id, note="x"), Receipt)
        assert_type(await refund(product=product, charge_id=charge_id), Receipt)
        assert_type(await notify("hi"), int)
        assert_type(await notify.with_options(task_queue="push", start_to_close_timeout=5)("hi"), int)
        assert_type(await log("x", level=3), None)
        assert_type(await Payments.charge(product), Receipt)
        assert_type(await Payments.charge.with_options(task_queue="pay")(product, note="n"), Receipt)
        assert_type(await Payments.audit("x"), bytes)
        a, b, c = await asyncio.gather(charge(product), notify("x"), Payments.charge(product))
        assert_type(a, str)
        assert_type(b, int)
        assert_type(c, Receipt)
        many = await asyncio.gather(*[charge(product) for _ in range(3)])
        assert_type(many, list[str])
        async with asyncio.TaskGroup() as tg:
            task = tg.create_task(notify("x"))
        assert_type(task.result(), int)
        other = asyncio.create_task(charge(product))
        assert_type(await other, str)
        assert_type(await asyncio.wait_for(asyncio.shield(charge(product)), 5), str)
        coro: Coroutine[Any, Any, str] = charge(product)
        await coro
        assert_type(await workflow.execute_activity("resize", b"..", 3, result_type=bytes, task_queue="go"), bytes)
        assert_type(await workflow.execute_activity("resize", result_type=list[Product]), list[Product])
        assert_type(await workflow.execute_activity("resize", result_type=str | None), str | None)
        assert_type(await workflow.execute_activity("resize", b"..", 3), Any)
        assert_type(await workflow.execute_activity(refund, product, charge_id, note="x"), Receipt)
        try:
            async with asyncio.timeout(60):
                await workflow.wait_condition(lambda: self.state == "picked up")
            await workflow.wait_condition(lambda: self.delivered_at is not None, timeout=timedelta(minutes=1))
        except TimeoutError:
            raise ApplicationError("no driver was available", type="NotPickedUp")
        except CardDeclined as error:
            if isinstance(error.__cause__, ActivityError):
                print(error.__cause__.attempt)
        self.delivered_at = None
        at = await workflow.wait_condition(lambda: self.delivered_at, timeout=60)
        assert_type(at, datetime)
        self.picked_up("me")                       # a message method is still the plain method in the class
        await self.driver_moved(1.0, 2.0)
        assert_type(self.status(), str)
        assert_type(await self.rename("x"), str)
        assert_type(self.tip(3), int)
        assert_type(await workflow.execute_child(Greet, "x"), bytes)
        assert_type(await workflow.execute_child(greet, "x", id="c", parent_close_policy="abandon"), str)
        child = await workflow.start_child(Order, product, id="child")
        await child.signal(Order.picked_up, "x")
        assert_type(await child.result(), str)
        assert_type(await child, str)
        await workflow.external("order-43").signal(Order.picked_up, "you")
        await workflow.external("order-43", Order).signal(Order.picked_up, by="you")
        await workflow.external("order-43").signal("picked_up", "you")
        assert_type(await workflow.side_effect(lambda: 3), int)
        assert_type(workflow.random().random(), float)
        if workflow.patched("v2"):
            workflow.continue_as_new(Order, product)
        if gift:
            return "x"
        workflow.continue_as_new(Order, product, True, task_queue="q")

    @workflow.signal
    def picked_up(self, by: str, at: int = 0) -> None:
        self.state = "picked up"

    @workflow.signal(name="driverMoved")
    async def driver_moved(self, lat: float, lon: float) -> None: ...

    @workflow.query
    def status(self) -> str:
        return self.state

    @workflow.query(name="eta")
    def eta(self, unit: str = "min") -> float:
        return 1.0

    @workflow.update
    async def rename(self, name: str) -> str:
        return name

    @rename.validator
    def _check_name(self, name: str) -> None: ...

    @workflow.update(name="tip")
    def tip(self, cents: int, note: str = "") -> int:
        return cents


@workflow.define(name="greet-v1")
class Greet:
    async def run(self, name: str) -> bytes:
        return b""


@workflow.define
class Nil:
    async def run(self) -> None: ...


@workflow.define
class Five:
    async def run(self, a: int, b: str, c: float, d: bytes, e: bool = True) -> dict[str, list[Product]]:
        return {}


@workflow.define
class Seven:
    async def run(self, a: int, b: int, c: int, d: int, e: int, f: int, g: int) -> int:
        return 7


@workflow.define
async def greet(name: str, punctuation: str = "!") -> str:
    return name + punctuation


@workflow.define(name="x")
async def nothing() -> None: ...


async def client_side() -> None:
    product = Product(1, "Poke", 1299)
    async with Client("kafka://localhost:9092", namespace="default") as client:
        async with Worker(
            client, task_queue="orders", workflows=[Order, Greet, Nil, Five, greet, nothing],
            activities=[charge, refund, notify, log, Payments(object()).charge, Payments(object()).audit],
        ):
            order = await client.start(Order, product, id="order-42", task_queue="orders", id_conflict_policy="use_existing")
            assert_type(order, WorkflowHandle[Order, str])
            await order.signal(Order.picked_up, "me")
            await order.signal(Order.picked_up, by="me", at=3)
            await order.signal(Order.driver_moved, 1.0, 2)
            await order.signal("picked_up", "me", 3)
            assert_type(await order.query(Order.status), str)
            assert_type(await order.query(Order.eta, unit="s"), float)
            assert_type(await order.query("eta", result_type=float), float)
            assert_type(await order.update(Order.rename, "Poke bowl"), str)
            assert_type(await order.update(Order.tip, 3, note="x"), int)
            assert_type(await order.with_options(request_id="r-7").update(Order.tip, 3), int)
            assert_type(await order.result(), str)
            assert_type(await client.start(Order, product, True, id="o"), WorkflowHandle[Order, str])
            assert_type(await client.execute(Order, product, id="o"), str)
            assert_type(await client.execute(Nil, id="o", memo={"a": 1}), None)
            assert_type(await client.execute(Five, 1, "b", 2.0, b"d", id="o"), dict[str, list[Product]])
            assert_type(await client.execute(Five, 1, "b", 2.0, b"d", False, id="o"), dict[str, list[Product]])
            assert_type(await client.execute(Seven, 1, 2, 3, 4, 5, 6, 7, id="o"), int)
            assert_type(await client.execute(greet, "x", id="o"), str)
            assert_type(await client.execute(greet, "x", "?", id="o"), str)
            assert_type(await client.execute(nothing, id="o"), None)
            assert_type(await client.execute("Order", product, id="o", result_type=str), str)
            assert_type(await client.execute("Order", product, id="o"), Any)
            assert_type(await client.signal_with_start(Order, product, id="o", signal=Order.picked_up, signal_args=["me"]), WorkflowHandle[Order, str])
            assert_type(client.get("o"), WorkflowHandle[Any, Any])
            assert_type(client.get("o", Order), WorkflowHandle[Order, str])
            assert_type(await client.get("o").query(Order.status), str)
            async for execution in client.list("WorkflowType = 'Order'"):
                print(execution.status)


refunds: list[Product] = []


async def fake_refund(product: Product, charge_id: str, *, note: str = "") -> Receipt:
    refunds.append(product)
    return Receipt(charge_id=charge_id)


async def tests() -> None:
    assert_type(notify.fn("x"), int)
    assert_type(await charge.fn(Product(1, "", 1)), str)
    assert_type(Payments(object()).audit.fn("x"), bytes)
    assert_type(await charge(Product(1, "", 1)), str)
    as_declared: AsyncActivity[[Product], str] = charge
    bound: SyncActivity[[str], bytes] = Payments.audit
    print(as_declared, bound)
    async with Environment(workflows=[Order], activities=[
        charge.with_fn(lambda product: "ch_1"), notify.with_fn(lambda message: 3), refund.with_fn(fake_refund),
        Payments.charge.with_fn(lambda product, note="": Receipt(charge_id="x")),
    ]) as env:
        assert_type(await env.client.execute(Order, Product(1, "Poke", 1299), id="o"), str)
    order = Order()
    await order.run(Product(1, "", 1))
    assert_type(order.status(), str)
