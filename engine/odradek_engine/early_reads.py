"""Reads that came to a partition before it was led here: nobody may have answered them."""

from __future__ import annotations

from collections import deque

EARLY_S = 12.0
"""Clients ask again after ten seconds: what is older than that was asked again, or nobody waits."""

MAX_EARLY, MAX_EARLY_BYTES = 1_000, 1024 * 1024


class EarlyReads:
    """The newest, as they came; `at` and `now` are seconds of one and the same clock."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    def keep(self, at: float, value: bytes) -> None:
        self._kept.append((at, value))
        self._bytes += len(value)
        while len(self._kept) > MAX_EARLY or self._bytes > MAX_EARLY_BYTES:
            self._bytes -= len(self._kept.popleft()[1])

    def take(self, now: float) -> list[tuple[float, bytes]]:
        """Those that are not too old, each once, with when they came."""
        taken = [(at, value) for at, value in self._kept if at > now - EARLY_S]
        self._kept.clear()
        self._bytes = 0
        return taken
