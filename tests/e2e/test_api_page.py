"""The programs that the documentation of the public interface shows: on a clock that skips, as they stand; on both logs
with a minute and a month made short."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from odradek import ApplicationError, Client, Worker, WorkflowFailedError, WorkflowHandle
from odradek.testing import Environment

from . import api_order
from .api_order import Order, Product, charge, compose, greet, notify, refund

POKE = Product(1, "Poke", 1299)


async def test_a_month_after_its_delivery_the_customer_is_asked_for_a_rating() -> None:
    asked: list[str] = []
    fakes = [charge.with_fn(lambda product: "ch_1"), refund, notify.with_fn(asked.append), compose]
    async with Environment(workflows=[Order, greet], activities=fakes) as env:
        order = await env.client.start(Order, POKE, id="o")
        await deliver(order, Order)
        begun = env.now()
        assert await order.result() == "ch_1"
        assert (env.now() - begun).days == 30
        assert (asked, await order.query(Order.status)) == (["Rate your Poke"], "delivered")
        assert await env.client.execute(greet, "Ada", id="g") == "Hello, Ada!"


async def test_refund_when_nobody_picks_up() -> None:
    refunded: list[tuple[Product, str]] = []

    def fake_refund(product: Product, charge_id: str) -> None:
        refunded.append((product, charge_id))

    fakes = [charge.with_fn(lambda product: "ch_1"), refund.with_fn(fake_refund)]
    async with Environment(workflows=[Order], activities=fakes) as env:                  # time skips
        with pytest.raises(WorkflowFailedError) as failed:
            await env.client.execute(Order, Product(1, "Poke", 1299), id="o")
    assert refunded == [(POKE, "ch_1")]
    assert told(failed.value) == ("NotDelivered", "Poke was never picked up")


async def deliver(order: WorkflowHandle[Any, str], workflow: Any) -> None:
    """Say that the order was picked up and delivered, once it is paid."""
    while await order.query(workflow.status) != "paid":
        continue
    await order.signal(workflow.picked_up)
    assert await order.update(workflow.rename, "Poke bowl") == "Poke bowl"
    assert await order.query(workflow.status) == "picked up"
    await order.signal(workflow.delivered)


def told(error: WorkflowFailedError) -> tuple[str, str]:
    cause = error.__cause__
    assert isinstance(cause, ApplicationError)
    return cause.type, cause.message


@pytest.fixture(params=["embedded", "kafka"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "embedded":
        return f"file:{tmp_path / 'data'}"
    return f"kafka://{request.getfixturevalue('kafka_bootstrap')}"


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Any]:
    """The program with hardly anything in place of a month, and for the second product in place of a minute."""
    source = Path(api_order.__file__).read_text()
    shorter = {"timeout(60)": "timeout(60 if product.id == 1 else 0.5)", "sleep(30 * 24 * 3600)": "sleep(0.2)"}
    for long, short in shorter.items():
        assert long in source
        source = source.replace(long, short)
    path = tmp_path / "quick_order.py"
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # where types are looked up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[path.stem]


async def test_the_order_is_delivered_or_refunded(target: str, tmp_path: Path, quick: Any) -> None:
    from odradek_engine import Engine

    namespace = f"page-{tmp_path.name}"
    async with AsyncExitStack() as stack:
        if target.startswith("kafka:"):
            await stack.enter_async_context(Engine(target, namespace=namespace, data_dir=tmp_path / "state"))
        client = await stack.enter_async_context(Client(target, namespace=namespace))
        worker = Worker(client, task_queue="orders", workflows=[quick.Order], activities=[quick.charge, quick.refund])
        await stack.enter_async_context(worker)
        await stack.enter_async_context(Worker(client, task_queue="push", activities=[quick.notify]))
        order = await client.start(quick.Order, quick.Product(1, "Poke", 1299), id="order-42", task_queue="orders",
                                   id_conflict_policy="use_existing")  # fmt: skip
        await deliver(order, quick.Order)
        assert (await order.result(), len(quick.charged)) == ("ch_1299", 1)
        assert await order.query(quick.Order.status) == "delivered"
        late = await client.start(quick.Order, quick.Product(2, "Ramen", 900), id="order-43", task_queue="orders")
        with pytest.raises(WorkflowFailedError) as failed:
            await late.result()
        assert told(failed.value) == ("NotDelivered", "Ramen was never picked up")
