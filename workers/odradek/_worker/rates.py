"""How many activities may begin in a second: of one worker, and of a task queue as a whole.

Nobody counts for the whole queue: its activity partitions are divided among its workers, and each worker keeps to
its part of the rate. The parts add up to the whole, however the partitions move.
"""

from __future__ import annotations

from collections.abc import Callable

BURST_SECONDS = 0.1
"""So many seconds' worth may begin at once, at least one."""


class RateLimit:
    """At most `per_second` on average, from the first one on. `clock`: seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self._per_second = per_second
        self._clock = clock
        self._at = clock()
        self._saved = 1.0

    def change(self, per_second: float) -> None:
        """Another rate from now on."""
        if per_second != self._per_second:
            self._refill()
            self._per_second = per_second

    def available(self) -> int:
        """How many may begin now."""
        self._refill()
        return int(self._saved + 1e-9)

    def take(self) -> None:
        """One begins."""
        self._refill()
        self._saved -= 1

    def wait(self) -> float:
        """Seconds until one may begin; 0: now. Without any rate, infinite."""
        if self.available() > 0:
            return 0.0
        return (1 - self._saved) / self._per_second if self._per_second > 0 else float("inf")

    def _refill(self) -> None:
        now = self._clock()
        most = max(1.0, self._per_second * BURST_SECONDS)
        self._saved = min(most, self._saved + (now - self._at) * self._per_second)
        self._at = now


class ActivityRates:
    """Both limits of one worker, each None for none. `share` is told which part of the queue's partitions it has."""

    def __init__(
        self, per_worker: float | None, per_queue: float | None, clock: Callable[[], float]
    ) -> None:
        self._per_queue = per_queue
        self._queue = RateLimit(0.0, clock) if per_queue is not None else None
        self._limits = [RateLimit(per_worker, clock)] if per_worker is not None else []
        if self._queue is not None:
            self._limits.append(self._queue)

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return bool(self._limits)

    def share(self, held: int, partitions: int) -> None:
        """This worker holds so many of the queue's partitions."""
        if self._queue is not None and self._per_queue is not None:
            self._queue.change(self._per_queue * held / max(1, partitions))

    def available(self) -> int | None:
        """How many may begin now; None: there is no limit."""
        return min(limit.available() for limit in self._limits) if self._limits else None

    def take(self) -> None:
        for limit in self._limits:
            limit.take()

    def wait(self) -> float:
        """Seconds until one may begin; 0: now."""
        return max(limit.wait() for limit in self._limits) if self._limits else 0.0
