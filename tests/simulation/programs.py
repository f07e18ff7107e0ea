"""The programs that run in simulated clusters: the food order, with its activities noted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from odradek import (
    Client,
    RequestTimeoutError,
    WorkflowFailedError,
    WorkflowNotFoundError,
    activity,
)
from odradek.errors import ClientClosedError, UnavailableError

from examples import food_order

from .journal import Acknowledged, Journal, executed

T = TypeVar("T")
QUEUE = "orders"
STEPS = (
    (food_order.Order.picked_up, "paid", "picked up"),
    (food_order.Order.delivered, "picked up", "delivered"),
)
"""What the courier says, when, and what the order is then."""


async def _charge(product: food_order.Product) -> str:
    executed()
    await asyncio.sleep(0.01)
    if product.cents > food_order.CARD_LIMIT_CENTS:
        raise food_order.CardDeclined("above the limit")
    return f"ch_{activity.info().idempotency_key[:12]}"


async def _refund(product: food_order.Product, charge_id: str) -> None:
    executed()
    await asyncio.sleep(0.5)


def _notify(message: str) -> None:
    executed()


ORDER_ACTIVITIES = [
    food_order.charge.with_fn(_charge),
    food_order.refund.with_fn(_refund),
    food_order.notify.with_fn(_notify),
]


async def insist(call: Callable[[], Awaitable[T]]) -> T:
    """Ask until there is an answer, as a client does that was told that the outcome is unknown."""
    while True:
        try:
            return await call()
        except (RequestTimeoutError, UnavailableError) as error:
            if isinstance(error, ClientClosedError):
                raise
            await asyncio.sleep(0.2)


async def order(client: Client, journal: Journal, number: int, kind: int) -> None:
    """A customer and a courier. kind: 0 all goes well, 1 never picked up, 2 never delivered, 3 the card is declined."""
    workflow_id = f"order-{number}"
    product = food_order.PRODUCTS[3 if kind == 3 else 1]
    pace = food_order.Pace(step_timeout=20, rating_after=30)
    handle = await insist(
        lambda: client.start(
            food_order.Order,
            product,
            pace,
            id=workflow_id,
            task_queue=QUEUE,
            request_id=f"start-{number}",
            id_conflict_policy="use_existing",
        )
    )
    journal.acknowledged.append(Acknowledged("start", workflow_id, f"start-{number}", "customer"))
    for message, before, name in STEPS[: {0: 2, 1: 0, 2: 1, 3: 0}[kind]]:
        while (status := await insist(lambda: handle.query(food_order.Order.status))) == "charging card" or (
            status == "paid" and before == "picked up"
        ):
            await asyncio.sleep(0.5)
        if status != before:  # too late, or this client's former life has done it
            continue
        request_id = f"{name}-{number}"
        again = handle.with_options(request_id=request_id)
        try:
            await insist(lambda h=again, m=message: h.signal(m))  # type: ignore[misc]
        except WorkflowNotFoundError:
            break  # it has closed meanwhile
        journal.acknowledged.append(Acknowledged("signal", workflow_id, request_id, "courier"))
    await _end(journal, workflow_id, handle, kind)


async def _end(journal: Journal, workflow_id: str, handle: Any, kind: int) -> None:
    try:
        result = await insist(handle.result)
    except WorkflowFailedError as error:
        result = f"{error.__cause__!r}"
    journal.results[workflow_id] = str(result)
    good = {0: ("ch_", "was never"), 1: ("was never",), 2: ("was never",), 3: ("CardDeclined", "above")}[kind]
    if not any(word in str(result) for word in good):
        journal.wrong.append(f"{workflow_id} of kind {kind} ended with {result}")
