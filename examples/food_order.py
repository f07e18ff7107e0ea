"""A food order: charge the card, wait for pick-up and delivery, refund if that does not happen, ask for a rating.

    python examples/food_order.py            one order from start to end, in this process

Kill it at any moment (kill -9, a power cut) and start it again: the order goes on where it was, and the card is
charged once. Or leave a process running, and play the courier from another terminal:

    odradek dev examples/food_order.py
    odradek workflow start Order --id order-42 --input '{"id": 1, "name": "Poke", "cents": 1299}'
    odradek workflow signal order-42 picked_up
    odradek workflow query order-42 status
"""

import asyncio
import os
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta

from odradek import ApplicationError, Client, RetryPolicy, Worker, WorkflowHandle, activity, workflow


@dataclass
class Product:
    id: int
    name: str
    cents: int


PRODUCTS = {
    1: Product(1, "Poke", 1299),
    2: Product(2, "Ramen", 1450),
    3: Product(3, "Caviar", 99900),  # more than the card's limit
}
CARD_LIMIT_CENTS = 50_000


@dataclass(frozen=True)
class Pace:
    """How long the order waits, in seconds. Short in a demonstration; in earnest a month costs nothing."""

    step_timeout: float = 60 * 60
    rating_after: float = 30 * 24 * 3600


IN_EARNEST = Pace()


class CardDeclined(ApplicationError, non_retryable=True):
    """Raised in an activity, caught as itself in the workflow."""


class UnknownProduct(ApplicationError, non_retryable=True):
    """The shop has no such product."""


def record(step: str) -> None:
    """Show a step, and append a line to the file that ODRADEK_EXAMPLE_JOURNAL names: activity, workflow, idempotency
    key, attempt. An activity may run again after a crash, but with the same key: a service that knows the key
    does the work once, so the second line of a key stands for nothing done twice."""
    info = activity.info()
    print(f"[{info.workflow_id}] {step}", flush=True)
    journal = os.environ.get("ODRADEK_EXAMPLE_JOURNAL")
    if journal:
        with open(journal, "a") as file:
            file.write(f"{info.activity_type} {info.workflow_id} {info.idempotency_key} {info.attempt}\n")


@activity.define(
    start_to_close_timeout=timedelta(seconds=10),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=60, maximum_attempts=5),
)
async def charge(product: Product) -> str:
    if product != PRODUCTS.get(product.id):
        raise UnknownProduct(f"there is no {product.name} for {product.cents / 100:.2f}")
    if product.cents > CARD_LIMIT_CENTS:
        record(f"card declined: {product.cents / 100:.2f} for {product.name} is above its limit")
        raise CardDeclined(f"{product.cents / 100:.2f} is above the card's limit")
    record(f"charged {product.cents / 100:.2f} for {product.name}")
    return f"ch_{activity.info().idempotency_key[:12]}"


@activity.define(start_to_close_timeout=timedelta(seconds=10))
async def refund(product: Product, charge_id: str) -> None:
    record(f"refunded {product.cents / 100:.2f} ({charge_id})")


@activity.define(start_to_close_timeout=5)
def notify(message: str) -> None:  # a plain `def` runs in a thread
    record(f"notified the customer: {message}")


@workflow.define
class Order:
    def __init__(self) -> None:
        self.state = "charging card"
        self.delivered_at: datetime | None = None

    async def run(self, product: Product, pace: Pace = IN_EARNEST) -> str:
        try:
            charge_id = await charge(product)  # calling an activity is the durable step
        except UnknownProduct as unknown:
            self.state = "refused"
            await notify(f"We cannot take your order: {unknown.message}")
            raise
        except CardDeclined as declined:
            self.state = "declined"
            await notify(f"Your card was declined: {declined.message}")
            raise
        except Exception:  # five attempts failed: the bank cannot be reached
            self.state = "not charged"
            await notify("We could not charge your card. Please order again later.")
            raise
        self.state = "paid"
        for step in ("picked up", "delivered"):
            try:
                await self.reaches(step, pace.step_timeout)
            except TimeoutError:
                await refund(product, charge_id)
                self.state = "refunded"
                raise ApplicationError(f"{product.name} was never {step}", type="NotDelivered") from None
        self.delivered_at = workflow.now()
        await asyncio.sleep(pace.rating_after)
        await notify(f"Rate your {product.name}!")
        return charge_id

    async def reaches(self, state: str, timeout: float) -> None:
        async with asyncio.timeout(timeout):  # a durable timer
            await workflow.wait_condition(lambda: self.state == state)

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


async def courier(order: WorkflowHandle[Order, str]) -> None:
    """Plays the courier, who looks at the order now and then and says what happened."""
    while (status := await order.query(Order.status)) != "delivered":
        if status == "paid":
            await order.signal(Order.picked_up)
        elif status == "picked up":
            await order.signal(Order.delivered)
        await asyncio.sleep(0.5)


async def main(order_id: str) -> None:
    # Opening the folder starts the engine. An order that the last run of this program left open goes on.
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue="orders", workflows=[Order], activities=[charge, refund, notify]),
    ):
        order = await client.start(
            Order,
            PRODUCTS[1],
            Pace(rating_after=2),
            id=order_id,
            task_queue="orders",
            id_conflict_policy="use_existing",
        )
        await courier(order)
        print(f"{order_id}: {await order.query(Order.status)}, paid with {await order.result()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "order-1"))
