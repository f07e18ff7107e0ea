"""The trip: what fails is undone in reverse order; a service may be away for the better part of a day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from odradek import ActivityError, ActivityTimeoutError, WorkflowCancelledError, WorkflowFailedError
from odradek.testing import Environment

from examples.trip import (
    ACTIVITIES,
    SoldOut,
    Trip,
    book_car,
    book_flight,
    book_hotel,
    book_trip,
    cancel_car,
    cancel_flight,
    cancel_hotel,
)

from .recording import recorded

PRAGUE = Trip("ada", "Prague")


class Services:
    """What was booked and cancelled. `flight`: what the airline does."""

    def __init__(self, flight: Callable[[], str] = lambda: "flight-1") -> None:
        self.calls: list[str] = []
        self.flight = flight

    def environment(self) -> Environment:
        def book(name: str) -> Callable[[Trip], str]:
            return lambda trip: self.calls.append(name) or name

        def book_the_flight(trip: Trip) -> str:
            return self.flight()

        async def cancel(booking: str) -> None:
            self.calls.append(f"no {booking}")

        fakes: dict[Any, Any] = {book_car: book("car"), book_hotel: book("hotel"), book_flight: book_the_flight}
        fakes |= {cancel_car: cancel, cancel_hotel: cancel, cancel_flight: cancel}
        return Environment(workflows=[book_trip], activities=fakes)


async def test_a_trip() -> None:
    async with Environment(workflows=[book_trip], activities=ACTIVITIES) as env:
        trip = await env.client.start(book_trip, PRAGUE, id="t")
        assert await trip.result() == ["car-1", "hotel-1", "flight-1"]
        await recorded(trip, "trip-booked")


async def test_a_full_flight_undoes_the_rest_in_reverse_order() -> None:
    def full() -> str:
        raise SoldOut("full")

    services = Services(full)
    async with services.environment() as env:
        trip = await env.client.start(book_trip, PRAGUE, id="t")
        with pytest.raises(WorkflowFailedError) as failed:
            await trip.result()
        assert isinstance(failed.value.cause, SoldOut)
        await recorded(trip, "trip-undone")
    assert services.calls == ["car", "hotel", "no hotel", "no car"]


async def test_a_service_that_is_away_for_most_of_a_day_is_waited_for() -> None:
    def away() -> str:
        if env.now() < back:
            raise ConnectionError("no answer")
        return "flight-1"

    services = Services(away)
    async with services.environment() as env:
        began = env.now()
        back = began + timedelta(hours=20)
        assert await env.client.execute(book_trip, PRAGUE, id="t") == ["car", "hotel", "flight-1"]
        assert timedelta(hours=20) <= env.now() - began < timedelta(hours=20, minutes=11)


async def test_a_service_that_is_away_for_a_day_is_given_up() -> None:
    def away() -> str:
        raise ConnectionError("no answer")

    services = Services(away)
    async with services.environment() as env:
        began = env.now()
        with pytest.raises(WorkflowFailedError) as failed:
            await env.client.execute(book_trip, PRAGUE, id="t")
        assert timedelta(hours=23) <= env.now() - began <= timedelta(hours=25)
        error: BaseException | None = failed.value
        while error is not None and not isinstance(error, ActivityError | ActivityTimeoutError):
            error = error.__cause__
        assert error is not None
    assert services.calls == ["car", "hotel", "no hotel", "no car"]


async def test_a_cancelled_trip_leaves_nothing_booked() -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def away() -> str:
        loop.call_soon_threadsafe(asked.set)
        raise ConnectionError("no answer")

    services = Services(away)
    async with services.environment() as env:
        trip = await env.client.start(book_trip, PRAGUE, id="t")
        await asked.wait()
        await trip.cancel()
        with pytest.raises(WorkflowFailedError) as failed:
            await trip.result()
        assert isinstance(failed.value.cause, WorkflowCancelledError)
        await recorded(trip, "trip-cancelled")
    assert services.calls == ["car", "hotel", "no hotel", "no car"]
