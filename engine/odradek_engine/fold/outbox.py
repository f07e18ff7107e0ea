"""The effects that were staged since the state was last written, in the order in which they were.

Most are marked as gone before the next time, and never become rows: those would be set, sorted into tables, scanned and
deleted for each effect.
"""

from __future__ import annotations

from collections.abc import Iterator

from .rows import Effect, OutboxRow


class Outbox:
    """Effects by their keys. What a step changes here lasts from `commit` on."""

    def __init__(self) -> None:
        self.effects: dict[bytes, Effect | OutboxRow] = {}
        """In the order of their keys: later effects have higher ones."""
        self._before: dict[bytes, Effect | OutboxRow] = {}
        """What this step removed or replaced."""

    def until(self, end: bytes) -> Iterator[tuple[bytes, Effect | OutboxRow]]:
        """The effects below a key."""
        for key, effect in self.effects.items():
            if key >= end:
                return
            yield key, effect

    def replace(self, key: bytes, row: OutboxRow) -> None:
        """Put another effect in the place of one that is here."""
        self._before.setdefault(key, self.effects[key])
        self.effects[key] = row

    def remove(self, key: bytes) -> None:
        """Remove one that is here."""
        effect = self.effects.pop(key)
        self._before.setdefault(key, effect)

    def commit(self) -> None:
        """Make the step's changes part of what is here."""
        if self._before:
            self._before = {}

    def rollback(self, first: bytes) -> None:
        """Forget the step's changes; what it staged has keys from `first` on."""
        effects = {**self.effects, **self._before}
        self.effects = {key: effects[key] for key in sorted(effects) if key < first}
        self._before = {}
