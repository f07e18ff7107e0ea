"""The food order on the test kit's clock: every way that it can go, with fakes for what costs money."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import Mock

import pytest
from odradek import WorkflowFailedError
from odradek.testing import Environment

from examples.food_order import CardDeclined, Order, Product, UnknownProduct, charge, notify, refund

from .recording import recorded

POKE = Product(1, "Poke", 1299)


class Kitchen:
    """What the activities did."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refunded: list[str] = []

    def refund(self, product: Product, charge_id: str) -> None:
        self.refunded.append(charge_id)

    def notify(self, message: str) -> None:
        self.told.append(message)

    def environment(self) -> Environment:
        fakes = [charge.with_fn(lambda product: "ch_1"), refund.with_fn(self.refund), notify.with_fn(self.notify)]
        return Environment(workflows=[Order], activities=fakes)


async def test_an_order_that_arrives_is_rated_a_month_later() -> None:
    kitchen = Kitchen()
    async with kitchen.environment() as env:
        order = await env.client.start(Order, POKE, id="o")
        await env.sleep(60)
        await order.signal(Order.picked_up)
        await env.sleep(60)
        await order.signal(Order.delivered)
        delivered = env.now()
        assert await order.result() == "ch_1"
        assert env.now() - delivered >= timedelta(days=30)
        await recorded(order, "food_order-delivered")
    assert kitchen.told == ["Rate your Poke!"]
    assert kitchen.refunded == []


async def test_refund_when_nobody_picks_up() -> None:
    kitchen = Kitchen()
    async with kitchen.environment() as env:
        with pytest.raises(WorkflowFailedError, match="never picked up"):
            await env.client.execute(Order, POKE, id="o")
        order = env.client.get("o", Order)
        assert await order.query(Order.status) == "refunded"
        await recorded(order, "food_order-refunded")
    assert kitchen.refunded == ["ch_1"]


@pytest.mark.parametrize(
    ("error", "attempts", "status", "told"),
    [
        (CardDeclined("no money"), 1, "declined", "Your card was declined: no money"),
        (
            ConnectionError("the bank is away"),
            5,
            "not charged",
            "We could not charge your card. Please order again later.",
        ),
    ],
)
async def test_a_failed_charge_is_told_to_the_customer(error: Exception, attempts: int, status: str, told: str) -> None:
    kitchen = Kitchen()
    bank = Mock(side_effect=error)
    fakes = {charge: bank, refund: kitchen.refund, notify: kitchen.notify}
    async with Environment(workflows=[Order], activities=fakes) as env:
        order = await env.client.start(Order, POKE, id="o")
        with pytest.raises(WorkflowFailedError) as failed:
            await order.result()
        assert type(failed.value.cause) is type(error)
        assert await order.query(Order.status) == status
        await recorded(order, f"food_order-{status.replace(' ', '-')}")
    assert (kitchen.told, kitchen.refunded) == ([told], [])
    assert bank.call_count == attempts


async def test_an_unknown_product_is_refused() -> None:
    kitchen = Kitchen()
    fakes = [charge, refund.with_fn(kitchen.refund), notify.with_fn(kitchen.notify)]
    async with Environment(workflows=[Order], activities=fakes) as env:
        order = await env.client.start(Order, Product(9, "Unicorn", 1), id="o")
        with pytest.raises(WorkflowFailedError) as failed:
            await order.result()
        assert isinstance(failed.value.cause, UnknownProduct)
        assert await order.query(Order.status) == "refused"
        await recorded(order, "food_order-refused")
    assert kitchen.told == ["We cannot take your order: there is no Unicorn for 0.01"]
