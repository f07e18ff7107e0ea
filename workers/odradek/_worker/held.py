"""How many bytes of tasks a worker has read and not done yet."""

from __future__ import annotations

import threading
from typing import Protocol

MAX_TASK_BYTES = 32 * 1024 * 1024
"""Above this a consumer of tasks reads no more until some are done."""


class Holder(Protocol):
    size: int


class HeldBytes:
    """A count that any thread may change."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    def grow(self, holder: Holder, size: int) -> None:
        """What the holder has is as large as that, unless it counts no more."""
        with self._lock:
            if 0 < holder.size < size:
                self._bytes += size - holder.size
                holder.size = size

    def free(self, holder: Holder) -> None:
        """What the holder has counts no more; said again, it changes nothing."""
        with self._lock:
            self._bytes -= holder.size
            holder.size = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._bytes += size
