"""How much of a partition's state is in memory only, and when that is enough to be written."""

from __future__ import annotations

from collections.abc import Iterable

from .fold import Effect, State

LOOK_EVERY = 50
"""So many records are folded between two counts of the rows that changed."""


class Unwritten:
    """`rows`, `size`: so many changed rows, or bytes of the records and effects that changed them, are enough. Most
    effects are marked as gone before that, and never made."""

    def __init__(self, state: State, rows: int, size: int) -> None:
        self._state = state
        self._most_rows = rows
        self._most_bytes = size
        self._bytes = self._records = 0

    def add(self, value: bytes, effects: Iterable[Effect]) -> None:
        """A record was folded."""
        size = len(value)
        for effect in effects:
            size += effect.size
        self._bytes += size
        self._records += 1

    @property
    def enough(self) -> bool:
        """Whether the state is to be written now."""
        if self._bytes >= self._most_bytes:
            return True
        if self._records % LOOK_EVERY or self._state.unflushed_at_most < self._most_rows:
            return False
        return self._state.unflushed > self._most_rows // 2  # else many came and went: there is room again

    def write(self) -> None:
        """Write the state to its storage. Raises StoreError; then all stays in memory."""
        self._state.flush()
        self._bytes = 0
