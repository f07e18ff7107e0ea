"""The subscription on the test kit's clock: years in no time."""

from __future__ import annotations

from datetime import timedelta

from odradek.testing import Environment

from examples.subscription import CardExpired, Customer, Plan, Subscription, charge, send_email

from .recording import recorded

ADA = Customer("ada")
MONTH = timedelta(days=30)


class Office:
    """What was charged and written."""

    def __init__(self, declines_in: int = 1_000) -> None:
        self.charged: list[int] = []
        self.written: list[str] = []
        self.declines_in = declines_in

    def charge(self, customer: Customer, cents: int, month: int) -> None:
        if month == self.declines_in:
            raise CardExpired("no")
        self.charged.append(month)

    async def write(self, customer: Customer, text: str) -> None:
        self.written.append(text)

    def environment(self) -> Environment:
        return Environment(workflows=[Subscription], activities={charge: self.charge, send_email: self.write})


async def test_who_cancels_in_the_trial_pays_nothing() -> None:
    office = Office()
    async with office.environment() as env:
        subscription = await env.client.start(Subscription, ADA, Plan(999), id="ada")
        await env.sleep(MONTH - timedelta(days=1))
        await subscription.signal(Subscription.cancel)
        assert await subscription.result() == 0
        await recorded(subscription, "subscription-trial")
    assert office.charged == []
    assert office.written == ["welcome to your trial", "your trial has ended, nothing was charged"]


async def test_each_month_is_charged_until_the_customer_cancels() -> None:
    office = Office()
    async with office.environment() as env:
        began = env.now()
        subscription = await env.client.start(Subscription, ADA, Plan(999), id="ada")
        for month in range(1, 13):
            await env.sleep(MONTH)
            while await subscription.query(Subscription.months_paid) < month:
                pass  # the last charge is being made
        await subscription.signal(Subscription.cancel)
        assert await subscription.result() == 12
        assert env.now() - began >= 12 * MONTH
        await recorded(subscription, "subscription-a-year")
    assert office.charged == list(range(1, 13))
    assert office.written[-1] == "goodbye, and thank you for 12 months"


async def test_an_expired_card_ends_it() -> None:
    office = Office(declines_in=4)
    async with office.environment() as env:
        assert await env.client.execute(Subscription, ADA, Plan(999), id="ada") == 3
    assert office.charged == [1, 2, 3]
    assert "expired" in office.written[-1]
