"""The food order on the test kit's clock: every way that it can go, with fakes for what costs money."""

from __future__ import annotations

from datetime import timedelta

import pytest
from odradek import WorkflowFailedError
from odradek.testing import Environment

from examples.food_order import CardDeclined, Order, Product, charge, notify, refund

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
    assert kitchen.told == ["Rate your Poke!"]
    assert kitchen.refunded == []


async def test_refund_when_nobody_picks_up() -> None:
    kitchen = Kitchen()
    async with kitchen.environment() as env:
        with pytest.raises(WorkflowFailedError, match="never picked up"):
            await env.client.execute(Order, POKE, id="o")
        assert await env.client.get("o", Order).query(Order.status) == "refunded"
    assert kitchen.refunded == ["ch_1"]


async def test_a_declined_card_is_told_to_the_customer() -> None:
    def decline(product: Product) -> str:
        raise CardDeclined("no money")

    kitchen = Kitchen()
    fakes = {charge: decline, refund: kitchen.refund, notify: kitchen.notify}
    async with Environment(workflows=[Order], activities=fakes) as env:
        with pytest.raises(WorkflowFailedError):
            await env.client.execute(Order, POKE, id="o")
    assert kitchen.told == ["Your card was declined: no money"]
