"""Reads that came to a partition before it was led here: nobody may have answered them."""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

EarlyRead: TypeAlias = tuple[float, bytes]
"""When it came, in seconds, and the encoded read."""

EARLY_S = 12.0
"""Clients ask again after ten seconds: what is older than that was asked again, or nobody waits."""

MAX_EARLY, MAX_EARLY_BYTES = 1_000, 1024 * 1024


class EarlyReads:
    """The newest, as they came; `at` and `since` are seconds of one and the same clock."""

    def __init__(self) -> None:
        self._kept: deque[EarlyRead] = deque()
        self._bytes = 0

    def keep(self, at: float, value: bytes) -> None:
        self._kept.append((at, value))
        self._bytes += len(value)
        while len(self._kept) > MAX_EARLY or self._bytes > MAX_EARLY_BYTES:
            self._bytes -= len(self._kept.popleft()[1])

    def take(self, since: float) -> list[EarlyRead]:
        """Those that came after `since`, each once."""
        taken = [(at, value) for at, value in self._kept if at > since]
        self._kept.clear()
        self._bytes = 0
        return taken
