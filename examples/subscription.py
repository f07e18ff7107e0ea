"""A subscription: a trial, then a charge each month until the customer cancels or the card has expired.

python examples/subscription.py      months of a second's fraction; in earnest a sleep of 30 days costs nothing
"""

import asyncio
import os
from dataclasses import dataclass
from datetime import timedelta

from odradek import ApplicationError, Client, Worker, activity, workflow

TASK_QUEUE = "subscriptions"


@dataclass(frozen=True)
class Customer:
    name: str
    card_months: int = 1_000
    """How often the card can be charged before it expires."""


@dataclass(frozen=True)
class Plan:
    cents: int
    trial: timedelta = timedelta(days=30)
    period: timedelta = timedelta(days=30)


class CardExpired(ApplicationError, non_retryable=True):
    """The customer has to give another card."""


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def charge(customer: Customer, cents: int, month: int) -> None:
    if month > customer.card_months:
        raise CardExpired(f"the card of {customer.name} has expired")
    print(f"[{customer.name}] charged {cents / 100:.2f} for month {month}", flush=True)


@activity.define(start_to_close_timeout=timedelta(seconds=30))
def send_email(customer: Customer, text: str) -> None:
    print(f"[{customer.name}] e-mail: {text}", flush=True)


@workflow.define
class Subscription:
    def __init__(self) -> None:
        self.is_cancelled = False
        self.months = 0

    async def run(self, customer: Customer, plan: Plan) -> int:
        """The number of months that were paid."""
        await send_email(customer, "welcome to your trial")
        if await self.cancelled_within(plan.trial):
            await send_email(customer, "your trial has ended, nothing was charged")
            return 0
        while True:
            try:
                await charge(customer, plan.cents, self.months + 1)
            except CardExpired:
                await send_email(customer, "your card has expired, your subscription has ended")
                break
            self.months += 1
            if await self.cancelled_within(plan.period):
                await send_email(customer, f"goodbye, and thank you for {self.months} months")
                break
        return self.months

    async def cancelled_within(self, time: timedelta) -> bool:
        """Wait for the customer to cancel, but not longer than `time`."""
        try:
            return await workflow.wait_condition(lambda: self.is_cancelled, timeout=time)
        except TimeoutError:
            return False

    @workflow.signal
    def cancel(self) -> None:
        self.is_cancelled = True

    @workflow.query
    def months_paid(self) -> int:
        return self.months


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Subscription], activities=[charge, send_email]),
    ):
        ada = await client.start(Subscription, Customer("ada"), Plan(999), id="ada", task_queue=TASK_QUEUE)
        await ada.signal(Subscription.cancel)
        print(f"ada paid {await ada.result()} months")
        short = Plan(999, trial=timedelta(seconds=0.3), period=timedelta(seconds=0.1))
        bob = await client.start(Subscription, Customer("bob", card_months=3), short, id="bob", task_queue=TASK_QUEUE)
        print(f"bob paid {await bob.result()} months")


if __name__ == "__main__":
    asyncio.run(main())
