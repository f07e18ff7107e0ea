"""How much one client asks at once: calls beyond a number of bytes wait, for a while, for answers to others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from .errors import OverloadedError

MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024
"""Default; below what a Kafka producer keeps, so that an append never makes an event loop wait."""


class Room:
    """`in_flight(waits)`: the bytes of the calls that are out; of those that may be answered much later, if `waits`.
    These two kinds do not wait for each other. Belongs to one event loop.

    Calls go in the order in which they came. The last one to go may pass the limit by its own size.
    """

    def __init__(self, limit: int, in_flight: Callable[[bool], int]) -> None:
        if limit < 1:
            raise ValueError(f"max_in_flight_bytes is a number of bytes from 1 on, not {limit}")
        self._limit = limit
        self._in_flight = in_flight
        self._lines: dict[bool, deque[asyncio.Future[None]]] = {False: deque(), True: deque()}
        self._given = {False: False, True: False}  # whether a turn was given to one that has not sent yet

    async def enter(self, waits: bool, patience: float) -> None:
        """Return when there is room; send at once then, and call `left`. Raises OverloadedError if there is none within
        `patience` seconds."""
        line = self._lines[waits]
        if not line and self._in_flight(waits) < self._limit:
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(patience):
                await turn
            self._given[waits] = False
        except asyncio.CancelledError:
            self._give_up(waits, turn)
            raise
        except TimeoutError:
            self._give_up(waits, turn)
            raise OverloadedError(
                f"this client has {self._in_flight(waits):,} bytes of {'waits' if waits else 'requests'} out without "
                f"an answer (max_in_flight_bytes is {self._limit:,}), and no room came within {patience:g} s; nothing "
                "was sent. Ask for less at once, for instance behind an asyncio.Semaphore, or see whether the engines "
                "keep up"
            ) from None

    def _give_up(self, waits: bool, turn: asyncio.Future[None]) -> None:
        if turn in self._lines[waits]:
            self._lines[waits].remove(turn)
        else:
            self._given[waits] = False
        self.left()

    def left(self) -> None:
        """There may be room: calls were answered, given up, or are out by now. One goes at a time."""
        for waits, line in self._lines.items():
            if line and not self._given[waits] and self._in_flight(waits) < self._limit:
                self._given[waits] = True
                line.popleft().set_result(None)
