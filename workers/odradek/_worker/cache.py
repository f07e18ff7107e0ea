"""Running workflows kept in memory, bounded by bytes; the least recently used one goes first."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

DEFAULT_CACHE_BYTES = 256 * 1024 * 1024


class Cacheable(Protocol):
    @property
    def size(self) -> int:
        """Estimated bytes."""
        ...

    def close(self) -> None:
        """Free what it holds; it is used no more."""
        ...


C = TypeVar("C", bound=Cacheable)


class BoundedCache(Generic[C]):
    """Entries by workflow ID. `limit`: bytes, by the entries' own estimate.

    The entry just put is never the one evicted: a workflow larger than the limit still gets its turn, and
    what is in use at the moment is out of the cache (`take`) or abandoned.
    """

    def __init__(self, limit: int = DEFAULT_CACHE_BYTES) -> None:
        self.limit = limit
        self.used = 0
        self._entries: OrderedDict[str, tuple[C, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: str) -> C | None:
        """The entry, which counts as used now."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: str, entry: C) -> None:
        """Keep the entry, with its present size; others make room."""
        self.take(key, entry)
        size = entry.size
        self._entries[key] = (entry, size)
        self.used += size
        while self.used > self.limit and len(self._entries) > 1:
            oldest = next(iter(self._entries))
            self.evict(oldest)

    def take(self, key: str, keep: C | None = None) -> C | None:
        """Remove the entry without closing it (another one than `keep` in its place is closed)."""
        found = self._entries.pop(key, None)
        if found is None:
            return None
        entry, size = found
        self.used -= size
        if keep is not None and entry is not keep:
            entry.close()
        return entry

    def evict(self, key: str) -> None:
        """Remove and close the entry, if there is one."""
        entry = self.take(key)
        if entry is not None:
            entry.close()

    def clear(self) -> None:
        for key in list(self._entries):
            self.evict(key)
