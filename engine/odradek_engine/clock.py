"""The seams for time and randomness: production has the system's, simulations have their own."""

from __future__ import annotations

import secrets
import time
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int:
        """The wall clock, in ms since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """A clock that never goes back, in seconds."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()


class Randomness(Protocol):
    def token(self) -> str:
        """A text that nobody else has."""
        ...

    def uniform(self, low: float, high: float) -> float: ...


class SystemRandomness:
    """The machine's randomness."""

    def __init__(self) -> None:
        self._random = secrets.SystemRandom()

    def token(self) -> str:
        return secrets.token_hex(8)

    def uniform(self, low: float, high: float) -> float:
        return self._random.uniform(low, high)
