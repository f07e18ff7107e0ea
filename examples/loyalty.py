"""A loyalty programme: one workflow per member, for years. Purchases are signals; a bug in the points is repaired.

python examples/loyalty.py --with-bug     last week's deployment: each purchase counts twice
python examples/loyalty.py --repair       the right code; all members' purchases are counted again
python examples/loyalty.py                without any bug
"""

import asyncio
import os
import sys
from dataclasses import dataclass, replace
from datetime import timedelta

from odradek import Client, Worker, WorkflowHandle, activity, workflow

TASK_QUEUE = "loyalty"
GOLD = 100
MEMBERS = {"ada": [30, 40], "bob": [60, 70], "cy": [10]}
"""Stands for the shop: what each member buys."""
BUG = "--with-bug" in sys.argv
"""Stands for a deployment with a mistake in `points_for`."""


def points_for(euros: int) -> int:
    return 2 * euros if BUG else euros


@dataclass(frozen=True)
class Account:
    member: str
    points: int = 0
    is_gold: bool = False


@activity.define(start_to_close_timeout=timedelta(seconds=30))
async def send_card(member: str) -> None: ...


@workflow.define
class Loyalty:
    """Runs until the member leaves. `purchases_per_run`: after so many, a new run begins with an empty history."""

    def __init__(self) -> None:
        self.has_left = False
        self.purchases = 0

    async def run(self, account: Account, purchases_per_run: int = 1_000) -> Account:
        self.account = account
        while True:
            await workflow.wait_condition(
                lambda: self.has_left or self.deserves_gold() or self.purchases >= purchases_per_run
            )
            if self.deserves_gold():
                await send_card(self.account.member)
                self.account = replace(self.account, is_gold=True)
            elif self.has_left:
                return self.account
            else:
                workflow.continue_as_new(Loyalty, self.account, purchases_per_run)

    def deserves_gold(self) -> bool:
        return self.account.points >= GOLD and not self.account.is_gold

    @workflow.signal
    def buy(self, euros: int) -> None:
        self.account = replace(self.account, points=self.account.points + points_for(euros))
        self.purchases += 1

    @workflow.signal
    def leave(self) -> None:
        self.has_left = True

    @workflow.query
    def status(self) -> Account:
        return self.account


async def repair(client: Client) -> int:
    """Have all members' purchases counted again by the code of today: a reset keeps the signals. How many."""
    done = 0
    async for member in client.reset_batch(
        workflow_type="Loyalty", event_id=1, request_id="points-counted-twice", reason="points were counted twice"
    ):
        if member.status == "failed":
            print(f"{member.workflow_id}: {member.error}")
        else:
            done += 1
    return done


async def settled(account: WorkflowHandle[Loyalty, Account]) -> Account:
    """The account, once a card that is due has been sent."""
    while (status := await account.query(Loyalty.status)).points >= GOLD and not status.is_gold:
        await asyncio.sleep(0.05)
    return status


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[Loyalty], activities=[send_card]),
    ):
        if "--repair" in sys.argv:
            print(f"{await repair(client)} members reset")
        else:
            for member, purchases in MEMBERS.items():
                account = await client.start(Loyalty, Account(member), id=f"member-{member}", task_queue=TASK_QUEUE)
                for euros in purchases:
                    await account.signal(Loyalty.buy, euros)
        for member in MEMBERS:
            status = await settled(client.get(f"member-{member}", Loyalty))
            print(f"{member}: {status.points} points{', golden card' if status.is_gold else ''}")


if __name__ == "__main__":
    asyncio.run(main())
