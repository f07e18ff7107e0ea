"""The state of one partition: rows in an ordered key-value storage, changed step by step.

A step's changes become visible together or not at all. What the storage holds is the state as of some
position; changes since then are kept here until `flush`.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar

import msgspec

from . import keys
from .rows import INDEXES, TABLES, Effect, NeededRow, PartitionRow, Row, outbox_row

R = TypeVar("R", bound=Row)

_MISSING: Any = object()
_INDEXED = {table for table, cls in TABLES.items() if cls.indexes is not Row.indexes}
"""Tables whose rows have index entries."""

_CACHED = set(TABLES) - {keys.OUTBOX, keys.WAITING, keys.BEHIND}
"""Tables whose rows are kept decoded beside the storage; the others are written once and read once."""

MAX_CACHED_ROW_BYTES = 8_000
"""Larger rows, those with large inputs or results, are read from the storage each time."""

_encode = msgspec.msgpack.Encoder().encode
_decoders = {table: msgspec.msgpack.Decoder(cls) for table, cls in TABLES.items()}


class Storage(Protocol):
    """An ordered map of bytes to bytes."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Entries with start <= key < end, in the order of their keys."""
        ...

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Apply all changes, or none; a value of None deletes."""
        ...


class MemoryStorage:
    """A storage for tests and small comparisons."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.entries.get(key)

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key in sorted(k for k in self.entries if start <= k < end):
            yield key, self.entries[key]

    def write(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        for key, value in changes:
            if value is None:
                self.entries.pop(key, None)
            else:
                self.entries[key] = value


def _to_bytes(row: Any) -> bytes:
    if type(row) is bytes:
        return row
    return _encode(outbox_row(row) if type(row) is Effect else row)


def _from_bytes(key: bytes, value: bytes) -> Any:
    decoder = _decoders.get(key[:1])
    return value if decoder is None else decoder.decode(value)


class State:
    """The rows of one partition. `cache_rows` bounds how many decoded rows are kept beside the storage; large ones
    are not kept."""

    def __init__(self, storage: Storage, partition: int = 0, cache_rows: int = 4_000) -> None:
        self.storage = storage
        self._step: dict[bytes, Any] = {}
        self._changed: defaultdict[int, dict[bytes, Any]] = defaultdict(dict)
        """What changed since the last flush, by table: the first byte of its keys."""
        self._cache: OrderedDict[bytes, Any] = OrderedDict()
        self._cache_rows = cache_rows
        self._absent: set[bytes] = set()
        """Keys that the storage is known not to hold: not asked for again, and not deleted there."""
        self._entries: dict[bytes, tuple[Row, tuple[bytes, ...]]] = {}
        """Index entries of rows as they are now."""
        self._unsettled: dict[bytes, tuple[bytes, ...]] = {}
        """Rows that changed in this step, with the index entries that they had before it."""
        self._empty = PartitionRow(partition=partition)
        self._partition: PartitionRow | None = None
        self.knows = 0
        """The newest fold version that may be folded here; 0: that of this code."""
        self.earliest_due_ms = 0
        """No entry of the due index is below this, as far as is known; who scans the index raises it."""
        self.earliest_expiry_ms = 0
        """The same for the expiry index."""

    # ------------------------------------------------------------ reading

    def get(self, key: bytes) -> Any:
        """The row at `key`, or None."""
        row = self._step.get(key, _MISSING)
        if row is not _MISSING:
            return row
        row = self._changed[key[0]].get(key, _MISSING)
        if row is not _MISSING:
            return row
        row = self._cache.get(key, _MISSING)
        if row is not _MISSING:
            return row
        if key in self._absent:
            return None
        value = self.storage.get(key)
        if value is None:
            self._absent.add(key)
            return None
        row = _from_bytes(key, value)
        self._remember(key, row, len(value))
        return row

    def row(self, key: bytes, kind: type[R]) -> R | None:
        """The row at `key`, for type checkers."""
        found: R | None = self.get(key)
        return found

    @property
    def partition(self) -> PartitionRow:
        found = self._partition
        if found is None:
            found = self._partition = self.row(keys.PARTITION, PartitionRow) or self._empty
        return found

    def scan(self, prefix: bytes, start: bytes | None = None, end: bytes | None = None) -> Iterator[tuple[bytes, Any]]:
        """Rows whose keys begin with `prefix` (from `start` on, below `end`), in order, as of this call."""
        self.settle()
        first = start or prefix
        last = end or keys.after(prefix)
        changes: dict[bytes, Any] = {}
        for table, rows in self._changed.items():
            if first[0] <= table <= last[0]:
                changes.update((k, v) for k, v in rows.items() if first <= k < last)
        changes.update((k, v) for k, v in self._step.items() if first <= k < last)
        pending = sorted(changes)
        at = 0
        for key, value in self.storage.scan(first, last):
            while at < len(pending) and pending[at] < key:
                if changes[pending[at]] is not None:
                    yield pending[at], changes[pending[at]]
                at += 1
            if at < len(pending) and pending[at] == key:
                if changes[key] is not None:
                    yield key, changes[key]
                at += 1
            else:
                yield key, _from_bytes(key, value)
        for key in pending[at:]:
            if changes[key] is not None:
                yield key, changes[key]

    # ------------------------------------------------------------ changing

    def put(self, key: bytes, row: Any) -> None:
        """Set a row; None: there is none. The index entries that follow from it are brought in step by `settle`."""
        if key[:1] in _INDEXED and key not in self._unsettled:
            self._unsettled[key] = self._entries_of(key)
        self._step[key] = row
        if key == keys.PARTITION:
            self._partition = row

    def put_new(self, key: bytes, row: Any) -> None:
        """Set a row that is not there yet, and has no index entries."""
        if key not in self._changed[key[0]] and key not in self._step:
            self._absent.add(key)
        self._step[key] = row

    def delete(self, key: bytes) -> None:
        self.put(key, None)

    def settle(self) -> None:
        """Bring the index entries of the rows that changed in step with them."""
        if not self._unsettled:
            return
        for key, before in self._unsettled.items():
            row: Row | None = self._step[key]
            after = () if row is None else row.indexes(key)
            if row is None:
                self._entries.pop(key, None)
            else:
                self._entries[key] = (row, after)
            if before != after:
                self._replace_entries(before, after)
        self._unsettled = {}

    def _replace_entries(self, before: tuple[bytes, ...], after: tuple[bytes, ...]) -> None:
        for entry in before:
            if entry not in after:
                self._step[entry] = None
                if entry[:1] == keys.NEEDED:
                    self._count(entry, -1)
        for entry in after:
            if entry not in before:
                self.put_new(entry, b"")
                table = entry[:1]
                if table == keys.DUE:
                    self.earliest_due_ms = min(self.earliest_due_ms, keys.number_in(entry))
                elif table == keys.EXPIRY:
                    self.earliest_expiry_ms = min(self.earliest_expiry_ms, keys.number_in(entry))
                elif table == keys.NEEDED:
                    self._count(entry, 1)

    def _entries_of(self, key: bytes) -> tuple[bytes, ...]:
        """The index entries of the row at `key`, as it is until now."""
        row: Row | None = self.get(key)
        if row is None:
            return ()
        known = self._entries.get(key)
        return known[1] if known is not None and known[0] is row else row.indexes(key)

    def _count(self, entry: bytes, change: int) -> None:
        """Keep the count of the runs that need a build in step with the index."""
        key = keys.needed_count(entry)
        row = self.row(key, NeededRow)
        count = change + (row.count if row is not None else 0)
        build = key[key.index(b"\0") + 1 : -1].decode()
        self._step[key] = NeededRow(build_id=build, count=count) if count else None

    def commit(self) -> None:
        """Make the step's changes part of the state. What came and went since the last flush leaves nothing."""
        self.settle()
        changed, absent = self._changed, self._absent
        for key, row in self._step.items():
            if row is None and key in absent:
                changed[key[0]].pop(key, None)
            else:
                changed[key[0]][key] = row
        self._step = {}

    def rollback(self) -> None:
        """Forget the step's changes, and what was concluded from them."""
        self._step = {}
        self._unsettled = {}
        self._partition = None
        self.earliest_due_ms = self.earliest_expiry_ms = 0

    @property
    def unflushed(self) -> int:
        """How many rows changed since the last flush."""
        return sum(map(len, self._changed.values()))

    def flush(self) -> None:
        """Write all changes to the storage, at once; if it does not take them, they stay here."""
        absent = self._absent
        changed = [entry for table in self._changed.values() for entry in table.items()]
        written = [(k, None if v is None else _to_bytes(v)) for k, v in changed]
        self.storage.write(written)
        self._changed.clear()
        for (key, row), (_, value) in zip(changed, written, strict=True):
            if value is None:
                self._cache.pop(key, None)
                continue
            absent.discard(key)
            if key[:1] in _CACHED:
                self._remember(key, row, len(value))
        self._entries.clear()
        if len(absent) > self._cache_rows:
            absent.clear()

    def _remember(self, key: bytes, row: Any, size: int) -> None:
        if size > MAX_CACHED_ROW_BYTES:
            self._cache.pop(key, None)
            return
        self._cache[key] = row
        self._cache.move_to_end(key)
        while len(self._cache) > self._cache_rows:
            self._cache.popitem(last=False)

    # ------------------------------------------------------------ comparing

    def dump(self) -> dict[bytes, bytes]:
        """All rows as bytes, in the order of their keys."""
        return {k: _to_bytes(row) for k, row in self.scan(b"\x01", b"\x01", b"\xff")}


def load(dump: dict[bytes, bytes], partition: int = 0) -> State:
    """A state in memory that holds what `dump` gave."""
    storage = MemoryStorage()
    storage.entries = dict(dump)
    return State(storage, partition)


__all__ = ["INDEXES", "MemoryStorage", "State", "Storage", "load"]
