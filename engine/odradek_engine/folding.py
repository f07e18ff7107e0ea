"""Folding the records of one partition into its folder, and what is told of it: in this process, or in one of its own
(`folding_process.py`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from odradek_schemas import Topics, encode

from .early_reads import EARLY_S, EarlyRead, EarlyReads
from .fold import State, events, fold
from .store import RocksStorage
from .store_memory import DEFAULT_STORE_MEMORY, StoreMemory
from .unwritten import Unwritten

FLUSH_ROWS = 20_000
FLUSH_BYTES = 32 * 1024 * 1024
"""The state is written each so many changed rows, or bytes of the records and effects that changed them."""


class Folded(NamedTuple):
    """How many records were folded, and how many events of workflows' histories that gave."""

    records: int = 0
    events: int = 0


OnProgress = Callable[[Folded], None]
"""Called now and then with what was folded since the last call."""


class Task(NamedTuple):
    """A partition to be folded up to below the offset `end`, from where the state in `folder` stands."""

    partition: int
    folder: Path
    end: int


class Refolded(NamedTuple):
    """What folding a partition gave: `records` of the log, with `events` of workflows' histories, and the `rows` that
    its state has now. `begun_at`: the offset that the state had before. `asked`: reads that the last records ask for,
    with their times in the log."""

    partition: int
    records: int
    events: int
    rows: int
    begun_at: int
    asked: Sequence[EarlyRead] = ()


class Terms(NamedTuple):
    """How partitions of a namespace are folded. `memory`: bytes for what RocksDB holds. `knows`: the newest fold
    version that may be folded; 0: that of this code. `flush_rows`, `flush_bytes`: above so many changed rows, or bytes
    of what changed them, the state is written. `count_rows`: whether that is
    done in the end."""

    namespace: str
    memory: int = DEFAULT_STORE_MEMORY
    knows: int = 0
    flush_rows: int = FLUSH_ROWS
    flush_bytes: int = FLUSH_BYTES
    count_rows: bool = True


class Folding:
    """Folds the records of one partition, and writes the state to its storage now and then."""

    def __init__(self, state: State, terms: Terms) -> None:
        self._state = state
        self._state.knows = terms.knows
        self._topics = Topics(terms.namespace)
        self._unwritten = Unwritten(state, terms.flush_rows, terms.flush_bytes)
        self._records = self._events = 0
        self._reported = Folded()
        self._early = EarlyReads()
        self._early_since = time.time() - EARLY_S  # what is older now is too old when this is done

    @property
    def made(self) -> Folded:
        """What was folded so far."""
        return Folded(self._records, self._events)

    def add(self, offset: int, timestamp_ms: int, key: bytes, value: bytes) -> None:
        """Fold the next record. Raises UnsupportedVersionError, StoreError."""
        folded = fold(self._state, self._topics, offset, timestamp_ms, key, value)
        self._records += 1
        if folded.awaited and timestamp_ms / 1000 > self._early_since:
            for read in folded.awaited:
                self._early.keep(timestamp_ms / 1000, encode(read))
        for event in folded.events:
            if type(event) is events.Appended:
                self._events += 1
        self._unwritten.add(value, folded.effects)
        if self._unwritten.enough:
            self.flush()

    def asked(self) -> tuple[EarlyRead, ...]:
        """As of Refolded; what is given is forgotten."""
        return tuple(self._early.take(self._early_since))

    def flush(self) -> None:
        """Write the state to its storage."""
        self._unwritten.write()

    def news(self) -> Folded:
        """What was folded since the last call."""
        records, number_of_events = self.made
        before, self._reported = self._reported, self.made
        return Folded(records - before.records, number_of_events - before.events)


@contextmanager
def opened(task: Task, memory: StoreMemory) -> Iterator[RocksStorage]:
    """The storage in the folder of a task."""
    storage = RocksStorage(task.folder, memory=memory)
    try:
        yield storage
    finally:
        storage.close()
