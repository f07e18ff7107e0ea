"""The order item on the test kit's clock."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import AsyncMock, Mock

import pytest
from odradek import ActivityError, WorkflowFailedError
from odradek.testing import Environment

from examples.order_item import Item, OrderItem, UnknownItem, WarehouseBusy, archive_order, fulfill_order, init_order

from .recording import recorded

POKE = Item("poke", 2)


async def test_a_busy_warehouse_is_asked_again_with_growing_pauses() -> None:
    async with Environment(workflows=[OrderItem], activities=[init_order, fulfill_order, archive_order]) as env:
        began = env.now()
        order = await env.client.start(OrderItem, POKE, id="item-1")
        assert await order.result() == "parcel for the reservation of item-1"
        assert env.now() - began >= timedelta(milliseconds=200 + 400)
        assert await order.query(OrderItem.current_step) == "done"
        await recorded(order, "order_item-done")


async def test_the_policy_ends_after_eight_attempts() -> None:
    warehouse = Mock(side_effect=WarehouseBusy("always"))
    fakes = {init_order: lambda item: "r", fulfill_order: warehouse, archive_order: Mock()}
    async with Environment(workflows=[OrderItem], activities=fakes) as env:
        began = env.now()
        order = await env.client.start(OrderItem, POKE, id="item-1")
        with pytest.raises(WorkflowFailedError) as failed:
            await order.result()
        assert isinstance(failed.value.cause, WarehouseBusy)
        assert warehouse.call_count == 8
        assert env.now() - began >= timedelta(seconds=0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 6.4 + 12.8)
        assert await order.query(OrderItem.current_step) == "fulfill"
        await recorded(order, "order_item-busy")


async def test_an_unknown_item_is_not_tried_again() -> None:
    archive = AsyncMock()
    fakes = [init_order, fulfill_order, archive_order.with_fn(archive)]
    async with Environment(workflows=[OrderItem], activities=fakes) as env:
        with pytest.raises(WorkflowFailedError) as failed:
            await env.client.execute(OrderItem, Item("unicorn", 1), id="item-1")
    error = failed.value.cause
    assert isinstance(error, UnknownItem)
    assert isinstance(error.__cause__, ActivityError)
    assert error.__cause__.attempt == 1
    archive.assert_not_awaited()
