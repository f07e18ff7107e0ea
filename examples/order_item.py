"""An order item: init, fulfil, archive. Each step is retried by a policy, and survives the death of its worker.

python examples/order_item.py             one item from start to end
python examples/order_item.py --crash     the process is killed while it fulfils; run it again without --crash
"""

import asyncio
import os
import signal
import sys
from dataclasses import dataclass
from datetime import timedelta

from odradek import ApplicationError, Client, RetryPolicy, Worker, activity, workflow

TASK_QUEUE = "order-items"
CRASH = "--crash" in sys.argv


@dataclass(frozen=True)
class Item:
    sku: str
    quantity: int


class UnknownItem(ApplicationError):
    """There is no such item: to try again would not help."""


class WarehouseBusy(ApplicationError):
    """The warehouse takes the item later."""


STEP_RETRIES = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    backoff_coefficient=2,
    maximum_interval=timedelta(seconds=30),
    maximum_attempts=8,
    non_retryable_error_types=(UnknownItem,),
)
STOCK = {"poke", "ramen"}


def say(text: str) -> None:
    info = activity.info()
    print(f"[{info.workflow_id}] {info.activity_type}, attempt {info.attempt}: {text}", flush=True)


@activity.define(name="InitOrder", start_to_close_timeout=timedelta(seconds=10), retry_policy=STEP_RETRIES)
async def init_order(item: Item) -> str:
    if item.sku not in STOCK:
        say(f"there is no {item.sku}")
        raise UnknownItem(f"there is no item {item.sku!r}")
    say(f"{item.quantity} x {item.sku} reserved")
    return f"reservation of {activity.info().workflow_id}"


@activity.define(name="FulfillOrder", start_to_close_timeout=timedelta(seconds=60), retry_policy=STEP_RETRIES)
async def fulfill_order(item: Item, reservation: str) -> str:
    if activity.info().attempt < 3:
        say("the warehouse is busy")
        raise WarehouseBusy("try again in a moment")
    if CRASH:
        say("the power fails")
        os.kill(os.getpid(), signal.SIGKILL)
    say(f"{item.quantity} x {item.sku} packed")
    return f"parcel for the {reservation}"


@activity.define(name="ArchiveOrder", start_to_close_timeout=timedelta(seconds=10), retry_policy=STEP_RETRIES)
def archive_order(item: Item, parcel: str) -> None:
    say(f"{parcel} archived")


@workflow.define
class OrderItem:
    def __init__(self) -> None:
        self.step = "init"

    async def run(self, item: Item) -> str:
        reservation = await init_order(item)
        self.step = "fulfill"
        parcel = await fulfill_order(item, reservation)
        self.step = "archive"
        await archive_order(item, parcel)
        self.step = "done"
        return parcel

    @workflow.query
    def current_step(self) -> str:
        return self.step


async def main() -> None:
    # A folder holds log and engine in this process; ODRADEK_ADDRESS=kafka://... is a cluster, with engines of its own.
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(
            client,
            task_queue=TASK_QUEUE,
            workflows=[OrderItem],
            activities=[init_order, fulfill_order, archive_order],
            lost_after=5,  # seconds after which others take over what this process was doing, if it is gone
        ),
    ):
        item = await client.start(
            OrderItem, Item("poke", 2), id="item-1", task_queue=TASK_QUEUE, id_conflict_policy="use_existing"
        )
        print(f"{item.id}: {await item.result()}")


if __name__ == "__main__":
    asyncio.run(main())
