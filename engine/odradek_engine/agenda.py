"""When each partition of an engine has something to do next, so that a turn costs what is due and not how many there
are."""

from __future__ import annotations

import heapq
from collections import deque

_NEVER = float("inf")


class Agenda:
    """Times are of the monotonic clock. One thread at a time, but for `soon`."""

    def __init__(self) -> None:
        self._at: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []
        self._queued: dict[int, float] = {}
        """The entry of the heap that counts, of each partition: at its time, or before it."""
        self._soon: deque[int] = deque()

    def put(self, partition: int, at: float) -> None:
        """The partition has something to do at `at`, and not before."""
        self._at[partition] = at
        if at < self._queued.get(partition, _NEVER):
            self._queued[partition] = at
            heapq.heappush(self._heap, (at, partition))

    def soon(self, partition: int) -> None:
        """Something happened: the partition has something to do now. From any thread; whoever waits has to be woken."""
        self._soon.append(partition)

    def drop(self, partition: int) -> None:
        """The partition is no longer ours."""
        self._at.pop(partition, None)

    def take(self, now: float) -> list[int]:
        """The partitions that have something to do by `now`; each has to be put again."""
        due: dict[int, None] = {}
        while self._soon:
            due[self._soon.popleft()] = None
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, partition = heapq.heappop(heap)
            if self._queued.get(partition) != at:
                continue
            del self._queued[partition]
            wanted = self._at.get(partition)
            if wanted is None:
                continue
            if wanted > now:
                self.put(partition, wanted)
            else:
                due[partition] = None
        return list(due)

    def next_at(self, latest: float) -> float:
        """When `take` may have something to give, at most `latest`."""
        if self._soon:
            return 0.0
        return min(latest, self._heap[0][0]) if self._heap else latest
