"""What readers see of one partition, and how they are woken."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Protocol

from ..protocol import Record
from .segment import PartitionKey


class Signal:
    """An event that one thread waits for and that resets itself; cheap to set again and again.

    Whoever sets it has made visible before what the waiter will look for after.
    """

    __slots__ = ("_lock", "_set")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._set = False

    def set(self) -> None:
        if not self._set:
            self._set = True
            with suppress(RuntimeError):  # another thread set it in the same moment
                self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        """Wait until it is set, `timeout` seconds at most (None: for ever); say whether it was."""
        bound = -1.0 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if not self._lock.acquire(timeout=bound):
            return False
        self._set = False
        return True


_GONE = Record("", 0, 0, 0, b"", b"")


class Reader(Protocol):
    """Somebody who wants to know of new records."""

    def notify(self) -> None: ...


class Partition:
    """Offsets `first` to `end - 1` can be read; the newest are in memory, in `tail`, from `tail_base` on; the first
    `dropped` of `tail` are not any more.

    Guarded by the lock of its writer.
    """

    __slots__ = (
        "dropped",
        "durable",
        "end",
        "first",
        "key",
        "last_ms",
        "number",
        "readers",
        "tail",
        "tail_base",
        "topic",
    )

    def __init__(self, topic: str, number: int, key: PartitionKey, durable: bool, stored: tuple[int, int, int]) -> None:
        self.topic = topic
        self.number = number
        self.key = key
        self.durable = durable
        self.first, self.end, self.last_ms = stored
        self.tail: list[Record] = []
        self.tail_base = self.end
        self.dropped = 0
        self.readers: tuple[Reader, ...] = ()

    def show(self, record: Record) -> None:
        """Make the next record visible. The caller notifies `readers` afterwards."""
        self.tail.append(record)
        self.end = record.offset + 1
        self.last_ms = record.timestamp_ms

    def forget(self, count: int) -> None:
        """Drop the oldest `count` records from memory; they are in the journal."""
        self.tail[self.dropped : self.dropped + count] = [_GONE] * count
        self.dropped += count
        if self.dropped == len(self.tail) or self.dropped > max(256, len(self.tail) // 2):
            del self.tail[: self.dropped]
            self.tail_base += self.dropped
            self.dropped = 0
