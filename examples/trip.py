"""A trip: car, hotel and flight are booked by calls to other services; if one fails, the others are cancelled.

python examples/trip.py      one trip that works out, one whose flight is full
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from odradek import ApplicationError, Client, RetryPolicy, Worker, WorkflowFailedError, activity, workflow

TASK_QUEUE = "trips"


@dataclass(frozen=True)
class Trip:
    traveller: str
    to: str


class SoldOut(ApplicationError, non_retryable=True):
    """There is nothing left to book: to try again would not help."""


def say(text: str) -> None:
    print(f"[{activity.info().workflow_id}] {text}", flush=True)


# A call of a service is tried for a day; a cancellation for as long as it takes.
call = activity.define(
    start_to_close_timeout=timedelta(seconds=30),
    schedule_to_close_timeout=timedelta(days=1),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=timedelta(minutes=10)),
)
cancellation = activity.define(
    start_to_close_timeout=timedelta(seconds=30),
    retry_policy=RetryPolicy(initial_interval=1, backoff_coefficient=2, maximum_interval=timedelta(hours=1)),
)


@call
async def book_car(trip: Trip) -> str:
    say(f"car in {trip.to} booked")
    return "car-1"


@call
async def book_hotel(trip: Trip) -> str:
    say(f"hotel in {trip.to} booked")
    return "hotel-1"


@call
async def book_flight(trip: Trip) -> str:
    if trip.to == "Atlantis":
        say("no flight goes there")
        raise SoldOut(f"no flight to {trip.to}")
    say(f"flight to {trip.to} booked")
    return "flight-1"


@cancellation
async def cancel_car(booking: str) -> None:
    say(f"{booking} cancelled")


@cancellation
async def cancel_hotel(booking: str) -> None:
    say(f"{booking} cancelled")


@cancellation
async def cancel_flight(booking: str) -> None:
    say(f"{booking} cancelled")


Undo = Callable[[], Awaitable[None]]


@workflow.define
async def book_trip(trip: Trip) -> list[str]:
    """The bookings. If one fails, or the trip is cancelled meanwhile, nothing stays booked."""
    undo: list[Undo] = []
    try:
        car = await book_car(trip)
        undo.append(lambda: cancel_car(car))
        hotel = await book_hotel(trip)
        undo.append(lambda: cancel_hotel(hotel))
        flight = await book_flight(trip)
        undo.append(lambda: cancel_flight(flight))
        return [car, hotel, flight]
    except (Exception, asyncio.CancelledError):
        await asyncio.shield(compensate(undo))
        raise


async def compensate(undo: list[Undo]) -> None:
    """Undo what was done, the last first."""
    for step in reversed(undo):
        await step()


ACTIVITIES: list[activity.Activity[..., Any]] = [
    book_car,
    book_hotel,
    book_flight,
    cancel_car,
    cancel_hotel,
    cancel_flight,
]


async def main() -> None:
    async with (
        Client(os.environ.get("ODRADEK_ADDRESS", "file:./odradek-data")) as client,
        Worker(client, task_queue=TASK_QUEUE, workflows=[book_trip], activities=ACTIVITIES),
    ):
        for trip in (Trip("ada", "Prague"), Trip("bob", "Atlantis")):
            name = f"trip-{trip.traveller}"
            try:
                bookings = await client.execute(book_trip, trip, id=name, task_queue=TASK_QUEUE)
                print(f"{name}: {', '.join(bookings)}")
            except WorkflowFailedError as error:
                print(f"{name}: {error.cause}")


if __name__ == "__main__":
    asyncio.run(main())
